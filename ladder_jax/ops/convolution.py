"""Two-dimensional convolution, NHWC by HWIO, as the deep-learning libraries define it.

What is computed is the cross-correlation y[b,i,j] = Σ x[b,i+p,j+q] kernel[p,q]; kernels are
learnt, so the flip does not matter. On accelerators the library's own operation and its own
gradients are used. XLA for CPUs has slow paths for some of the three operations of a training
step, so there each is put in a form that has a fast one (docs/results.md has the times):

- unpadded forward: one more column, which is cut off again, avoids a slow kernel;
- gradient to the inputs: a forward convolution with the flipped kernel;
- gradient to the kernel: k² matrix products over rows of flattened images, in blocks that
  stay in the processor's cache.

Where image and kernel are almost of one size, few positions are left, and on any device the
convolution is one matrix product over windows.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

_LAYOUT = ("NHWC", "HWIO", "NHWC")
_LARGE_KERNEL = 8  # from here on k² products cost more than the library's gradient
_BLOCK_ELEMENTS = 2**18  # of one block of rows: a megabyte in float32


def convolve(x_BHWC: jax.Array, kernel: jax.Array, pad: int = 0, stride: int = 1) -> jax.Array:
    """Convolution with ``pad`` zeros on each of the four sides.

    Args:
      x_BHWC: images (B, H, W, C).
      kernel: (k, k, C, D).
      pad: 0 is a "valid" convolution, k − 1 a "full" one; k − 1 at most.
      stride: step from one output to the next.

    Returns:
      (B, ⌊(H + 2 pad − k)/stride⌋ + 1, likewise W, D).
    """
    k = kernel.shape[0]
    if stride != 1:
        return _library(x_BHWC, kernel, pad, stride)
    if k == 1 and pad == 0:
        return _product(x_BHWC, kernel[0, 0])
    if pad == k - 1 and math.prod(x_BHWC.shape[1:3]) < k * k:
        return _few_inputs(x_BHWC, kernel)
    if pad == 0 and math.prod(n - k + 1 for n in x_BHWC.shape[1:3]) < k * k:
        return _few_outputs(x_BHWC, kernel)
    return _convolve(x_BHWC, kernel, pad)


def convolve_dilated(
    x_BHWC: jax.Array, kernel: jax.Array, pad: int, stride: int, size: Sequence[int]
) -> jax.Array:
    """Inverse of a strided convolution in shape: zeros between the values, then convolution.

    The image is spread to one value in ``stride``, padded with ``pad`` zeros at the top and
    left, convolved, and given so many zeros or cut so far at the other ends that the result has
    the given height and width.
    """
    k = kernel.shape[0]
    spread = [(n - 1) * stride + 1 for n in x_BHWC.shape[1:3]]
    padding = [(pad, n + k - 1 - have - pad) for n, have in zip(size, spread, strict=True)]
    return lax.conv_general_dilated(
        x_BHWC,
        kernel,
        (1, 1),
        padding,
        lhs_dilation=(stride, stride),
        dimension_numbers=_LAYOUT,
    )


def _product(x: jax.Array, kernel_CxD: jax.Array) -> jax.Array:
    """(…, C) -> (…, D)."""
    # Two matrices: of more axes, the gradient to the kernel would begin with a transposed copy
    # of x, which took a quarter of a Conv-FC step on a CPU.
    y = x.reshape(-1, x.shape[-1]) @ kernel_CxD
    return y.reshape(*x.shape[:-1], kernel_CxD.shape[1])


def _few_outputs(x_BHWC: jax.Array, kernel: jax.Array) -> jax.Array:
    """Valid convolution with a kernel almost as large as the image: one product of windows."""
    k, _, channels, units = kernel.shape
    height, width = (n - k + 1 for n in x_BHWC.shape[1:3])
    windows = [x_BHWC[:, i : i + k, j : j + k] for i in range(height) for j in range(width)]
    windows_BxNxKKC = jnp.stack(windows, 1).reshape(len(x_BHWC), height * width, -1)
    y = _product(windows_BxNxKKC, kernel.reshape(k * k * channels, units))
    return y.reshape(len(x_BHWC), height, width, units)


def _few_inputs(x_BHWC: jax.Array, kernel: jax.Array) -> jax.Array:
    """Full convolution of an image smaller than the kernel: each value's kernel, added up."""
    k, _, _, units = kernel.shape
    rows, height, width, channels = x_BHWC.shape
    flipped_CxKKD = kernel[::-1, ::-1].transpose(2, 0, 1, 3).reshape(channels, k * k * units)
    stamps = _product(x_BHWC, flipped_CxKKD).reshape(rows, height, width, k, k, units)
    whole = [(0, 0), (0, 0), (0, 0), (0, 0)]
    total = jnp.zeros((rows, height + k - 1, width + k - 1, units), x_BHWC.dtype)
    for i in range(height):
        for j in range(width):
            whole[1:3] = [(i, height - 1 - i), (j, width - 1 - j)]
            total = total + jnp.pad(stamps[:, i, j], whole)
    return total


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolve(x_BHWC: jax.Array, kernel: jax.Array, pad: int) -> jax.Array:
    return lax.platform_dependent(
        x_BHWC,
        kernel,
        cpu=functools.partial(_on_cpu, pad=pad),
        default=functools.partial(_library, pad=pad),
    )


