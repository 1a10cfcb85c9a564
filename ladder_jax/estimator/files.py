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
from ladder_jax.storage.run_folder import CLASSIFIER, CONFIG, RUN_FILES, WEIGHTS
from ladder_jax.train.result import Model, load_network, pack_models

# All three files are plain data, JSON and MessagePack: reading them runs no code from them.
FORMAT = 1
"""Version of classifier.json; a reader refuses a later one."""


def save(classifier: Any, path: str | os.PathLike[str]) -> None:
    """Writes a fitted classifier into a folder, which may be the run folder of its own fit."""
    folder, model = Path(path), classifier.model_
    classes, names = classifier.classes_, getattr(classifier, "feature_names_in_", None)
    known = {
        "format": FORMAT,
        "parameters": {name: _plain(v) for name, v in classifier.get_params(deep=False).items()},
        "classes": {"dtype": classes.dtype.str, "values": classes.tolist()},
        "input_shape": list(classifier.input_shape_),
        "n_features_in": int(classifier.n_features_in_),
        "feature_names_in": None if names is None else [str(name) for name in names],
        "scaling": {
            name: values.tolist() for name, values in classifier.scaling_._asdict().items()
        },
        "history": classifier.history_,
        "n_iter": classifier.n_iter_,
        "trained": model is not None,
    }
    others = [name for name in RUN_FILES if (folder / name).exists()]
    own_run = model is not None and _is_of(model, folder)
    if others and not own_run:
        raise RunError(f"{folder}: holds {others[0]} of another run; choose another folder")
    with while_writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if model is not None:
            if not own_run:
                files.replace(folder / CONFIG, json.dumps(_settings(model), indent=2))
            weights, packed = folder / WEIGHTS, pack_models([model])
            if not weights.exists() or weights.read_bytes() != packed:
                files.replace(weights, packed)
            known["weights"] = hashlib.sha256(packed).hexdigest()
        files.replace(folder / CLASSIFIER, json.dumps(known, indent=2))


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
            classifier.feature_names_in_ = np.array(known["feature_names_in"], dtype=object)
        found = {name: np.array(values) for name, values in known["scaling"].items()}
        classifier.scaling_ = Scaling(**found)
        classifier.history_, classifier.n_iter_ = known["history"], known["n_iter"]
        trained = known["trained"]
        if trained:
            packed = (Path(path) / WEIGHTS).read_bytes()
            if known["weights"] != hashlib.sha256(packed).hexdigest():
                problem = "weights.msgpack is of another fit; save the classifier again"
                raise RunError(f"{path}: {problem}")
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


def _settings(model: Model) -> dict[str, Any]:
    """Returns the content of config.json."""
    return {"model": model.config.to_json(), "training": model.train_config.to_json()}


def _is_of(model: Model, folder: Path) -> bool:
    """Returns whether the folder's config.json describes the model."""
    of = _settings(model)
    try:
        known = json.loads((folder / CONFIG).read_text())
        # A run writes out its default.
        known["training"]["data_seed"] = of["training"]["data_seed"]
        return {name: known[name] for name in of} == of
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _plain(value: Any) -> Any:
    """Converts a parameter to a JSON value; a random number generator becomes None."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return None if isinstance(value, np.random.RandomState) else str(value)
