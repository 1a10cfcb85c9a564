"""Convolution and pooling with their own gradients, and what the networks make of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_layers
from jax import lax

import ladder_jax as lj
from ladder_jax.ladder.costs import denoising_cost
from ladder_jax.ops.batchnorm import moments, normalize
from ladder_jax.ops.convolution import convolve
from ladder_jax.ops.pooling import max_pool


def library(x, kernel, pad):
    return lax.conv_general_dilated(
        x, kernel, (1, 1), [(pad, pad)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


@pytest.mark.parametrize(
    ("rows", "height", "width", "channels", "units", "k", "pad"),
    [
        (6, 5, 7, 3, 4, 3, 0),
        (6, 5, 7, 3, 4, 3, 2),
        (7, 9, 9, 2, 3, 2, 1),
        (4, 4, 6, 3, 2, 1, 0),
        (3, 20, 19, 1, 2, 9, 0),
        (4, 5, 5, 2, 2, 3, 1),
        # image and kernel almost of one size
        (5, 5, 5, 2, 2, 5, 0),
        (3, 3, 2, 4, 2, 10, 9),
        (4, 3, 4, 2, 1, 4, 3),
        (4, 6, 7, 1, 3, 5, 0),
        # more than one block of rows
        (4, 260, 260, 2, 2, 3, 2),
        (5, 190, 190, 2, 2, 3, 0),
    ],
)
def test_convolution_and_its_gradients_are_the_librarys(
    x64, rows, height, width, channels, units, k, pad
):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, height, width, channels))
    kernel = rng.normal(size=(k, k, channels, units))
    y, pull = jax.vjp(lambda x, w: convolve(x, w, pad), x, kernel)
    want, library_pull = jax.vjp(lambda x, w: library(x, w, pad), x, kernel)
    np.testing.assert_allclose(y, want, rtol=1e-9, atol=1e-9)
    g = rng.normal(size=y.shape)
    for own, other in zip(pull(g), library_pull(g), strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("shape", [(2, 5, 7, 2), (3, 4, 4, 1), (2, 3, 3, 2)])
@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("ties", ["all", "first"])
def test_max_pool_and_who_gets_the_gradient_of_ties(x64, shape, size, ties):
    """Whole numbers from 0 to 2: most windows have ties."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 3, shape).astype(float)
    y, pull = jax.vjp(lambda x: max_pool(x, size, ties), x)
    np.testing.assert_array_equal(y, reference_layers.maxpool(size, x))
    g = rng.normal(size=y.shape)
    want = reference_layers.maxpool_gradient(size, x, g, ties)
    np.testing.assert_allclose(pull(g)[0], want, rtol=1e-12)


def test_ties_change_the_gradient_of_the_network(x64):
    """A constant background: the clean pass has ties, and the two rules differ."""
    slopes = {}
    for ties in ("all", "first"):
        config = lj.LadderConfig(
            ("conv:2:2", "maxpool:2", 3), (0, 0, 0, 1), input_shape=(7, 7, 1), pool_ties=ties
        )
        rng = np.random.default_rng(0)
        x = rng.normal(size=(8, 7, 7, 1)) * (np.arange(7) < 3)[:, None, None]
        variables = lj.init(config, jax.random.key(0))
        noise = [np.zeros((16, *shape)) for shape in config.shapes]

        def total(params, config=config, variables=variables, x=x, noise=noise):
            own = variables | {"params": params}
            return lj.costs(config, own, x, np.arange(8) % 3, x, noise).total

        gradient = jax.jit(jax.grad(total))(variables["params"])
        slopes[ties] = gradient["encoder"]["layer_1"]["beta"]
    assert np.abs(slopes["all"] - slopes["first"]).max() > 0.1 * np.abs(slopes["all"]).max()


def test_compiled_gradient_is_that_of_single_operations(x64):
    """The compiler may round x once for the maximum and otherwise for the comparison."""
    rng = np.random.default_rng(0)
    x, shift = rng.normal(size=(6, 9, 8, 3)), rng.normal(size=3)

    def cost(x):
        z = normalize(x, moments(x))
        h = jax.nn.leaky_relu(z + shift[None, None, None], 0.1)
        return (max_pool(h, 2) ** 2).sum() + (z**3).sum()

    np.testing.assert_allclose(jax.jit(jax.grad(cost))(x), jax.grad(cost)(x), rtol=1e-9, atol=1e-9)


