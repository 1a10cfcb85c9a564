"""Stores a fitted ``LadderClassifier`` as classifier.json, config.json and weights.msgpack."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from ladder_jax.errors import RunError, while_writing
from ladder_jax.estimator.scaling import Scaling
from ladder_jax.storage import files
from ladder_jax.storage.run_folder import CLASSIFIER, RUN_FILES
from ladder_jax.train.result import Model, load_network, pack_models

# All three files are plain data, JSON and MessagePack: reading them runs no code from them.
FORMAT = 1
"""Version of classifier.json; a reader refuses a later one."""


def save(classifier: Any, path: str | os.PathLike[str]) -> None:
    """Writes a fitted classifier into a folder, which may be the run folder of its own fit."""
    folder, model = Path(path), classifier.model_
    classes = classifier.classes_
    known = {
        "format": FORMAT,
        "parameters": {name: _plain(v) for name, v in classifier.get_params(deep=False).items()},
        "classes": {"dtype": classes.dtype.str, "values": classes.tolist()},
        "input_shape": list(classifier.input_shape_),
        "n_features_in": int(classifier.n_features_in_),
        "feature_names_in": _names(classifier),
        "scaling": {
            name: values.tolist() for name, values in classifier.scaling_._asdict().items()
        },
        "history": classifier.history_,
        "n_iter": classifier.n_iter_,
        "trained": model is not None,
    }
    others = [name for name in RUN_FILES if (folder / name).exists()]
    if others and not (model and _is_of(model, folder)):
        raise RunError(f"{folder}: holds {others[0]} of another run; choose another folder")
    with while_writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if model is not None:
            known["weights"] = _save_model(model, folder)
        files.replace(folder / CLASSIFIER, json.dumps(known, indent=2).encode())


def load(kind: type, path: str | os.PathLike[str]) -> Any:
    """Reads a classifier of class ``kind`` from a folder."""
    file = Path(path) / CLASSIFIER
    try:
        known = json.loads(file.read_text())
        if known["format"] > FORMAT:
            raise RunError(f"{file}: has format {known['format']}; install a newer ladder_jax")
        classifier = kind(**known["parameters"])
        classes = known["classes"]
        classifier.classes_ = np.array(classes["values"], dtype=np.dtype(classes["dtype"]))
        classifier.input_shape_ = tuple(known["input_shape"])
        classifier.n_features_in_ = known["n_features_in"]
        if known["feature_names_in"] is not None:
            names = np.array(known["feature_names_in"], dtype=object)
            classifier.feature_names_in_ = names
        found = {name: np.array(values) for name, values in known["scaling"].items()}
        classifier.scaling_ = Scaling(**found)
        classifier.history_, classifier.n_iter_ = known["history"], known["n_iter"]
        trained = known["trained"]
        if trained and known["weights"] != _digest(Path(path) / "weights.msgpack"):
            raise RunError(f"{path}: weights.msgpack is of another fit; save the classifier again")
    except RunError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        what = "has lost its weights.msgpack" if file.exists() else "holds no classifier"
        raise RunError(f"{path}: {what}; give a folder that save wrote") from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise RunError(f"{file}: is damaged ({reason}); save the classifier again") from error
    classifier.model_ = load_network(path) if trained else None
    return classifier


def _save_model(model: Model, folder: Path) -> str:
    """Writes the two files of the network if needed and returns the SHA-256 of the weights."""
    if not _is_of(model, folder):
        text = json.dumps(_settings(model), indent=2)
        files.replace(folder / "config.json", text.encode())
    packed, file = pack_models([model]), folder / "weights.msgpack"
    if not file.exists() or file.read_bytes() != packed:
        files.replace(file, packed)
    return hashlib.sha256(packed).hexdigest()


def _settings(model: Model) -> dict[str, Any]:
    """Returns the content of config.json."""
    return {"model": model.config.to_json(), "training": model.train_config.to_json()}


def _is_of(model: Model, folder: Path) -> bool:
    """Returns whether the folder's config.json describes the model."""
    of = _settings(model)
    try:
        known = json.loads((folder / "config.json").read_text())
        # A run writes out its default.
        known["training"]["data_seed"] = of["training"]["data_seed"]
        return {name: known[name] for name in of} == of
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _digest(path: Path) -> str:
    """Returns the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _names(classifier: Any) -> list[str] | None:
    """Returns the names of the columns, if there are any."""
    names = getattr(classifier, "feature_names_in_", None)
    return None if names is None else [str(name) for name in names]


def _plain(value: Any) -> Any:
    """Converts a parameter to a JSON value; a random number generator becomes None."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return None if isinstance(value, np.random.RandomState) else str(value)
