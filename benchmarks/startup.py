"""Cold start and memory of an MNIST run, and a first small fit, as one JSON object.

Trains two chunks of the full 100-label ladder in a fresh process and prints the seconds from
the start of the process to the first step (imports, data, compilation) and the peak resident
memory. The second chunk's time, with nothing left to compile, is taken off the first's.

Another fresh process fits a LadderClassifier to 1000 rows of 20 numbers, once for 20 steps and once
for 200, and prints the seconds of each and the programs that it compiled. This part needs
scikit-learn and is left out where that is missing.

Set JAX_COMPILATION_CACHE_DIR to measure a start with JAX's compilation cache; ``taskset -c 0``
before the command measures it on one core.

python benchmarks/startup.py --data_dir=FOLDER
"""

import contextlib
import importlib.util
import json
import resource
import subprocess
import sys
import time

from absl import app, flags, logging

_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder with mnist/ (or LADDER_DATA_DIR).")
_STARTED = flags.DEFINE_float("started", None, "Internal: when the process was started.")
_FIT = flags.DEFINE_boolean("fit", False, "Internal: measure the small fit in this process.")
_COMPILED = "/jax/core/compile/backend_compile_duration"


def measure(started: float) -> dict[str, object]:
    """Trains two chunks in this process."""
    import ladder_jax as lj
    from ladder_jax.storage import environment

    times = []

    def on_progress(progress: lj.Progress) -> None:
        times.append(time.time())

    preset = lj.presets.get("mnist-ladder-100")
    data = lj.data.load("mnist", data_dir=_DATA_DIR.value)
    with contextlib.suppress(lj.StoppedError):
        lj.train_and_evaluate(
            preset.config,
            preset.train_config,
            data,
            on_progress=on_progress,
            should_stop=lambda: len(times) == 2,
        )
    first, second = times
    return {
        "first_step_seconds": round(first - started - (second - first), 2),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "device": environment.device(),
        "versions": environment.versions(),
    }


def fit() -> dict[str, object]:
    """Fits a small network twice in this process."""
    started = time.perf_counter()
    import jax
    import numpy as np

    import ladder_jax as lj

    found: dict[str, object] = {"fit_import_seconds": round(time.perf_counter() - started, 2)}
    compiled: list[float] = []

    def listen(event: str, seconds: float, **_: object) -> None:
        if event == _COMPILED:
            compiled.append(seconds)

    jax.monitoring.register_event_duration_secs_listener(listen)
    x = np.random.default_rng(0).normal(size=(1000, 20))
    y = (x[:, 0] > 0).astype(int)
    y[100:] = -1
    for steps in (20, 200):
        compiled.clear()
        started = time.perf_counter()
        lj.LadderClassifier(steps=steps, layers=(64, 64), random_state=0).fit(x, y)
        name = f"fit_{steps}_steps"
        found[f"{name}_seconds"] = round(time.perf_counter() - started, 2)
        found[f"{name}_compile_seconds"] = round(sum(compiled), 2)
        found[f"{name}_programs"] = len(compiled)
    return found


def main(argv: list[str]) -> None:
    """Prints the JSON object, each part from a process of its own."""
    logging.set_verbosity(logging.WARNING)  # or JAX tells which backends there are not
    if argv[1:]:
        raise app.UsageError(f"unexpected word on the command line: {argv[1]}")
    if _FIT.value:
        print(json.dumps(fit()))
        return
    if _STARTED.value is not None:
        print(json.dumps(measure(_STARTED.value)))
        return
    small = _in_a_process("--fit") if importlib.util.find_spec("sklearn") else {}
    words = [f"--data_dir={_DATA_DIR.value}"] if _DATA_DIR.value else []
    report = _in_a_process(*words, f"--started={time.time()}")
    print(json.dumps(small | report))


def _in_a_process(*words: str) -> dict[str, object]:
    """The JSON object of this command with other flags; ends the process if that fails."""
    done = subprocess.run([sys.executable, __file__, *words], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.returncode)
    found: dict[str, object] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    app.run(main)
