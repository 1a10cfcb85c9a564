"""How a step's time grows with the network, the batch and the data, as one JSON object.

Milliseconds of a compiled step of the MNIST ladder with 100 labels, of the paper's 784-1000-500-
250-250-250-10 and 100 + 100 rows but for the one thing that varies:

- width: the hidden layers' units, times .25 to 2;
- depth: 2 to 8 hidden layers of 250 units instead;
- batch: 50 to 400 rows in each half of a batch;
- set: 10 000 to 240 000 unlabelled rows, in compiled calls as long as a run's. Elsewhere the set
  has one block's rows.

Medians over blocks; the values of one list take turns, so that a busy machine bears on all.
--plot draws the four lists into a PNG.

python benchmarks/growth.py [--model=ladder|…] [--blocks=9] [--steps=200] [--plot=FILE]
"""

import dataclasses
import importlib.util
import json
import statistics
from typing import Any, NamedTuple

import chunks
import jax
import step
from absl import app, flags, logging

import ladder_jax as lj
from ladder_jax.storage import environment

flags.declare_key_flag("model")
flags.declare_key_flag("blocks")
_STEPS = flags.DEFINE_integer("steps", 200, "Steps in a block, or somewhat fewer.", lower_bound=1)
_PLOT = flags.DEFINE_string("plot", None, "PNG file for the four lists as curves.")


class Case(NamedTuple):
    """One point of a curve.

    Attributes:
      value: of what varies.
      config: the network.
      train_config: with the sizes of a batch.
      rows: of the unlabelled set; None: those of one block.
    """

    value: float
    config: lj.LadderConfig
    train_config: lj.TrainConfig
    rows: int | None = None


def curves(config: lj.LadderConfig, train_config: lj.TrainConfig) -> dict[str, list[Case]]:
    """All cases, by the name of what varies."""
    batches = [
        dataclasses.replace(train_config, batch_size=rows, labelled_batch_size=rows)
        for rows in (50, 100, 200, 400)
    ]
    return {
        "width": [Case(w, widened(config, w), train_config) for w in (0.25, 0.5, 1, 2)],
        "depth": [Case(n, deepened(config, n), train_config) for n in range(2, 9)],
        "batch": [Case(batch.batch_size, config, batch) for batch in batches],
        "set": [Case(n, config, train_config, n) for n in (10_000, 60_000, 240_000)],
    }


def widened(config: lj.LadderConfig, factor: float) -> lj.LadderConfig:
    """The network with its hidden layers' units times ``factor``."""
    *hidden, top = config.layers
    units = [round(layer.units * factor) for layer in hidden]
    return dataclasses.replace(config, layers=(*map(lj.Dense, units), top))


def deepened(config: lj.LadderConfig, hidden: int, units: int = 250) -> lj.LadderConfig:
    """So many equal hidden layers. λ of the input, first and top layer stay where they are."""
    first, second, between, *_, last = config.denoising_weights
    return dataclasses.replace(
        config,
        layers=(*[lj.Dense(units)] * hidden, config.layers[-1]),
        denoising_weights=(first, second, *[between] * (hidden - 1), last),
    )


def measure(cases: list[Case], blocks: int, steps: int) -> list[dict[str, Any]]:
    """Times of the cases in turn."""
    timed = []
    for case in cases:
        labelled = case.train_config.labelled_batch_size
        rows = case.rows or steps * case.train_config.batch_size
        data = chunks.random_data(case.config.input_shape, rows, labelled)
        timed.append(chunks.chunk_of_run(case.config, case.train_config, data, steps))
        timed[-1].run()  # compile
    times = [[step.milliseconds(chunk.run) / chunk.steps for chunk in timed] for _ in range(blocks)]
    return [
        {
            "value": case.value,
            "step_ms": round(statistics.median(of_case), 3),
            "gflop": gflop(case),
            "parameters": sum(lj.parameter_counts(case.config)),
        }
        for case, of_case in zip(cases, zip(*times, strict=True), strict=True)
    ]


def gflop(case: Case) -> float:
    """Of the step's matrix products, as step.py's ``floor_gflop``."""
    products = step.products_of_step(case.config, case.train_config.batch_size)
    return round(sum(product.operations for product in products) / 1e9, 3)


PANELS = {
    "width": ("hidden units, × the paper's", (0.5, 1, 2)),
    "depth": ("hidden layers of 250 units", (2, 4, 6, 8)),
    "batch": ("rows in each half of a batch", (100, 200, 400)),
    "set": ("unlabelled rows", (60_000, 240_000)),
}
"""Label and ticks of each panel's x axis; ticks so close that they would overlap are left out."""


def draw(report: dict[str, Any]) -> Any:
    """The four curves as a matplotlib figure."""
    from matplotlib.figure import Figure  # optional: the extra `plots`

    figure = Figure(figsize=(9, 2.6), layout="constrained")
    for axes, (name, (label, ticks)) in zip(figure.subplots(1, 4), PANELS.items(), strict=True):
        values = [case["value"] for case in report[name]]
        axes.plot(values, [case["step_ms"] for case in report[name]], "o-", color="#0072B2")
        axes.set_xlim(0, 1.1 * max(values))
        axes.set_ylim(0, 1.1 * max(case["step_ms"] for case in report[name]))
        axes.set_xticks(ticks, [f"{tick:,}".replace(",", " ") for tick in ticks])
        axes.set_xlabel(label, fontsize=9)
        axes.tick_params(labelsize=8.5)
        axes.grid(color="#DDDDDD", linewidth=0.7)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("time of a step, ms", fontsize=9)
    return figure


def main(argv: list[str]) -> None:
    """Prints the JSON object."""
    logging.set_verbosity(logging.WARNING)  # or JAX tells which backends there are not
    if argv[1:]:
        raise app.UsageError(f"unexpected word on the command line: {argv[1]}")
    model = flags.FLAGS.model
    if model not in lj.presets.MODELS:
        raise app.UsageError(f"--model={model} is no MLP: {', '.join(lj.presets.MODELS)}")
    if _PLOT.value and not importlib.util.find_spec("matplotlib"):
        raise app.UsageError("--plot needs matplotlib: pip install matplotlib")
    preset = lj.presets.get(step.PRESETS[model])
    with jax.default_matmul_precision("float32"):
        found = {
            name: measure(cases, flags.FLAGS.blocks, _STEPS.value)
            for name, cases in curves(preset.config, preset.train_config).items()
        }
    report = {"model": model} | found
    report |= {"device": environment.device(), "versions": environment.versions()}
    print(json.dumps(report))
    if _PLOT.value:
        draw(report).savefig(_PLOT.value, format="png", dpi=150)


if __name__ == "__main__":
    app.run(main)
