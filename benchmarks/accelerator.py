"""Checks and times everything on an accelerator in one call, as one JSON object.

Needs nothing but the training stack and, for the real run, --data_dir with MNIST. Parts: the costs
of the ladder on this device against the CPU's, time of a step of each model, of several seeds at
once, real runs of one seed and of ten over a few epochs with their extrapolation to the 150 of the
table, and whether runs repeat bit for bit, with and without what is asked of XLA for that
(repeats.py). Parts that would begin after --budget seconds are left out and named.

python benchmarks/accelerator.py --data_dir=FOLDER [--budget=500]
"""

import dataclasses
import json
import time
from collections.abc import Callable
from typing import Any

import jax
import layouts
import numpy as np
import repeats
import seeds
import step
from absl import app, flags, logging

import ladder_jax as lj
from ladder_jax import environment
from ladder_jax.parallel import Parallel

_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder with mnist/ (or LADDER_DATA_DIR).")
_BUDGET = flags.DEFINE_float("budget", 500, "Seconds after which no further part is begun.")
_MODELS = flags.DEFINE_list("models", list(step.PRESETS), "Models whose step is timed.")
_EPOCHS = flags.DEFINE_integer("epochs", 3, "Epochs of the real runs.", lower_bound=2)
_LADDER = "mnist-ladder-100"


def agreement() -> dict[str, float]:
    """Largest relative difference of costs and of a gradient between this device and the CPU."""
    config = lj.presets.get(_LADDER).config
    variables = lj.init(config, jax.random.key(0))
    noise = lj.draw_noise(config, jax.random.key(1), 100, 100)
    rng = np.random.default_rng(0)
    x_l, x_u = (rng.random((100, 784), np.float32) for _ in range(2))
    y_l = np.arange(100) % 10

    def total(params: Any) -> Any:
        found = lj.costs(config, variables | {"params": params}, x_l, y_l, x_u, noise)
        return found.total, found

    found = []
    for device in (jax.devices()[0], jax.devices("cpu")[0]):
        params = jax.device_put(variables["params"], device)
        with jax.default_device(device):
            (_, costs), gradient = jax.jit(jax.value_and_grad(total, has_aux=True))(params)
        kernel = np.asarray(gradient["encoder"]["layer_1"]["kernel"])
        found.append((np.array(jax.tree.leaves(costs)), kernel))
    (costs, kernel), (want_costs, want_kernel) = found
    return {
        "costs": float(np.max(np.abs(costs / want_costs - 1))),
        "gradient": float(np.abs(kernel - want_kernel).max() / np.abs(want_kernel).max()),
    }


def step_time(model: str) -> float:
    """Milliseconds of a step of the model: an epoch as one program, after compiling."""
    preset = lj.presets.get(step.PRESETS[model])
    layout = Parallel(devices=1).layout()
    chunk = layouts.chunk_on(layout, preset.config, preset.train_config, 200)
    chunk.run()
    return round(min(step.milliseconds(chunk.run) / chunk.steps for _ in range(3)), 4)


def real_run(num_seeds: int) -> dict[str, Any]:
    """A few epochs of the ladder on MNIST, and how long all would take."""
    preset = lj.presets.get(_LADDER)
    data = lj.data.load("mnist", data_dir=_DATA_DIR.value)
    settings = dataclasses.replace(preset.train_config, epochs=_EPOCHS.value)
    started = time.perf_counter()
    result = lj.train_and_evaluate(preset.config, settings, data, num_seeds=num_seeds)
    seconds = time.perf_counter() - started
    last = [line["seconds"] for line in result.metrics if line["epoch"] == settings.epochs]
    epoch = sum(last)  # of all seeds; the first epoch compiles
    return {
        "epochs": settings.epochs,
        "test_error_percent": result.test_error_percent,
        "seconds": round(seconds, 1),
        "seconds_per_epoch": round(epoch, 3),
        "minutes_of_a_table_run": round(epoch * preset.train_config.epochs / 60, 2),
    }


def parts() -> dict[str, Callable[[], Any]]:
    """Name of each part -> what it reports, the most important first."""
    ladder = lj.presets.get(_LADDER)
    found: dict[str, Callable[[], Any]] = {"agreement": agreement}
    found["run_of_1_seed"] = lambda: real_run(1)
    found["run_of_10_seeds"] = lambda: real_run(10)
    found["seeds"] = lambda: seeds.measure(ladder, [1, 2, 5, 10, 20], 3, 100)
    for model in _MODELS.value:
        found[f"step_ms_{model}"] = lambda model=model: step_time(model)
    for name in repeats.VARIANTS:
        found[f"repeats_{name}"] = lambda name=name: repeats.measure(name, "ladder", 600, 5)
    return found


def main(argv: list[str]) -> None:
    """Prints the JSON object."""
    logging.set_verbosity(logging.WARNING)  # or JAX tells which backends there are not
    if argv[1:]:
        raise app.UsageError(f"unexpected word on the command line: {argv[1]}")
    started = time.perf_counter()
    report: dict[str, Any] = {}
    with jax.default_matmul_precision("float32"):
        for name, part in parts().items():
            if time.perf_counter() - started > _BUDGET.value:
                report.setdefault("left_out", []).append(name)
                continue
            try:
                report[name] = part()
            except Exception as error:  # the other parts are still worth having
                report[name] = f"{type(error).__name__}: {error}"
    report |= {"seconds": round(time.perf_counter() - started, 1)}
    print(json.dumps(report | {"device": environment.device(), "versions": environment.versions()}))


if __name__ == "__main__":
    app.run(main)