def _forward(
    x_BHWC: jax.Array, kernel: jax.Array, pad: int
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _convolve(x_BHWC, kernel, pad), (x_BHWC, kernel)


def _backward(
    pad: int, saved: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x_BHWC, kernel = saved
    k = kernel.shape[0]

    def library_to_kernel(x: jax.Array, g: jax.Array) -> jax.Array:
        return jax.vjp(lambda w: _library(x, w, pad), kernel)[1](g)[0]

    def library_to_inputs(g: jax.Array, w: jax.Array) -> jax.Array:
        return jax.vjp(lambda x: _library(x, w, pad), x_BHWC)[1](g)[0]

    def own_to_inputs(g: jax.Array, w: jax.Array) -> jax.Array:
        return _on_cpu(g, w[::-1, ::-1].swapaxes(2, 3), k - 1 - pad)

    def own_to_kernel(x: jax.Array, g: jax.Array) -> jax.Array:
        return _kernel_gradient(x, g, pad, k)

    to_inputs = lax.platform_dependent(
        gradient, kernel, cpu=own_to_inputs, default=library_to_inputs
    )
    to_kernel = lax.platform_dependent(
        x_BHWC,
        gradient,
        cpu=own_to_kernel if k < _LARGE_KERNEL else library_to_kernel,
        default=library_to_kernel,
    )
    return to_inputs, to_kernel


_convolve.defvjp(_forward, _backward)


def _library(x_BHWC: jax.Array, kernel: jax.Array, pad: int, stride: int = 1) -> jax.Array:
    return lax.conv_general_dilated(
        x_BHWC, kernel, (stride, stride), [(pad, pad)] * 2, dimension_numbers=_LAYOUT
    )


def _on_cpu(x_BHWC: jax.Array, kernel: jax.Array, pad: int) -> jax.Array:
    if pad > 0 or kernel.shape[0] >= _LARGE_KERNEL:
        return _library(x_BHWC, kernel, pad)
    wider = lax.conv_general_dilated(
        x_BHWC, kernel, (1, 1), [(0, 0), (0, 1)], dimension_numbers=_LAYOUT
    )
    return wider[:, :, :-1]


def _kernel_gradient(x_BHWC: jax.Array, gradient: jax.Array, pad: int, k: int) -> jax.Array:
    """Σ x[b,i+p,j+q] g[b,i,j] for each p, q: (k, k, C, D).

    In an image flattened to (H·W, C) a shift by (p, q) is one by p·W + q rows, so every product
    takes its inputs from consecutive rows, without gathering.
    """
    rows = len(x_BHWC)
    # The padded width is that of the images or of the gradient, whichever is larger.
    padded = [(0, 0), (pad, pad), (pad, pad), (0, 0)]
    height, width = (n + 2 * pad for n in x_BHWC.shape[1:3])
    short = [(0, 0), (0, height - gradient.shape[1]), (0, width - gradient.shape[2]), (0, 0)]
    block = _rows_in_block(rows, height * width * max(x_BHWC.shape[-1], gradient.shape[-1]))
    used = block * height * width - (k - 1) * (width + 1)
    whole = [(0, -rows % block), (0, 0), (0, 0), (0, 0)]  # rows of zeros add nothing

    def add_block(total: jax.Array, pair: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
        x, g = pair
        x_NxC = jnp.pad(x, padded).reshape(-1, x.shape[-1])
        g_NxD = jnp.pad(g, short).reshape(-1, g.shape[-1])[:used]
        shifts = [p * width + q for p in range(k) for q in range(k)]
        products = [x_NxC[shift : shift + used].T @ g_NxD for shift in shifts]
        return total + jnp.stack(products), None

    blocks = [jnp.pad(a, whole).reshape(-1, block, *a.shape[1:]) for a in (x_BHWC, gradient)]
    zeros = jnp.zeros((k * k, x_BHWC.shape[-1], gradient.shape[-1]), x_BHWC.dtype)
    total, _ = lax.scan(add_block, zeros, tuple(blocks))
    return total.reshape(k, k, *total.shape[1:])


def _rows_in_block(rows: int, elements: int) -> int:
    blocks = -(-rows // max(1, _BLOCK_ELEMENTS // elements))
    return -(-rows // max(1, blocks))
