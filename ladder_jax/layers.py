"""Layers as data: each knows its shape rule, its forward map and its inverse map.

The forward map takes h(l−1) to the pre-activation of layer l with the weights W(l);
the inverse map takes ẑ(l) down to the size of layer l−1 with the weights V(l).
Neither has a bias: the encoder's shift β comes after the normalisation.

| text form | layer | inverse |
|---|---|---|
| ``dense:UNITS`` or ``UNITS`` | fully connected; images are flattened | the same, flat |
| ``conv:CHANNELS:SIZE[:valid or full[:STRIDE]]`` | convolution | full ↔ valid, zeros between |
| ``maxpool:SIZE`` | maximum of blocks, partial ones at the border | copy to the block |
| ``globalmean`` | width·√3 × the mean of each channel | broadcast |
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from ladder_jax.errors import ConfigError, whole
from ladder_jax.ops.convolution import convolve, convolve_dilated
from ladder_jax.ops.pooling import broadcast, global_mean, max_pool, unpool

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": jax.nn.relu,
    "leaky_relu": lambda x: jax.nn.leaky_relu(x, 0.1),
}
"""By the name used in configurations. MNIST has ReLU, CIFAR-10 leaky ReLU of slope 0.1."""


Shape = tuple[int, ...]

FORMS = "dense:UNITS, conv:CHANNELS:SIZE[:valid or full[:STRIDE]], maxpool:SIZE, globalmean"


@dataclass(frozen=True)
class Dense:
    """A fully connected layer of ``units`` units. Text form: ``dense:1000`` or ``1000``.

    The layer below, whatever its shape, is taken unit by unit.

    Raises:
      ConfigError: ``units`` is not a whole number of at least 1.
    """

    units: int

    has_weights: ClassVar[bool] = True
    flattens: ClassVar[bool] = True

    def __post_init__(self) -> None:
        whole("layers", self.units, 1, "as the units of a dense layer")

    def __str__(self) -> str:
        return f"dense:{self.units}"

    def output_shape(self, input_shape: Shape) -> Shape:
        """(…) -> (units,)."""
        return (self.units,)

    def init_forward(self, key: jax.Array, input_shape: Shape) -> jax.Array:
        """W ~ N(0, 1)/√(fan in), shape (D_in, units)."""
        fan_in = math.prod(input_shape)
        return jax.random.normal(key, (fan_in, self.units)) / jnp.sqrt(fan_in)

    def init_inverse(self, key: jax.Array, input_shape: Shape) -> jax.Array:
        """V ~ N(0, 1)/√(fan in), shape (units, D_in); its fan in is the layer above."""
        return jax.random.normal(key, (self.units, math.prod(input_shape))) / jnp.sqrt(self.units)

    def forward(self, kernel: jax.Array, h: jax.Array, ties: str = "all") -> jax.Array:
        """h W. (B, …) -> (B, units)."""
        return h.reshape(len(h), -1) @ kernel

    def inverse(self, kernel: jax.Array, z_hat_BxD: jax.Array, shape: Shape) -> jax.Array:
        """ẑ V. (B, units) -> (B, D_in), flat."""
        return z_hat_BxD @ kernel

    def operations(self, input_shape: Shape) -> int:
        """Floating-point operations of the forward map of one row."""
        return 2 * math.prod(input_shape) * self.units


@dataclass(frozen=True)
class Conv:
    """A convolution with square kernels. Text form: ``conv:96:3``, ``conv:96:3:full:2``.

    Attributes:
      channels: of the output.
      size: of the kernel, k.
      mode: "valid" (no padding) or "full" (k − 1 zeros on each side).
      stride: step from one output to the next.

    Raises:
      ConfigError: a value that cannot be used.
    """

    channels: int
    size: int
    mode: str = "valid"
    stride: int = 1

    has_weights: ClassVar[bool] = True
    flattens: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name in ("channels", "size", "stride"):
            whole("layers", getattr(self, name), 1, f"as the {name} of a convolution")
        if self.mode not in ("valid", "full"):
            text = f"conv:{self.channels}:{self.size}:{self.mode}"
            raise ConfigError("layers", text, "a convolution is valid or full")

    def __str__(self) -> str:
        text = f"conv:{self.channels}:{self.size}"
        if (self.mode, self.stride) == ("valid", 1):
            return text
        return f"{text}:{self.mode}" + (f":{self.stride}" if self.stride > 1 else "")

    @property
    def _pad(self) -> int:
        return self.size - 1 if self.mode == "full" else 0

    def output_shape(self, input_shape: Shape) -> Shape:
        """(H, W, C) -> (⌊(H + 2 pad − k)/stride⌋ + 1, likewise W, channels).

        Raises:
          ConfigError: the layer below is no image or smaller than the kernel.
        """
        _check_image(self, input_shape)
        room = [n + 2 * self._pad - self.size for n in input_shape[:2]]
        if min(room) < 0:
            problem = f"is larger than the layer below, {by(input_shape)}"
            raise ConfigError("layers", self, problem)
        return (*(n // self.stride + 1 for n in room), self.channels)

    def init_forward(self, key: jax.Array, input_shape: Shape) -> jax.Array:
        """W ~ U(±√(3/fan in)), shape (k, k, C_in, channels); fan in = C_in·k²."""
        return _uniform(key, (self.size, self.size, input_shape[-1], self.channels))

    def init_inverse(self, key: jax.Array, input_shape: Shape) -> jax.Array:
        """V likewise, shape (k, k, channels, C_in); fan in = channels·k²."""
        return _uniform(key, (self.size, self.size, self.channels, input_shape[-1]))

    def forward(self, kernel: jax.Array, h: jax.Array, ties: str = "all") -> jax.Array:
        """(B, H, W, C) -> (B, *output_shape)."""
        return convolve(h, kernel, self._pad, self.stride)

    def inverse(self, kernel: jax.Array, z_hat: jax.Array, shape: Shape) -> jax.Array:
        """(B, *output_shape) -> (B, *shape), the top left of it where there would be more."""
        pad = self.size - 1 - self._pad
        if self.stride == 1:
            return convolve(z_hat, kernel, pad)
        return convolve_dilated(z_hat, kernel, pad, self.stride, shape[:2])

    def operations(self, input_shape: Shape) -> int:
        """Floating-point operations of the forward map of one row."""
        out = math.prod(self.output_shape(input_shape))
        return 2 * out * self.size**2 * input_shape[-1]


@dataclass(frozen=True)
class MaxPool:
    """Maximum over blocks of ``size`` × ``size``. Text form: ``maxpool:2``.

    Raises:
      ConfigError: ``size`` is not a whole number of at least 1.
    """

    size: int

    has_weights: ClassVar[bool] = False
    flattens: ClassVar[bool] = False

    def __post_init__(self) -> None:
        whole("layers", self.size, 1, "as the size of a max-pooling")

    def __str__(self) -> str:
        return f"maxpool:{self.size}"

    def output_shape(self, input_shape: Shape) -> Shape:
        """(H, W, C) -> (⌈H/size⌉, ⌈W/size⌉, C).

        Raises:
          ConfigError: the layer below is no image.
        """
        _check_image(self, input_shape)
        return (*(-(-n // self.size) for n in input_shape[:2]), input_shape[2])

    def forward(self, kernel: None, h: jax.Array, ties: str = "all") -> jax.Array:
        """(B, H, W, C) -> (B, *output_shape); ``ties`` as in ``pooling.TIES``."""
        return max_pool(h, self.size, ties)

    def inverse(self, kernel: None, z_hat: jax.Array, shape: Shape) -> jax.Array:
        """(B, *output_shape) -> (B, *shape)."""
        return unpool(z_hat, self.size, shape)

    def operations(self, input_shape: Shape) -> int:
        """No product."""
        return 0


@dataclass(frozen=True)
class GlobalMeanPool:
    """Width·√3 times the mean of each channel. Text form: ``globalmean``."""

    has_weights: ClassVar[bool] = False
    flattens: ClassVar[bool] = False

    def __str__(self) -> str:
        return "globalmean"

    def output_shape(self, input_shape: Shape) -> Shape:
        """(H, W, C) -> (C,).

        Raises:
          ConfigError: the layer below is no image.
        """
        _check_image(self, input_shape)
        return input_shape[2:]

    def forward(self, kernel: None, h: jax.Array, ties: str = "all") -> jax.Array:
        """(B, H, W, C) -> (B, C)."""
        return global_mean(h)

    def inverse(self, kernel: None, z_hat: jax.Array, shape: Shape) -> jax.Array:
        """(B, C) -> (B, H, W, C), without the factor."""
        return broadcast(z_hat, shape)

    def operations(self, input_shape: Shape) -> int:
        """No product."""
        return 0


Layer = Dense | Conv | MaxPool | GlobalMeanPool


def parse_layer(text: str | int | Layer) -> Layer:
    """A layer from its text form, or from the bare number of units.

    Raises:
      ConfigError: the text is no layer, or one that cannot be.
    """
    if isinstance(text, Layer):
        return text
    name, *words = str(text).strip().split(":")
    if name.isdecimal() and not words:
        name, words = "dense", [name]
    mode = [words.pop(2)] if name == "conv" and len(words) > 2 else []
    kinds = {"dense": (Dense, 1), "conv": (Conv, 2), "maxpool": (MaxPool, 1)}
    if name == "globalmean" and not words:
        return GlobalMeanPool()
    kind, needed = kinds.get(name, (None, 0))
    most = needed + len(mode)  # a stride may follow the mode
    plain = all(word.isdecimal() and len(word) < 10 for word in words)
    if kind is None or not plain or not needed <= len(words) <= most:
        raise ConfigError("layers", text, f"not a layer; write one of: {FORMS}")
    numbers = [int(word) for word in words]
    return kind(*numbers[:2], *mode, *numbers[2:])


def by(shape: Shape) -> str:
    """A shape in words: 28x28x1."""
    return "x".join(map(str, shape))


def _check_image(layer: Layer, shape: Shape) -> None:
    if len(shape) != 3:
        problem = f"needs an image (height x width x channels) below it, not {by(shape)}"
        raise ConfigError("layers", layer, problem)


def _uniform(key: jax.Array, shape: Shape) -> jax.Array:
    bound = math.sqrt(3 / math.prod(shape[:3]))
    return jax.random.uniform(key, shape, minval=-bound, maxval=bound)
