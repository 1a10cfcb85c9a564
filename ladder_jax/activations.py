"""The non-linearities below the top. All are scale-free, so no layer but the top needs γ."""

from __future__ import annotations

from collections.abc import Callable

import jax

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": jax.nn.relu,
    "leaky_relu": lambda x: jax.nn.leaky_relu(x, 0.1),
}
"""By the name used in configurations. MNIST has ReLU, CIFAR-10 leaky ReLU of slope 0.1."""
