"""Holds a finished run, or several seeds of one, and writes and reads weights.msgpack."""

# A model is two files that load anywhere, ``weights.msgpack`` and ``config.json``. Both are plain
# data, MessagePack and JSON, so reading them runs no code. For each seed the weights file has the
# parameters, the running moments, the moments of each kind of statistics, and the data's scale and
# whitening. A SHA-256 over all of it protects against damage, not against forgery.

from __future__ import annotations

import dataclasses
import math
import os
import re
import statistics
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import serialization

from ladder_jax.config import STATISTICS, LadderConfig, TrainConfig
from ladder_jax.data import Preparation, Split, Whitening
from ladder_jax.errors import ConfigError, RunError
from ladder_jax.ladder.network import init
from ladder_jax.ops.batchnorm import Moments
from ladder_jax.storage import packed
from ladder_jax.storage.files import Json, read_json
from ladder_jax.storage.run_folder import CLASSIFIER, CONFIG, WEIGHTS
from ladder_jax.train.evaluation import Statistics, predict_proba


@dataclass(frozen=True, kw_only=True)
class Model:
    """A trained network with all it needs to classify raw rows.

    Attributes:
      config: the network.
      train_config: how it was trained.
      variables: parameters and running statistics, see ``ladder_jax.ladder.network``.
      statistics: for each kind the moments of layers 1…L, for ``lj.predict``.
      scale: factor of the data; a stored value times scale is the network's input.
      prepare: the data's preprocessing, which is applied to raw rows before the scale.
    """

    config: LadderConfig
    train_config: TrainConfig
    variables: dict[str, Any]
    statistics: dict[str, Statistics]
    scale: float
    prepare: Preparation

    def __repr__(self) -> str:
        """Returns one line, without the weights."""
        layers = ", ".join(map(str, self.config.layers))
        return f"<Model of {layers}, seed {self.train_config.seed}>"

    def predict(self, x: np.ndarray, statistics: str | None = None) -> np.ndarray:
        """Returns the most probable class, (N,), of rows as the data set stores them, (N, …).

        Args:
          x: the rows.
          statistics: one of ``STATISTICS``; None means those of the reported error.

        Raises:
          ConfigError: there are no such statistics.
          DataError: the rows do not fit the network.
        """
        return np.asarray(self.predict_proba(x, statistics).argmax(axis=-1))

    def predict_proba(self, x: np.ndarray, statistics: str | None = None) -> np.ndarray:
        """Returns class probabilities (N, K); arguments and errors are those of ``predict``."""
        kind = self.train_config.statistics if statistics is None else statistics
        if kind not in self.statistics:
            raise ConfigError("statistics", kind, f"is one of {', '.join(self.statistics)}")
        found = self.statistics[kind]
        with matmul_precision(self.train_config):  # as the reported error was measured
            x = self.prepare(np.asarray(x))
            return predict_proba(self.config, self.variables, x, found, self.scale)


@dataclass(frozen=True, kw_only=True)
class Result(Model):
    """A finished run, or several runs that differ in their seed.

    Attributes:
      summary: the content of result.json.
      metrics: the lines of metrics.jsonl, one dictionary per epoch and seed.
      split: indices of training, validation and labelled rows.
      runs: for several seeds, one result for each that did not diverge. The model and the split are
        then those of the first of them.
    """

    summary: Json
    metrics: list[Json]
    split: Split
    runs: tuple[Result, ...] = ()

    @property
    def test_error_percent(self) -> float | None:
        """Test error by the run's ``statistics``, averaged over runs; None if there is none."""
        return self.summary["test_error_percent"]

    @property
    def test_error_percent_std(self) -> float | None:
        """Standard deviation (n − 1) of the test error over several runs; None for one."""
        return self.summary.get("test_error_percent_std")

    def __repr__(self) -> str:
        """Returns one line, without the weights."""
        error, rows = self.test_error_percent, "test"
        if error is None:
            error, rows = self.validation_error_percent, "validation"
        text = "no error" if error is None else f"{rows} error {error:.2f} %"
        return f"<Result of {len(self.runs) or 1} run(s), seed {self.train_config.seed}: {text}>"

    @property
    def validation_error_percent(self) -> float | None:
        """Validation error, averaged over runs; None without validation rows."""
        return self.summary["validation_error_percent"]


