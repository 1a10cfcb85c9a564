"""Data as NumPy arrays: sources, file formats, preprocessing, and the split into parts."""

from ladder_jax.data.dataset import Dataset, from_arrays
from ladder_jax.data.sources import NAMES, load
from ladder_jax.data.split import Split, make_split
from ladder_jax.data.whitening import Preparation, Whitening, prepare

__all__ = [
    "NAMES",
    "Dataset",
    "Preparation",
    "Split",
    "Whitening",
    "from_arrays",
    "load",
    "make_split",
    "prepare",
]