def test_factor_of_global_mean_pooling_and_what_it_does_to_the_cost(x64):
    """Width·√3: it cancels in z, but ẑ is normalised with the moments of the scaled value.

    The cost of one and the same ẑ is worked out by hand with and without the factor.
    """
    pool = lj.GlobalMeanPool()
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 6, 6, 4))
    pooled = pool.forward(None, x)
    np.testing.assert_allclose(pool.forward(None, np.ones((1, 6, 6, 2))), 6 * 3**0.5)
    np.testing.assert_allclose(pooled, x.mean((1, 2)) * 10.392304845413264, rtol=1e-12)
    plain = x.mean((1, 2))
    z = normalize(pooled, moments(pooled))
    np.testing.assert_allclose(z, normalize(plain, moments(plain)), rtol=1e-6)
    z_hat = rng.normal(size=z.shape)
    costs = {}
    for name, values in (("scaled", pooled), ("plain", plain)):
        mean, std = values.mean(0), values.std(0)
        own = denoising_cost(z, z_hat, moments(values)).mean()
        np.testing.assert_allclose(own, np.square(z - (z_hat - mean) / std).mean(), rtol=1e-6)
        costs[name] = own
    assert costs["plain"] > 20 * costs["scaled"]
    np.testing.assert_array_equal(pool.inverse(None, z_hat, (2, 3, 4))[:, 1, 2], z_hat)


def test_shapes_of_the_papers_networks():
    """Written out from the contract, layer by layer."""
    cases = {
        "mnist-conv_fc-100": "28x28x1 3x3x1000 3x3x500 3x3x250 3x3x250 3x3x250 3x3x10 10",
        "mnist-conv_small_gamma-100": "28x28x1 32x32x32 16x16x32 14x14x64 16x16x64 8x8x64 6x6x128 "
        "6x6x10 10 10",
        "cifar10-gamma-4000": "32x32x3 30x30x96 32x32x96 34x34x96 17x17x96 15x15x192 17x17x192 "
        "15x15x192 8x8x192 6x6x192 6x6x192 6x6x10 10",
    }
    for name, text in cases.items():
        config = lj.presets.get(name).config
        assert " ".join(map(lj.layers.by, config.shapes)) == text

    def params(name):
        config = lj.presets.get(name).config
        return jax.eval_shape(lambda key: lj.init(config, key), jax.random.key(0))["params"]

    fc = params("mnist-conv_fc-100")
    assert fc["decoder"]["layer_0"]["combinator"].shape == (10, 1)  # a single set
    assert fc["decoder"]["layer_1"]["combinator"].shape == (10, 1000)
    assert fc["encoder"]["layer_1"]["kernel"].shape == (26, 26, 1, 1000)
    assert fc["decoder"]["layer_1"]["kernel"].shape == (26, 26, 1000, 1)
    assert set(fc["encoder"]["layer_7"]) == {"beta", "gamma"}
    large = params("cifar10-gamma-4000")
    assert "layer_4" not in large["encoder"]
    assert set(large["encoder"]["layer_12"]) == {"beta"}
    assert large["encoder"]["layer_2"]["beta"].shape == (96,)
    assert set(large["decoder"]) == {"layer_12"}


def test_start_values_of_convolutions():
    """Uniform in ±√(3/fan in); of V the fan in is that of the layer above."""
    config = lj.LadderConfig(("conv:40:5", 3), (1, 0, 0), input_shape=(9, 9, 20))
    params = lj.init(config, jax.random.key(0))["params"]
    for kernel, fan_in, shape in (
        (params["encoder"]["layer_1"]["kernel"], 20 * 25, (5, 5, 20, 40)),
        (params["decoder"]["layer_1"]["kernel"], 40 * 25, (5, 5, 40, 20)),
    ):
        bound = (3 / fan_in) ** 0.5
        assert kernel.shape == shape
        assert float(jnp.abs(kernel).max()) <= bound
        assert float(jnp.abs(kernel).max()) > 0.99 * bound
        assert abs(float(kernel.std()) * fan_in**0.5 - 1) < 0.02


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (lj.Dense(7), "dense:7"),
        (lj.Conv(96, 3), "conv:96:3"),
        (lj.Conv(96, 3, "full"), "conv:96:3:full"),
        (lj.Conv(8, 2, "valid", 2), "conv:8:2:valid:2"),
        (lj.Conv(8, 2, "full", 3), "conv:8:2:full:3"),
        (lj.MaxPool(2), "maxpool:2"),
        (lj.GlobalMeanPool(), "globalmean"),
    ],
)
def test_layers_have_a_text_form(layer, text):
    assert str(layer) == text
    assert lj.layers.parse_layer(text) == layer
    assert lj.layers.parse_layer(layer) is layer
