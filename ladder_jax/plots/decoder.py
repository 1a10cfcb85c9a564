"""Draws what the decoder has learnt: denoising functions and reconstructions of inputs."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ladder_jax.config import Level
from ladder_jax.data import Dataset
from ladder_jax.errors import ConfigError
from ladder_jax.ladder.network import decode, draw_noise, encode
from ladder_jax.plots import style as plot_style
from ladder_jax.plots.curves import open_run
from ladder_jax.plots.rows import Rows, image_shape, rows_for, seed_note
from ladder_jax.plots.style import Array, Figure
from ladder_jax.storage.read_run import Folder
from ladder_jax.train.result import Model, load_network, matmul_precision

Z, U = np.linspace(-4, 4, 81), np.linspace(-2, 2, 5)
"""Values of z̃ and u at which denoising functions are shown; u is in standard deviations."""


def denoising_functions(
    run: Folder,
    layer: int | None = None,
    units: Sequence[int] | None = None,
    *,
    seed: int | None = None,
) -> Figure:
    """Draws learnt ẑ = g(z̃, u) of some units over z̃, a curve for each u, as the paper's Figure 1.

    Args:
      run: a finished run.
      layer: 0…L; by default the lowest one above the input that has a ẑ.
      units: units of the layer, or channels below a convolution or pooling; by default the six
        whose ẑ is furthest from a linear function of z̃ and u, by root mean square.
      seed: one of the seeds in the folder; by default the first.

    Raises:
      RunError: the run is absent, damaged, not finished, or has no decoder.
      ConfigError: there is no such layer or unit.
    """
    known = open_run("denoising_functions", run)
    model = load_network(known.path, seed)
    units = list(() if units is None else units)
    layer, level = layer_of(model, layer, units)
    units = units or most_curved(model, layer, Z, U, 6)
    curves = denoised(model, layer, Z, U, units)
    kind = model.config.layers[layer - 1] if layer else "input"
    title = f"Denoising functions of layer {layer} ({kind}), {level.name}"
    title += seed_note(known, model) + r"; dashed: $\hat{z} = \tilde{z}$"
    figure = plot_style.new_figure(1.0 + 2.1 * -(-len(units) // 3), title)
    from matplotlib.cm import ScalarMappable  # new_figure says so where there is no matplotlib

    colours = ScalarMappable(cmap="viridis")
    colours.set_clim(U[0], U[-1])
    for place, unit in enumerate(units):
        axes = plot_style.add_axes(figure, len(units), 3, place, sharex=True, sharey=True)
        axes.axline((0, 0), slope=1, color="#888888", linestyle="--", linewidth=1)
        for at, z_hat in enumerate(curves[:, :, place]):
            colour = colours.to_rgba(U[at]) if len(curves) > 1 else plot_style.COLOURS[0]
            axes.plot(Z, z_hat, color=colour, linewidth=1 + 1.5 * at / len(U))
        axes.set_title(f"{'unit' if level.flat else 'channel'} {unit}", fontsize=9.5)
        plot_style.dress(axes, r"$\tilde{z}$", r"$\hat{z}$")
        if len(units) < 3 or len(units) % 3 == 0:
            axes.label_outer()
    if len(curves) > 1:
        plot_style.colour_bar(figure, colours, "u (standard deviations)", U)
    return figure


def layer_of(model: Model, layer: int | None, units: Sequence[int] = ()) -> tuple[int, Level]:
    """Checks a layer and its units; a layer of None is the lowest one above the input."""
    decoded = model.config.decoder_layers
    layer = next((i for i in decoded if i), decoded[0]) if layer is None else layer
    level = model.config.levels[layer] if layer in decoded else None
    if level is None:
        problem = f"has no denoising function; choose one of {', '.join(map(str, decoded))}"
        raise ConfigError("layer", layer, problem)
    for unit in units:
        if not isinstance(unit, int | np.integer) or not 0 <= unit < level.units:
            problem = f"layer {layer} has the units 0 to {level.units - 1}"
            raise ConfigError("units", unit, problem)
    return layer, level


def denoised(model: Model, layer: int, z: Array, u: Array, units: Sequence[int]) -> Array:
    """Evaluates ẑ = g(z̃, u) of N units: (Z,), (U,) -> (U, Z, N), or (1, Z, N) if g ignores u."""
    _, level = layer_of(model, layer, units)
    own = model.variables["params"]["decoder"].get(f"layer_{layer}", {})
    a_PxN = own["combinator"][:, np.asarray(units)] if "combinator" in own else ()
    u = u if level.combinator.uses_u else np.zeros(1)
    z_MxN, u_MxN = (
        jnp.asarray(np.repeat(values[:, None], len(units), axis=1), jnp.zeros(()).dtype)
        for values in (np.tile(z, len(u)), np.repeat(u, len(z)))
    )
    z_hat = level.combinator.apply(a_PxN, z_MxN, u_MxN if level.combinator.uses_u else None)
    return np.asarray(z_hat).reshape(len(u), len(z), len(units))


def most_curved(model: Model, layer: int, z: Array, u: Array, count: int) -> list[int]:
    """Returns the ``count`` units whose ẑ is furthest (RMS) from linear in z̃ and u."""
    values = denoised(model, layer, z, u, range(layer_of(model, layer)[1].units))
    size = values.shape[:2]
    terms = [np.ones(size), np.broadcast_to(z, size), np.broadcast_to(u[: size[0], None], size)]
    terms_Mx3, flat = np.stack(terms, -1).reshape(-1, 3), values.reshape(-1, values.shape[-1])
    rest = flat - terms_Mx3 @ (np.linalg.pinv(terms_Mx3) @ flat)
    distance = np.sqrt(np.square(rest).mean(axis=0)).round(4)
    return [int(unit) for unit in np.argsort(-distance, kind="stable")[:count]]


def reconstructions(
    run: Folder | Rows, data: Dataset | None = None, *, seed: int | None = None
) -> Figure:
    """Draws clean, corrupted and reconstructed inputs as images, or as lines if they are no images.

    One row of each class is shown, up to ten, from a minibatch spread over the rows that
    ``confusion`` takes; the noise is that of training, from a fixed seed. Arguments and errors are
    those of ``confusion``.
    """
    rows = rows_for("reconstructions", run, data, seed)
    size = min(len(rows.x), rows.model.train_config.batch_size)
    some = np.linspace(0, len(rows.x) - 1, size).astype(int)  # they may be sorted by class
    inputs, y = reconstructed(rows.model, rows.x[some]), rows.y[some]
    at = [int(np.flatnonzero(y == label)[0]) for label in np.unique(y)][:10]
    names = ["clean"]
    for name, own in zip(("corrupted", "reconstructed"), inputs[1:], strict=True):
        names.append(f"{name}\nMSE {np.square(own - inputs[0]).mean():#.3g}")
    shape = image_shape(rows.x, rows.model.config)
    if shape is None:
        figure = _feature_lines([own[at] for own in inputs], y[at], names)
    else:
        pictures = [own[at].reshape(len(at), *shape) for own in inputs]
        figure = _image_rows(pictures, names, rows.model.prepare.whitening is not None)
    figure.suptitle(f"Reconstruction of the input: {len(at)} of {rows.what}", fontsize=11)
    return figure


def _image_rows(pictures: Sequence[Array], names: Sequence[str], whitened: bool) -> Figure:
    """Draws rows of images on the scale of the clean ones, or on one scale each if whitened."""
    width = max(len(pictures[0]), 5)
    figure = plot_style.new_figure(0.8 + len(pictures) * 7 / width, "")
    ends = pictures[0].min(), pictures[0].max()
    for line, (own, name) in enumerate(zip(pictures, names, strict=True)):
        for place, image in enumerate(own):
            axes = plot_style.add_axes(figure, len(pictures) * width, width, line * width + place)
            plot_style.show_image(axes, image, *((image.min(), image.max()) if whitened else ends))
            if place == 0:
                axes.set_ylabel(name, fontsize=8.5)
    if whitened:
        figure.supxlabel("whitened; each image on a scale of its own", fontsize=8.5)
    return figure


def _feature_lines(inputs: Sequence[Array], y: Array, names: Sequence[str]) -> Figure:
    """Draws the features of each row against their index."""
    figure = plot_style.new_figure(1.0 + 1.6 * -(-len(y) // 2), "")
    styles = ({"color": "black"}, {"color": "#888888", "marker": "x", "linestyle": "none"})
    for place, label in enumerate(y):
        axes = plot_style.add_axes(figure, len(y), 2, place, sharex=True, sharey=True)
        for own, name, style in zip(inputs, names, (*styles, plot_style.style_of(1)), strict=True):
            line = style | {"markersize": 3.5, "label": name.replace("\n", ", ")}
            axes.plot(own[place].ravel(), **line)
        axes.set_title(f"class {label}", fontsize=9.5)
        plot_style.dress(axes, "number of the feature", "value")
        axes.locator_params("x", integer=True)
    plot_style.legend(figure)
    return figure


def reconstructed(model: Model, x: Array) -> tuple[Array, Array, Array]:
    """Returns x, z̃(0) and ẑ(0), (B, *input_shape), of raw rows that form one minibatch."""
    config, x = model.config, model.prepare(x).reshape(-1, *model.config.input_shape)
    with matmul_precision(model.train_config):
        clean = jnp.asarray(x, jnp.zeros(()).dtype) * model.scale
        noise = draw_noise(config, jax.random.key(0), 0, len(clean))
        corrupted = encode(config, model.variables, None, clean, noise).unlabelled
        assert corrupted is not None, "all rows are unlabelled"
        z_hat = decode(config, model.variables, corrupted)[0]
    return np.asarray(clean), np.asarray(corrupted.z[0]), np.asarray(z_hat)
