"""Checks and times everything on an accelerator in one call, as one JSON object.

Needs nothing but the training stack and, for the real runs, --data_dir with MNIST. Parts: whether
runs repeat bit for bit, with and without what is asked of XLA for that (repeats.py), the costs of
the ladder on this device against the CPU's, real runs of one seed and of ten over a few epochs with
their extrapolation to the 150 of the table, time of a step at each precision of the products, of a
step of each model, and of several seeds at once.

It ends within --limit seconds. Parts that would begin after --budget seconds, or with too little
left, are named under "left_out"; what a failed part said is under "errors", and the status is then
1. So is a part that the limit cut off.

python benchmarks/accelerator.py --data_dir=FOLDER [--budget=500] [--limit=580]
"""

import dataclasses
import json
import os
import threading
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
from ladder_jax.config import MATMUL_PRECISIONS
from ladder_jax.storage import environment
from ladder_jax.train.parallel import Parallel

_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder with mnist/ (or LADDER_DATA_DIR).")
_BUDGET = flags.DEFINE_float("budget", 500, "Seconds after which no further part is begun.")
_LIMIT = flags.DEFINE_float("limit", 580, "Seconds after which the report is printed as it is.")
_MODELS = flags.DEFINE_list("models", list(step.PRESETS), "Models whose step is timed.")
_EPOCHS = flags.DEFINE_integer("epochs", 3, "Epochs of the real runs.", lower_bound=3)
_LADDER = "mnist-ladder-100"
_FEWEST_SECONDS = 20  # before the limit; no part is worth beginning with less
_CHILD_SHARE = 0.1  # of the limit for one process of repeats.py, which leaves time for the others


class Report:
    """The results so far; printed once, at the end or, from another thread, at the limit."""

    def __init__(self, limit: float) -> None:
        self.started = time.perf_counter()
        self.limit = limit
        self.results: dict[str, Any] = {"versions": environment.versions()}
        self.errors: dict[str, str] = {}
        self.left_out: list[str] = []
        self.running: str | None = None
        self._ending = threading.Lock()  # taken once and never given back

    def left(self) -> float:
        """Seconds to the limit."""
        return self.limit - (time.perf_counter() - self.started)

    def run(self, parts: dict[str, Callable[[], Any]], budget: float) -> None:
        """Runs those for which there is time."""
        names = self.left_out = list(parts)  # each until it begins
        while names and self.limit - self.left() <= budget and self.left() >= _FEWEST_SECONDS:
            self.running = names.pop(0)
            try:
                found = parts[self.running]()
            except Exception as error:  # the other parts are still worth having
                self.errors[self.running] = f"{type(error).__name__}: {error}"
            else:
                self._keep(self.running, found)
            self.running = None

    def _keep(self, name: str, found: Any) -> None:
        if isinstance(found, dict) and "error" in found:
            self.errors[name] = found["error"]
        else:
            self.results[name] = found

    def end(self) -> None:
        """Prints the JSON object and leaves the process, whatever its other threads do."""
        self._ending.acquire()
        errors = dict(self.errors)
        if self.running:
            errors[self.running] = f"not finished after {self.limit:.0f} s in all"
        ends = {"left_out": list(self.left_out), "errors": errors}
        ends = {name: value for name, value in ends.items() if value}
        seconds = round(time.perf_counter() - self.started, 1)
        print(json.dumps(dict(self.results) | ends | {"seconds": seconds}), flush=True)
        os._exit(1 if errors else 0)  # sys.exit would wait for the part that lasts


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
    """Milliseconds of a step of the model: 200 as one program over 20 000 rows, compiled before."""
    preset = lj.presets.get(step.PRESETS[model])
    layout = Parallel(devices=1).layout()
    chunk = layouts.chunk_on(layout, preset.config, preset.train_config, 200)
    chunk.run()
    return round(min(step.milliseconds(chunk.run) / chunk.steps for _ in range(3)), 4)


def step_times_by_precision() -> dict[str, float]:
    """Milliseconds of a step of the ladder with each --matmul_precision."""
    found = {}
    for precision in MATMUL_PRECISIONS:
        with jax.default_matmul_precision(precision):
            found[precision] = step_time("ladder")
    return found


def real_run(num_seeds: int) -> dict[str, Any]:
    """A few epochs of the ladder on MNIST, and how long all would take."""
    preset = lj.presets.get(_LADDER)
    data = lj.data.load("mnist", data_dir=_DATA_DIR.value)
    settings = dataclasses.replace(preset.train_config, epochs=_EPOCHS.value)
    started = time.perf_counter()
    result = lj.train_and_evaluate(preset.config, settings, data, num_seeds=num_seeds)
    seconds = time.perf_counter() - started
    # Of all seeds. The first epoch compiles, and the last has a forward pass more in each step.
    epoch = sum(line["seconds"] for line in result.metrics if line["epoch"] == 2)
    return {
        "epochs": settings.epochs,
        "test_error_percent": result.test_error_percent,
        "seconds": round(seconds, 1),
        "seconds_per_epoch": round(epoch, 3),
        "minutes_of_a_table_run": round(epoch * preset.train_config.epochs / 60, 2),
    }


def repeated(variant: str, left: Callable[[], float]) -> dict[str, Any]:
    """Whether the ladder repeats, by two processes that end before the limit does."""
    seconds = min(_CHILD_SHARE * _LIMIT.value, (left() - 5) / 2)
    return repeats.measure(variant, "ladder", 600, 5, seconds)


def repeated_beside(variant: str, left: Callable[[], float]) -> dict[str, Any]:
    """The same when this process uses the device already, where that can be shared."""
    if jax.default_backend() != "gpu":
        return {"note": f"these flags do nothing on a {jax.default_backend().upper()}"}
    return repeated(variant, left)


def parts(left: Callable[[], float]) -> dict[str, Callable[[], Any]]:
    """Name of each part -> what it reports, the most important first.

    Before them what runs in other processes: once JAX has opened the device in this one they may
    not get it. Of these only what the documents ask: four processes, each for at most a
    tenth of the limit.
    """
    ladder = lj.presets.get(_LADDER)
    early = ("default", "deterministic")
    found: dict[str, Callable[[], Any]] = {}
    for name in early:
        found[f"repeats_{name}"] = lambda name=name: repeated(name, left)
    found["device"] = environment.device
    found["agreement"] = agreement
    found["run_of_1_seed"] = lambda: real_run(1)
    found["run_of_10_seeds"] = lambda: real_run(10)
    found["step_ms_by_precision"] = step_times_by_precision
    found["seeds"] = lambda: seeds.measure(ladder, [1, 2, 5, 10, 20], 3, 100)
    for model in _MODELS.value:
        found[f"step_ms_{model}"] = lambda model=model: step_time(model)
    for name in repeats.VARIANTS:
        if name not in early:
            found[f"repeats_{name}"] = lambda name=name: repeated_beside(name, left)
    return found


def main(argv: list[str]) -> None:
    """Prints the JSON object."""
    logging.set_verbosity(logging.WARNING)  # or JAX tells which backends there are not
    if argv[1:]:
        raise app.UsageError(f"unexpected word on the command line: {argv[1]}")
    report = Report(_LIMIT.value)
    guard = threading.Timer(_LIMIT.value, report.end)
    guard.daemon = True
    guard.start()
    with jax.default_matmul_precision("float32"):
        report.run(parts(report.left), _BUDGET.value)
    report.end()


if __name__ == "__main__":
    app.run(main)
