"""Small ladders with every kind of layer and combinator, for comparison with the reference."""

import jax
import numpy as np
import reference_combinators
import reference_numpy as reference

import ladder_jax as lj

ROWS_L, ROWS_U = 6, 9

# name -> (input shape, layers in text form). All end in 4 classes.
NETS = {
    "pools": ((7, 6, 2), "conv:3:3:full maxpool:2 conv:5:2 maxpool:3 conv:4:1 globalmean 4"),
    "mean_top": ((5, 5, 1), "conv:3:3 conv:6:2:full conv:4:1 globalmean"),
    "dense_on_image": ((5, 4, 2), "conv:3:2 dense:7 dense:4"),
    "dense_only": ((3, 2, 2), "dense:7 dense:4"),
    "pool_below_dense": ((5, 5, 2), "maxpool:2 dense:6 4"),
    "strides": ((8, 7, 1), "conv:2:3:valid:2 conv:3:2:full:3 4"),
    "large_kernel": ((7, 7, 1), "conv:5:6 conv:4:1 globalmean"),
    "even_kernel": ((9, 9, 1), "conv:3:4 conv:3:4:full maxpool:4 4"),
}

# name -> text, and the same for the reference
COMBINATORS = {
    name: name
    for base in reference_combinators.COMBINATORS
    for name in ((base,) if base in ("relu", "sigmoid") else (base, f"{base}:no_u"))
}
for hidden in ((4,), (2, 2), (2, 2, 2), (3, 1)):
    for augmented in (False, True):
        name = ":".join(("augmented_mlp" if augmented else "mlp", *map(str, hidden)))
        g = reference_combinators.mlp(hidden, augmented)
        COMBINATORS[name] = g
        COMBINATORS[f"{name}:no_u"] = reference_combinators.without_u(g)


def reference_layer(layer):
    """The library's layer as the reference writes it."""
    if isinstance(layer, lj.Dense):
        return ("dense", layer.units)
    if isinstance(layer, lj.Conv):
        return ("conv", layer.channels, layer.size, layer.mode, layer.stride)
    if isinstance(layer, lj.MaxPool):
        return ("maxpool", layer.size)
    return ("globalmean",)


def make_config(net, weights=None, **settings):
    """The ladder of that name, with distinct λ and noise levels."""
    shape, text = NETS[net]
    layers = text.split()
    count = len(layers)
    if weights is None:
        weights = [3.0, 0.7, 1.3, 0.4, 0.9, 0.6, 1.1, 0.8][: count + 1]
    noise = [0.2, 0.35, 0.3, 0.15, 0.25, 0.1, 0.4][:count]
    return lj.LadderConfig(
        tuple(layers), weights, input_noise=0.25, hidden_noise=noise, input_shape=shape, **settings
    )


def make_case(config, dtype=np.float64, seed=0):
    """Variables with every parameter at a random value, and a batch."""
    rng = np.random.default_rng(seed)
    variables = lj.init(config, jax.random.key(seed))
    params = jax.tree.map(
        lambda leaf: (0.1 + 0.6 * rng.normal(size=leaf.shape)).astype(dtype), variables["params"]
    )
    shape = config.input_shape
    x_l, x_u = (rng.normal(size=(rows, *shape)).astype(dtype) for rows in (ROWS_L, ROWS_U))
    y_l = rng.integers(0, config.num_classes, ROWS_L)
    noise = tuple(
        rng.normal(size=(ROWS_L + ROWS_U, *shape)).astype(dtype) for shape in config.shapes
    )
    return variables | {"params": params}, (x_l, y_l, x_u, noise)


def for_reference(config, params):
    """The parameters with the empty entries that the reference wants to see."""
    decoder = {f"layer_{i}": {} for i in config.decoder_layers} | dict(params.get("decoder", {}))
    decoder = {
        name: {"combinator": np.zeros((0, 1)), **jax.tree.map(np.asarray, dict(entry))}
        for name, entry in decoder.items()
    }
    return {"encoder": jax.tree.map(np.asarray, dict(params["encoder"])), "decoder": decoder}


def options(config):
    """The reference's words for the configuration."""
    return {
        "layers": [reference_layer(layer) for layer in config.layers],
        "activation": config.activation,
    }


def reference_costs(config, params, batch):
    """What the reference makes of the batch."""
    x_l, y_l, x_u, noise = batch
    names = [COMBINATORS.get(name, name) for name in config.combinators]
    return reference.costs(
        for_reference(config, params),
        x_l,
        y_l,
        x_u,
        list(noise),
        config.noise_levels,
        config.denoising_weights,
        combinators=names,
        **options(config),
    )
