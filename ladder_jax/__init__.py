"""Ladder Networks (Rasmus et al. 2015) in JAX and Flax."""

from typing import TYPE_CHECKING, Any

from ladder_jax import data, layers, plots, presets, report
from ladder_jax.config import STATISTICS, LadderConfig, TrainConfig
from ladder_jax.data import Dataset
from ladder_jax.errors import (
    ConfigError,
    DataError,
    DivergedError,
    LadderError,
    PeerError,
    RunError,
    StoppedError,
)
from ladder_jax.ladder.costs import Costs
from ladder_jax.ladder.encoder import Activations
from ladder_jax.ladder.gamma import GammaWrapper, Noise
from ladder_jax.ladder.network import (
    Encoding,
    Ladder,
    costs,
    decode,
    draw_noise,
    encode,
    init,
    parameter_counts,
)
from ladder_jax.layers import Conv, Dense, GlobalMeanPool, MaxPool
from ladder_jax.storage.run_folder import finished_summary
from ladder_jax.train import hosts, parallel
from ladder_jax.train.checkpoints import KEEP
from ladder_jax.train.evaluation import error_percent, population_statistics, predict, predict_proba
from ladder_jax.train.loop import Progress
from ladder_jax.train.parallel import Parallel
from ladder_jax.train.result import Model, Result, load
from ladder_jax.train.run import CHECKPOINT_EVERY, train_and_evaluate

if TYPE_CHECKING:
    from ladder_jax.estimator.classifier import LadderClassifier

__all__ = [
    "CHECKPOINT_EVERY",
    "KEEP",
    "STATISTICS",
    "Activations",
    "ConfigError",
    "Conv",
    "Costs",
    "DataError",
    "Dataset",
    "Dense",
    "DivergedError",
    "Encoding",
    "GammaWrapper",
    "GlobalMeanPool",
    "Ladder",
    "LadderClassifier",
    "LadderConfig",
    "LadderError",
    "MaxPool",
    "Model",
    "Noise",
    "Parallel",
    "PeerError",
    "Progress",
    "Result",
    "RunError",
    "StoppedError",
    "TrainConfig",
    "costs",
    "data",
    "decode",
    "draw_noise",
    "encode",
    "error_percent",
    "finished_summary",
    "hosts",
    "init",
    "layers",
    "load",
    "parallel",
    "parameter_counts",
    "plots",
    "population_statistics",
    "predict",
    "predict_proba",
    "presets",
    "report",
    "train_and_evaluate",
]


def __getattr__(name: str) -> Any:
    """``LadderClassifier`` is imported when it is asked for: scikit-learn is an extra."""
    if name != "LadderClassifier":
        raise AttributeError(f"module 'ladder_jax' has no attribute '{name}'")
    try:
        from ladder_jax.estimator.classifier import LadderClassifier
    except ImportError as error:
        if (error.name or "").split(".")[0] != "sklearn":
            raise
        what = "LadderClassifier needs scikit-learn 1.6 or newer: pip install scikit-learn"
        raise ImportError(what, name=error.name) from error
    return LadderClassifier
