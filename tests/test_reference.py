"""The NumPy reference itself, against hand calculations and independent routes."""

from itertools import pairwise

import jax
import numpy as np
import pytest
import reference_combinators as combinators
import reference_layers as layers
import reference_numpy as reference
from numpy.testing import assert_allclose, assert_array_equal

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
POOL, MEAN = ("maxpool", 2), ("globalmean",)
PIXELS = (0, 1, 2)  # the axes of an image but the channels


def conv(channels, k, border, stride=1):
    return ("conv", channels, k, border, stride)


def normal(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng((seed, *shape)).normal(size=shape).astype(dtype)


def image(rows):
    """A nested list as one image of one channel, (1, H, W, 1)."""
    return np.array(rows, float)[None, :, :, None]


def plain(x):
    return x[0, :, :, 0].tolist()


# ---- layers ----
V26, V3, V1 = conv(1000, 26, "valid"), conv(192, 3, "valid"), conv(10, 1, "valid")
F5, F3, TOP = conv(32, 5, "full"), conv(192, 3, "full"), ("dense", 10)
PAPER = [  # Conv-FC, Conv-Small, Conv-Large: input, layers, height of each output (0: flat)
    ((28, 28, 1), [V26, V1, MEAN], [3, 3, 0]),
    ((28, 28, 1), [F5, POOL, V3, F3, POOL, V3, V1, MEAN, TOP], [32, 16, 14, 16, 8, 6, 6, 0, 0]),
    ((32, 32, 3), [V3, F3, F3, POOL, V3, F3, V3, POOL], [30, 32, 34, 17, 15, 17, 15, 8]),
]


@pytest.mark.parametrize(("shape", "network", "sizes"), PAPER)
def test_shapes_of_the_papers_networks(shape, network, sizes):
    for layer, size in zip(network, sizes, strict=True):
        shape = layers.output_shape(layer, shape)
        assert shape[:-1] == ((size, size) if size else ())
    assert shape[-1] in (10, 192)


def test_convolution_by_hand():
    """Cross-correlation: the kernel is not flipped."""
    x = image([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    kernel = np.array([[1.0, 10], [100, 0]])[:, :, None, None]
    assert plain(layers.forward(conv(1, 2, "valid"), kernel, x)) == [[421, 532], [754, 865]]
    want = [[0, 100, 200, 300], [10, 421, 532, 603], [40, 754, 865, 906], [70, 87, 98, 9]]
    assert plain(layers.forward(conv(1, 2, "full"), kernel, x)) == want
    assert plain(layers.forward(conv(1, 2, "full", 2), kernel, x)) == [[0, 200], [40, 865]]


@pytest.mark.parametrize("size", [(5, 5), (6, 7), (9, 4)])
@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("border", ["valid", "full"])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_convolution_is_scipys_and_its_inverse_map_the_adjoint(size, k, border, stride):
    """<conv(h), y> = <h, inverse(y)> for the flipped kernel with its channels swapped.

    That pins the zero-upsampling and the part that is kept, with any stride.
    """
    signal = pytest.importorskip("scipy.signal")
    x, kernel, layer = normal(2, *size, 3), normal(k, k, 3, 4), conv(4, k, border, stride)
    got = layers.forward(layer, kernel, x)
    assert got.shape[1:] == layers.output_shape(layer, x.shape[1:])
    for row, out in np.ndindex(2, 4):
        pairs = [(x[row, :, :, c], kernel[:, :, c, out]) for c in range(3)]
        want = sum(signal.correlate2d(x_c, kernel_c, border) for x_c, kernel_c in pairs)
        assert_allclose(got[row, :, :, out], want[::stride, ::stride], atol=1e-12)
    y, turned = normal(*got.shape, seed=1), kernel[::-1, ::-1].swapaxes(2, 3)
    down = layers.inverse(layer, turned, y, x.shape[1:])
    assert down.shape == x.shape
    assert_allclose(np.sum(got * y), np.sum(x * down), rtol=1e-10)


def test_dense_layers_see_images_row_by_row():
    x, y, V = np.arange(12.0).reshape(1, 2, 3, 2), normal(3, 5), normal(5, 12)
    assert layers.forward(("dense", 12), np.eye(12), x).tolist() == [list(range(12))]
    assert layers.output_shape(("dense", 12), (2, 3, 2)) == (12,)
    down = layers.inverse(("dense", 5), V, y, (2, 3, 2))
    assert down.shape == (3, 12)
    assert_allclose(down[1, 7], np.sum(y[1] * V[:, 7]))


def test_max_pooling_by_hand():
    """5 x 5 in windows of 2: three by three, the last row and column from partial windows."""
    x = [[1, 5, 2, 0, 9], [3, 4, 8, 7, 1], [0, 0, 1, 1, 2], [0, 6, 1, 1, 3], [4, 2, 5, 6, 7]]
    pooled = layers.forward(POOL, None, image(x))
    assert plain(pooled) == [[5, 8, 9], [6, 1, 3], [4, 6, 7]]
    up = plain(layers.inverse(POOL, None, pooled, (5, 5, 1)))
    assert up[0] == up[1] == [5, 5, 8, 8, 9]
    assert up[2:] == [[6, 6, 1, 1, 3], [6, 6, 1, 1, 3], [4, 4, 6, 6, 7]]
    negative = layers.forward(POOL, None, image(x) - 10)  # nothing is padded with 0
    assert plain(negative) == [[-5, -2, -1], [-4, -9, -7], [-6, -4, -3]]


def test_global_mean_by_hand():
    """Width times the square root of 3 times the mean; copied back without the factor."""
    assert_allclose(layers.forward(MEAN, None, np.ones((1, 6, 6, 2))), 6 * 3**0.5)
    x = np.arange(12.0).reshape(1, 2, 3, 2)
    assert_allclose(layers.forward(MEAN, None, x), [[15 * 3**0.5, 18 * 3**0.5]])
    down = layers.inverse(MEAN, None, np.array([[4.0, 5]]), (2, 3, 2))
    assert_array_equal(down, np.tile([4.0, 5], (1, 2, 3, 1)), strict=True)


@pytest.mark.parametrize(("size", "s"), [((5, 5), 2), ((4, 7), 3), ((6, 6), 2)])
@pytest.mark.parametrize("ties", ["all", "first"])
def test_gradient_of_max_pooling_by_finite_differences(size, s, ties):
    x, step = normal(2, *size, 3), 1e-6
    g = normal(*layers.maxpool(s, x).shape)
    got = layers.maxpool_gradient(s, x, g, ties)
    for place in np.ndindex(x.shape):
        moved = np.zeros_like(x)
        moved[place] = step
        rise = layers.maxpool(s, x + moved) - layers.maxpool(s, x - moved)
        assert abs(got[place] - np.sum(g * rise) / (2 * step)) < 1e-7


def test_ties_of_max_pooling_by_hand():
    x, g = image([[7, 1, 2, 5, 0], [7, 7, 5, 5, 0]]), image([[10, 20, 30]])
    want = {"all": [10, 10, 20, 20, 30], "first": [0, 0, 0, 0, 0]}
    for ties in want:
        assert plain(layers.maxpool_gradient(2, x, g, ties)) == [[10, 0, 0, 20, 30], want[ties]]
    first = layers.maxpool_gradient(2, image([[1, 7], [7, 0]]), image([[1]]), "first")
    assert plain(first) == [[0, 1], [0, 0]]  # row-major: the upper of the two


# ---- combinators ----
Z, U = normal(6, 3), normal(6, 3, seed=1)
SIGMA_Z, SIGMA_U = 1 / (1 + np.exp(-Z)), 1 / (1 + np.exp(-U))
AT_START = {  # z_hat at the start values, with u and without
    "gaussian": (0 * Z, Z),
    "gaussian_stable_v": (Z / 2, Z),
    "vanilla": (Z + SIGMA_Z, Z + SIGMA_Z),
    "no_cross": (Z + SIGMA_Z, Z + SIGMA_Z),
    "no_sigmoid": (Z, Z),
    "additive": (SIGMA_Z + SIGMA_U, SIGMA_Z),
    "linear": (Z, Z),
    "relu": (np.where(U < 0, 0, U), None),
    "sigmoid": (SIGMA_U, None),
    "identity": (Z, Z),
}


@pytest.mark.parametrize("name", combinators.COMBINATORS)
def test_combinators_at_their_start_values(name):
    g, (with_u, without) = combinators.COMBINATORS[name], AT_START[name]
    start = np.array(combinators.START[name], float)[:, None] * np.ones(3)
    assert_allclose(g(Z, U, start), with_u, rtol=1e-12)
    if without is None:
        with pytest.raises(ValueError, match=f"{name} needs u"):
            g(Z, None, start)
    else:
        start = np.array(combinators.START_WITHOUT_U[name], float)[:, None] * np.ones(3)
        assert_allclose(g(Z, None, start), without, rtol=1e-12)


mlp, LOG_3 = combinators.mlp, np.log(3)
BY_HAND = [  # z_tilde = 2, u = 3. The sigmoids' arguments are 0 or log 3: they give 1/2, 3/4.
    # mu = 4/2 + 1.5 + 1 = 4.5, v = 6/2 - 3 + .25, (2 - 4.5) v + 4.5
    ("gaussian", [4, 1, -3, 0.5, 1, 6, 2, -6, -1, 0.25], 3.875),
    ("gaussian_stable_v", [4, 1, -3, 0.5, 1, 6, 2, -6, -1, LOG_3], 2.625),
    ("vanilla", [0.5, 2, -1, 0.25, 4, -2, 1, 2, -1], 5),
    ("no_cross", [0.5, 2, -1, 4, -8, 1, 2], 3.5),
    ("no_sigmoid", [0.5, 2, -1, 0.25], 3),
    ("additive", [3, 4, 0.5, 2, 6, -1, -6, 0.25], 3.25),
    ("linear", [3, -1], 5),
    ("relu", [-1], 2),
    ("relu", [-4], 0),
    ("sigmoid", [LOG_3, -2], 0.75),
    ("identity", [], 2),
    # 2 + 6 + .5 = 8.5 and -2 + 1.5 - .5 = -1, that is -.1; 2 * 8.5 + 10 * -.1 + 1
    (mlp((2,), False), [1, 2, -1, 0.5, 0.5, -0.5, 2, 10, 1], 17),
    # the same with -.5 and 1 times z_tilde u = 6: 5.5 and 5
    (mlp((2,), True), [1, 2, -0.5, -1, 0.5, 1, 0.5, -0.5, 2, 10, 1], 62),
    # without u: the same
    ("gaussian:no_u", [3, -1], 5),
    ("gaussian_stable_v:no_u", [3, -1], 5),
    ("vanilla:no_u", [0.5, 2, 4, -6, 3], 6.5),
    ("no_cross:no_u", [0.5, 2, 4, -6, 3], 6.5),
    ("no_sigmoid:no_u", [0.5, 2], 4.5),
    ("additive:no_u", [3, 4, 0.5, -6, 0.25], 3.25),
    # 2 * 2 - 1 = 3; 3 + 1 = 4 and -3 - 2 = -5, that is -.5; -(4 + 20 * -.5 - 2)
    (combinators.without_u(mlp((1, 2, 1), False)), [2, -1, 1, -1, 1, -2, 1, 20, -2, -10, 0], 8),
    (combinators.without_u(mlp((1,), True)), [3, -1, 2, 1], 11),
]


@pytest.mark.parametrize(("entry", "rows", "want"), BY_HAND)
def test_combinators_by_hand(entry, rows, want):
    g = combinators.resolve(entry)
    got = g(np.array([[2.0]]), np.array([[3.0]]), np.array(rows, float).reshape(-1, 1))
    assert_allclose(got, [[want]], rtol=1e-12)


@DTYPES
def test_combinators_keep_the_dtype_and_work_on_the_last_axis(dtype):
    """An image with parameters per channel: as if every pixel were a row."""
    z, u = normal(2, 4, 5, 3, dtype=dtype), normal(2, 4, 5, 3, seed=1, dtype=dtype)
    named = [(combinators.resolve(name), len(start)) for name, start in combinators.START.items()]
    for g, rows in [(mlp((2,), True), 11), *named]:
        a = normal(rows, 3, dtype=dtype)
        assert g(z, u, a).dtype == dtype
        pixels = g(z.reshape(40, 3), u.reshape(40, 3), a)
        assert_allclose(g(z, u, a).reshape(40, 3), pixels, rtol=1e-5)
        with pytest.raises((ValueError, AssertionError)):
            g(z, u, normal(rows + 1, 3, dtype=dtype))


# ---- the whole ladder ----
SMALL = [conv(2, 2, "valid"), POOL, conv(3, 1, "full"), MEAN]


def small_case(dtype):
    """Random parameters, without those of levels 3 and 4 of the decoder; 9 images, noise."""
    encoder = {
        "layer_1": {"kernel": normal(2, 2, 1, 2), "beta": normal(2)},
        "layer_3": {"kernel": normal(1, 1, 2, 3), "beta": normal(3)},
        "layer_4": {"beta": normal(3), "gamma": normal(3, seed=1)},
    }
    decoder = {"layer_0": {"combinator": normal(10, 1)}, "layer_2": {"combinator": normal(2, 2)}}
    decoder["layer_1"] = {"combinator": normal(10, 2), "kernel": normal(2, 2, 2, 1)}
    shapes = [(5, 5, 1), (4, 4, 2), (2, 2, 2), (2, 2, 3), (3,)]
    noise = [normal(9, *shape, seed=1) for shape in shapes]
    case = ({"encoder": encoder, "decoder": decoder}, normal(9, 5, 5, 1), noise)
    return jax.tree.map(lambda array: array.astype(dtype), case)


def standard(x, axes):
    return (x - x.mean(axes)) / np.sqrt(x.var(axes) + 1e-10)


def test_encoder_with_poolings():
    """A pooling is normalised and noised; only the topmost has beta and gamma."""
    params, x, noise = small_case(float)
    std, top = [0.1, 0.2, 0.3, 0.4, 0.5], params["encoder"]["layer_4"]
    got = reference.encode(params, x, noise, std, layers=SMALL, activation="leaky_relu")
    z, h = got["z"], got["h"]
    assert_array_equal(z[0], x + 0.1 * noise[0])
    assert_allclose(z[2], standard(layers.maxpool(2, h[1]), PIXELS) + 0.3 * noise[2], rtol=1e-9)
    assert_array_equal(h[2], z[2])
    shift = params["encoder"]["layer_3"]["beta"]
    assert_allclose(h[3], np.maximum(z[3] + shift, (z[3] + shift) / 10), rtol=1e-9)
    mean_3 = 2 * 3**0.5 * h[3].mean((1, 2))
    assert_allclose(got["mean"][4], mean_3.mean(0), rtol=1e-9)
    assert_allclose(z[4], standard(mean_3, 0) + 0.5 * noise[4], rtol=1e-9)
    odds = np.exp(top["gamma"] * (z[4] + top["beta"]))
    assert_allclose(h[4], odds / odds.sum(1, keepdims=True), rtol=1e-9)
    statistics = reference.population_moments(params, [x], layers=SMALL)
    clean = reference.encode(params, x, layers=SMALL)  # of ReLU
    assert_array_equal(clean["h"][3], np.maximum(clean["z"][3] + shift, 0))
    assert_allclose(statistics[3][1], clean["var"][3] * 9 / 8, rtol=1e-9)


@DTYPES
def test_costs_add_up_and_keep_the_dtype(dtype):
    """Level 4 has no combinator, 3 no cost and nobody below who asks for it."""
    params, x, noise = small_case(dtype)
    entries = ["gaussian", "gaussian", "gaussian:no_u", "gaussian", "none"]
    network, std, weights = {"layers": SMALL, "combinators": entries}, [0.3] * 5, (2, 0.5, 3, 0, 7)
    got = reference.costs(params, x[:4], [0, 1, 2, 1], x[4:], noise, std, weights, **network)
    C, total = got["denoising"], got["total"]
    assert_allclose(total, got["supervised"] + 2 * C[0] + 0.5 * C[1] + 3 * C[2], rtol=1e-5)
    assert C[3] is C[4] is None
    assert total.dtype == C[0].dtype == dtype


def test_one_by_one_convolutions_are_a_dense_ladder_on_the_pixels():
    widths = [2, 4, 3, 3]
    rows = {"encoder": {}, "decoder": {"layer_0": {"combinator": normal(10, 2)}}}
    images = {"encoder": {}, "decoder": dict(rows["decoder"])}
    for l, (below, D) in enumerate(pairwise(widths), start=1):
        W, V, a = normal(below, D), normal(D, below, seed=1), normal(10, D)
        for params, shape in ((rows, ()), (images, (1, 1))):
            up, down = W.reshape(shape + W.shape), V.reshape(shape + V.shape)
            params["encoder"][f"layer_{l}"] = {"kernel": up, "beta": normal(D)}
            params["decoder"][f"layer_{l}"] = {"kernel": down, "combinator": a}

    def everything(params, shape, network):
        x, *noise = (normal(30, D).reshape(*shape, D) for D in [2, *widths])
        corrupted = reference.encode(params, x, noise, [0.3] * 4, layers=network)
        decoded = reference.decode(params, corrupted, 0, layers=network)
        clean = reference.encode(params, x, layers=network)
        costs = reference.denoising_costs(decoded["z_hat"], clean)
        return [array.reshape(30, -1) for array in corrupted["h"] + decoded["u"]], costs

    got, costs = everything(images, (5, 2, 3), [conv(D, 1, "valid") for D in widths[1:]])
    want, costs_wanted = everything(rows, (30,), None)
    for got_l, want_l in zip(got, want, strict=True):
        assert_allclose(got_l, want_l, rtol=1e-8, atol=1e-10)
    assert_allclose(costs, costs_wanted, rtol=1e-8)


def test_decoder_is_unit_wise_below_dense_layers_and_channel_wise_below_the_others():
    """And no u arrives below a level without combinator."""
    network, z = [conv(3, 3, "valid"), TOP], [normal(7, 4, 4, 2), normal(7, 2, 2, 3), normal(7, 10)]
    layer_0 = {"combinator": np.array([[1.0, 10]])}
    layer_1 = {"combinator": np.arange(12.0)[None], "kernel": normal(3, 3, 3, 2)}
    layer_2 = {"combinator": normal(10, 10), "kernel": normal(10, 12)}
    params = {"decoder": {"layer_0": layer_0, "layer_1": layer_1, "layer_2": layer_2}}

    def decode(*entries):
        corrupted = {"z": z, "h": [None, None, z[2] ** 2]}
        got = reference.decode(params, corrupted, 0, layers=network, combinators=entries)
        return got["u"], got["z_hat"]

    u, z_hat = decode(*[lambda z_tilde, u, a: a[0] * z_tilde] * 2, "gaussian")
    assert_allclose(u[2], standard(z[2] ** 2, 0), rtol=1e-9)
    assert_allclose(u[1], standard(z_hat[2] @ layer_2["kernel"], 0), rtol=1e-9)
    assert_array_equal(z_hat[1], np.arange(12.0).reshape(2, 2, 3) * z[1])
    down = layers.inverse(network[0], layer_1["kernel"], z_hat[1], (4, 4, 2))
    assert_allclose(u[0], standard(down, PIXELS), rtol=1e-9)
    assert_array_equal(z_hat[0], z[0] * [1, 10])
    layer_0["combinator"] = np.array([[2.0, 2], [1, 1]])
    u, z_hat = decode("gaussian", "none", "gaussian")
    assert u[0] is u[1] is z_hat[1] is None
    assert_array_equal(z_hat[0], 2 * z[0] + 1)
    with pytest.raises(ValueError, match="relu needs u"):
        decode("relu", "none", "gaussian")


def test_costs_of_images_by_hand():
    """((3 - 1)/2, (5 - 1)/2) = (1, 2) against (1, 0); the input is not normalised."""
    z, moments = image([[1, 0]]), {"mean": [None, np.array([1.0])], "var": [None, np.array([4.0])]}
    got = reference.denoising_costs([image([[2, 2]]), image([[3, 5]])], {"z": [z, z], **moments})
    assert_allclose(got, [2.5, 2], rtol=1e-9)


def test_which_levels_are_denoised():
    """From the input up, 1: denoised. Level 0 is below the lowest asked for."""
    for entries, weights, want in [
        ("gaussian gaussian gaussian gaussian", None, [0, 1, 1, 1]),
        ("gaussian gaussian gaussian gaussian", (9, 0, 1, 0), [0, 0, 1, 1]),
        ("gaussian gaussian:no_u gaussian gaussian", (9, 1, 0, 1), [0, 1, 0, 1]),
        ("gaussian gaussian none gaussian", (9, 1, 1, 0), [0, 1, 0, 0]),
        ("gaussian relu linear gaussian", (9, 1, 0, 0), [0, 1, 1, 0]),
        ("gaussian identity gaussian gaussian", (9, 1, 0, 1), [0, 1, 0, 1]),
    ]:
        assert reference.needed_levels(entries.split(), 1, weights) == want, entries
