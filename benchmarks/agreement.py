"""A batch with ladder_jax's cost and gradients, for another implementation to be held against.

Not a command; peer_torch.py checks PyTorch with it before anything is timed.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.tree_util import keystr, tree_flatten_with_path

import ladder_jax as lj


class Problem(NamedTuple):
    """One batch, with ladder_jax's results.

    Attributes:
      params: by name, such as "encoder/layer_1/kernel".
      arguments: x_l, y_l, x_u and the noise.
      expected: total cost ("total") and its gradient to each parameter, by the same names.
    """

    params: dict[str, np.ndarray]
    arguments: tuple[Any, ...]
    expected: dict[str, np.ndarray]


def make_problem(config: lj.LadderConfig, rows: int) -> Problem:
    """Random parameters, and so many random rows in each half of a batch.

    At their start values of 0 and 1, combinators, shifts and scale would hide mistakes: V, for
    one, gets no gradient.
    """
    rng, key = np.random.default_rng(0), jax.random.key(0)
    variables = lj.init(config, key)
    params = jax.tree.map(
        lambda leaf: leaf + 0.1 * rng.normal(size=leaf.shape).astype(leaf.dtype),
        variables["params"],
    )
    x_l, x_u = rng.random((2, rows, *config.input_shape), np.float32)
    y_l, noise = np.arange(rows) % config.num_classes, lj.draw_noise(config, key, rows, rows)

    @jax.value_and_grad
    def cost(params: Any) -> jax.Array:
        return lj.costs(config, variables | {"params": params}, x_l, y_l, x_u, noise).total

    total, gradients = jax.jit(cost)(params)
    expected = {"total": np.asarray(total)} | by_name(gradients)
    return Problem(by_name(params), (x_l, y_l, x_u, [np.array(n) for n in noise]), expected)


def by_name(tree: Any) -> dict[str, np.ndarray]:
    """The leaves of a nested dict, under their joined names."""
    leaves = tree_flatten_with_path(tree)[0]
    return {keystr(path, simple=True, separator="/"): np.array(leaf) for path, leaf in leaves}


def largest_difference(
    expected: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]
) -> tuple[float, str]:
    """Of all arrays the largest deviation, relative to the array's largest value, and its name.

    A deviation that is no number counts as infinite.
    """
    if expected.keys() != found.keys():
        return float("inf"), ", ".join(sorted(expected.keys() ^ found.keys()))
    off = {
        name: float(np.abs(found[name] - value).max() / np.abs(value).max())
        for name, value in expected.items()
    }
    off = {name: value if np.isfinite(value) else float("inf") for name, value in off.items()}
    return max((value, name) for name, value in off.items())