def matmul_precision(train_config: TrainConfig) -> AbstractContextManager[None]:
    """Sets the precision of matrix products to that of the run."""
    # Accelerators would otherwise multiply in a shorter format than float32.
    return jax.default_matmul_precision(train_config.matmul_precision)


def summarize(entries: Sequence[Json], kind: str) -> Json:
    """Returns the mean and standard deviation (n − 1) over finished runs, as in result.json."""
    summary: Json = {}
    for name in ("test_error_percent", "validation_error_percent"):
        # An entry of a run that diverged has no errors.
        errors = [found[kind] for entry in entries if (found := entry.get(name))]
        summary[name] = statistics.fmean(errors) if errors else None
        summary[f"{name}_std"] = statistics.stdev(errors) if len(errors) > 1 else None
    return summary | {"runs": list(entries)}


FORMAT = 1
"""Version of the weights file; later ones are refused."""


def pack_models(models: Sequence[Model]) -> bytes:
    """Returns the content of the weights file for models that differ in their seed only."""
    seeds = {str(model.train_config.seed): _to_plain(model) for model in models}
    return packed.pack("seeds", seeds, FORMAT)


def load(run: str | os.PathLike[str], seed: int | None = None) -> Model:
    """Loads the model of a finished run.

    A ``LadderClassifier`` has a ``load`` of its own, since it scales rows before its network.

    Args:
      run: a run folder, a folder with its weights.msgpack and config.json, or the weights file.
      seed: which of several seeds; by default the first.

    Raises:
      RunError: there is none, it is damaged, of a later version of this package, or a classifier.
    """
    if (folder_of(run) / CLASSIFIER).exists():
        problem = "holds a LadderClassifier, which scales rows before its network"
        use = "LadderClassifier.load in Python, or the same arrays.py command with --test"
        raise RunError(f"{run}: {problem}; use {use}")
    return load_network(run, seed)


def load_network(run: str | os.PathLike[str], seed: int | None = None) -> Model:
    """Loads a model like ``load``, or the network of a ``LadderClassifier``."""
    path = _file(run)

    def settings(known: Json) -> tuple[LadderConfig, TrainConfig]:
        return LadderConfig.from_json(known["model"]), TrainConfig.from_json(known["training"])

    newer = (
        "is damaged or of a newer version of ladder_jax ({error}); install that version, or give "
        "the folder of another run"
    )
    found = read_json(path.parent / CONFIG, settings, newer)
    if found is None:
        raise RunError(f"{path.parent}: has no {CONFIG}; give the folder of a finished run")
    config, train_config = found
    seeds = _read(path)
    chosen = str(seed) if seed is not None else next(iter(seeds), "none")
    if chosen not in seeds:
        raise RunError(f"{path}: has no seed {chosen}; it has {', '.join(seeds) or 'none'}")
    try:
        train_config = dataclasses.replace(train_config, seed=int(chosen))
        return _from_plain(seeds[chosen], config, train_config)
    except Exception as error:  # whatever a damaged tree leads to, the way out is the same
        raise _damaged(path, error) from error


def seeds_of(run: str | os.PathLike[str]) -> list[int]:
    """Returns the seeds of the models in a run folder."""
    return [int(seed) for seed in _read(_file(run))]


def folder_of(run: str | os.PathLike[str]) -> Path:
    """Returns the folder with config.json for a run folder or a weights file."""
    return _file(run).parent


def _file(run: str | os.PathLike[str]) -> Path:
    """Returns the weights file for a run folder or a weights file."""
    path = Path(run)
    is_file = path.name.endswith(".msgpack") and not path.is_dir()
    return path if is_file else path / WEIGHTS


