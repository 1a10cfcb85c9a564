"""Cold start and memory of an MNIST run, as one JSON object.

Trains two chunks of the full 100-label ladder in a fresh process and prints the seconds from
the start of the process to the first step (imports, data, compilation) and the peak resident
memory. The second chunk's time, with nothing left to compile, is taken off the first's.
Set JAX_COMPILATION_CACHE_DIR to measure a start with JAX's compilation cache.

python benchmarks/startup.py --data_dir=FOLDER
"""

import contextlib
import json
import resource
import subprocess
import sys
import time

from absl import app, flags, logging

_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder with mnist/ (or LADDER_DATA_DIR).")
_STARTED = flags.DEFINE_float("started", None, "Internal: when the process was started.")


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


def main(argv: list[str]) -> None:
    """Prints the JSON object, from a process of its own."""
    logging.set_verbosity(logging.WARNING)  # or JAX tells which backends there are not
    if _STARTED.value is not None:
        print(json.dumps(measure(_STARTED.value)))
        return
    words = [sys.executable, *argv, f"--started={time.time()}"]
    if _DATA_DIR.value:
        words.append(f"--data_dir={_DATA_DIR.value}")
    sys.exit(subprocess.run(words).returncode)


if __name__ == "__main__":
    app.run(main)
