"""Data as NumPy arrays: sources, the IDX format, and the split into labelled and held-out rows."""

from ladder_jax.data.dataset import Dataset, from_arrays
from ladder_jax.data.sources import load
from ladder_jax.data.splits import Split, make_split

__all__ = ["Dataset", "Split", "from_arrays", "load", "make_split"]
