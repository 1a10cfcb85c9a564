"""The layers of a Ladder Network and their inverse maps in plain NumPy loops.

Part of the tests' oracle: slow, plain and sharing no code with the library. A layer is
one of the tuples
  ("dense", units)
  ("conv", channels, k, "valid" or "full", stride)
  ("maxpool", s)       window and stride s
  ("globalmean",)
and images are (B, H, W, C). Shapes are without the batch axis. "Convolution" is what
deep-learning libraries compute: cross-correlation.

Every function keeps the dtype of its arrays.
"""

import numpy as np


def output_shape(layer, input_shape):
    """Shape of z(l), given the shape of h(l-1)."""
    if layer[0] == "dense":
        return (layer[1],)
    H, W, C = input_shape
    if layer[0] == "conv":
        _, channels, k, border, stride = layer
        p = border_width(k, border)
        return ((H + 2 * p - k) // stride + 1, (W + 2 * p - k) // stride + 1, channels)
    if layer[0] == "maxpool":
        s = layer[1]
        return (round_up(H, s), round_up(W, s), C)
    if layer[0] == "globalmean":
        return (C,)
    raise ValueError(f"no such layer: {layer}")


def round_up(size, s):
    """Number of windows of length s that cover `size`, the last one perhaps in part."""
    return size // s + (1 if size % s > 0 else 0)


def border_width(k, border):
    """Zeros on every side of the image, for a k by k kernel."""
    return {"valid": 0, "full": k - 1}[border]


def add_border(image, p):
    """The image with p rows and columns of zeros on every side."""
    B, H, W, C = image.shape
    padded = np.zeros((B, H + 2 * p, W + 2 * p, C), image.dtype)
    padded[:, p : p + H, p : p + W, :] = image
    return padded


def correlate(image, kernel, border, stride):
    """Cross-correlation with a kernel (k, k, C_in, C_out)."""
    k, C_out = kernel.shape[0], kernel.shape[3]
    B = image.shape[0]
    H, W, _ = output_shape(("conv", C_out, k, border, stride), image.shape[1:])
    padded = add_border(image, border_width(k, border))
    result = np.zeros((B, H, W, C_out), image.dtype)
    for i in range(H):
        for j in range(W):
            top, left = i * stride, j * stride
            window = padded[:, top : top + k, left : left + k, :]
            result[:, i, j, :] = np.tensordot(window, kernel, axes=3)
    return result


def forward(layer, kernel, h):
    """h(l-1) to z_pre(l), the value before the normalisation. Poolings have no kernel."""
    if layer[0] == "dense":
        return h.reshape(len(h), -1) @ kernel
    if layer[0] == "conv":
        _, channels, k, border, stride = layer
        assert kernel.shape == (k, k, h.shape[3], channels)
        return correlate(h, kernel, border, stride)
    if layer[0] == "maxpool":
        return maxpool(layer[1], h)
    if layer[0] == "globalmean":
        # the authors' code scales the mean, which is felt in the denoising cost only
        width = h.shape[2]
        return width * 3**0.5 * np.mean(h, axis=(1, 2))
    raise ValueError(f"no such layer: {layer}")


def maxpool(s, x):
    """Largest value of each s by s window; windows at the far borders may be cut."""
    B = x.shape[0]
    H, W, C = output_shape(("maxpool", s), x.shape[1:])
    result = np.zeros((B, H, W, C), x.dtype)
    for i in range(H):
        for j in range(W):
            window = x[:, i * s : i * s + s, j * s : j * s + s, :]
            result[:, i, j, :] = np.max(window, axis=(1, 2))
    return result


def maxpool_gradient(s, x, g, ties):
    """Gradient of sum(g * maxpool(s, x)) with respect to x.

    ties says who gets the gradient of a window whose maximum is reached more than once:
    "all", every such position the full gradient (the authors' framework), or "first",
    only the first of them in row-major order.
    """
    gradient = np.zeros_like(x)
    for b, i, j, c in np.ndindex(g.shape):
        rows = range(i * s, min(i * s + s, x.shape[1]))
        columns = range(j * s, min(j * s + s, x.shape[2]))
        window = [(row, column) for row in rows for column in columns]
        largest = max(x[b, row, column, c] for row, column in window)
        winners = [(row, column) for row, column in window if x[b, row, column, c] == largest]
        for row, column in {"all": winners, "first": winners[:1]}[ties]:
            gradient[b, row, column, c] = g[b, i, j, c]
    return gradient


def spread(z_hat, s):
    """Zero-upsampling: the values at [::s, ::s] of an s times larger image of zeros."""
    B, H, W, C = z_hat.shape
    result = np.zeros((B, H * s, W * s, C), z_hat.dtype)
    result[:, ::s, ::s, :] = z_hat
    return result


def inverse(layer, kernel, z_hat, input_shape):
    """z_hat(l) down to layer l-1, whose shape is input_shape.

    The shape of the result is input_shape, but below a dense layer it is flat. kernel is
    V(l): (D_l, D_{l-1}) or (k, k, C_l, C_{l-1}). Where the inverse map makes an image
    larger than layer l-1, its top left part is kept.
    """
    if layer[0] == "dense":
        return z_hat @ kernel
    H, W, C = input_shape
    if layer[0] == "conv":
        _, channels, k, border, stride = layer
        assert kernel.shape == (k, k, channels, C)
        opposite = {"valid": "full", "full": "valid"}[border]
        return correlate(spread(z_hat, stride), kernel, opposite, 1)[:, :H, :W, :]
    result = np.zeros((len(z_hat), H, W, C), z_hat.dtype)
    if layer[0] == "maxpool":
        s = layer[1]
        for i in range(H):
            for j in range(W):
                result[:, i, j, :] = z_hat[:, i // s, j // s, :]
        return result
    if layer[0] == "globalmean":
        for i in range(H):
            for j in range(W):
                result[:, i, j, :] = z_hat  # without the factor of the forward map
        return result
    raise ValueError(f"no such layer: {layer}")