def _read(path: Path) -> dict[str, Any]:
    """Reads the content of a weights file by seed."""
    try:
        seeds: dict[str, Any] = packed.unpack("seeds", path.read_bytes(), FORMAT)
        if not all(re.fullmatch("[0-9]{1,10}", seed) for seed in seeds):
            raise ValueError("unknown content")
    except (FileNotFoundError, NotADirectoryError):
        what = "no weights: give the folder of a finished run, or finish this one"
        raise RunError(f"{path.parent}: holds {what}") from None
    except packed.NewerFormatError as error:
        raise RunError(f"{path}: {error}") from None
    except Exception as error:  # whatever damaged bytes lead to
        raise _damaged(path, error) from error
    return seeds


def _damaged(path: Path, error: Exception) -> RunError:
    """Returns the error for a damaged file."""
    reason = " ".join(str(error).split())[:120] or type(error).__name__
    return RunError(
        f"{path}: is damaged or of another network ({reason}); remove it, and start "
        "the finished run again: it is made anew from the last checkpoint"
    )


def _to_plain(model: Model) -> dict[str, Any]:
    """Returns a model as nested dictionaries of plain values and NumPy arrays."""
    prepare = model.prepare
    whitening = prepare.whitening
    return {
        "variables": _arrays(model.variables),
        "statistics": {kind: _arrays(found) for kind, found in model.statistics.items()},
        "scale": float(model.scale),
        "row_shape": list(prepare.shape),
        "whitening": {} if whitening is None else _arrays(whitening),
    }


def _arrays(tree: Any) -> Any:
    """Returns a tree as nested dictionaries of NumPy arrays."""
    return jax.tree.map(np.asarray, serialization.to_state_dict(tree))


def _from_plain(plain: dict[str, Any], config: LadderConfig, train_config: TrainConfig) -> Model:
    """Returns the model that ``_to_plain`` was given, or raises an error if it is damaged."""
    like = jax.eval_shape(lambda key: init(config, key), jax.random.key(0))
    vectors = [jax.ShapeDtypeStruct(shape[-1:], jnp.float32) for shape in config.shapes[1:]]
    moments: Any = tuple(Moments(own, own) for own in vectors)  # type: ignore[arg-type]
    whitening = plain["whitening"]
    shape = tuple(int(size) for size in plain["row_shape"])
    prepare = Preparation()
    if whitening:
        size = int(np.prod(config.input_shape))
        if int(np.prod(shape)) != size:
            raise ValueError("whitening of another shape")
        sizes: Any = [jax.ShapeDtypeStruct(own, float) for own in ((size,), (size, size))]
        prepare = Preparation(_checked(Whitening(*sizes), whitening), shape)
    scale = float(plain["scale"])
    if not 0 < scale < math.inf:
        raise ValueError(f"scale {scale}")
    return Model(
        config=config,
        train_config=train_config,
        variables=_fitted(like, plain["variables"]),
        statistics={kind: _fitted(moments, plain["statistics"][kind]) for kind in STATISTICS},
        scale=scale,
        prepare=prepare,
    )


def _fitted(like: Any, plain: Any) -> Any:
    """Returns a checked tree as JAX arrays."""
    return jax.tree.map(jnp.asarray, _checked(like, plain))


def _checked(like: Any, plain: Any) -> Any:
    """Returns the tree in the structure of ``like`` if its shapes match and all is finite."""
    found = serialization.from_state_dict(like, plain)
    for (path, wanted), leaf in zip(
        jax.tree_util.tree_leaves_with_path(like), jax.tree.leaves(found), strict=True
    ):
        name = jax.tree_util.keystr(path)
        if not isinstance(leaf, np.ndarray) or leaf.shape != wanted.shape:
            raise ValueError(f"{name}: expected an array {wanted.shape}")
        if leaf.dtype.kind not in "fi" or not np.isfinite(leaf).all():
            raise ValueError(f"{name}: is not of finite numbers")
    return found
