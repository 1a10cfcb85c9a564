"""Ladder Networks (Rasmus et al. 2015) in JAX and Flax."""

from ladder_jax import data, hosts, layers, parallel, presets
from ladder_jax.checkpoints import KEEP
from ladder_jax.config import STATISTICS, LadderConfig, TrainConfig
from ladder_jax.costs import Costs
from ladder_jax.data import Dataset
from ladder_jax.encoder import Activations
from ladder_jax.errors import (
    ConfigError,
    DataError,
    DivergedError,
    LadderError,
    PeerError,
    RunError,
    StoppedError,
)
from ladder_jax.evaluation import error_percent, population_statistics, predict, predict_proba
from ladder_jax.layers import Conv, Dense, GlobalMeanPool, MaxPool
from ladder_jax.model import (
    Encoding,
    Ladder,
    costs,
    decode,
    draw_noise,
    encode,
    init,
    parameter_counts,
)
from ladder_jax.parallel import Parallel
from ladder_jax.results import Model, Result
from ladder_jax.runs import CHECKPOINT_EVERY, finished_summary, train_and_evaluate
from ladder_jax.trainer import Progress
from ladder_jax.weights import load

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
    "GlobalMeanPool",
    "Ladder",
    "LadderConfig",
    "LadderError",
    "MaxPool",
    "Model",
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
    "population_statistics",
    "predict",
    "predict_proba",
    "presets",
    "train_and_evaluate",
]
