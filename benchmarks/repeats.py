"""Whether the same training gives the same bits again, and what that costs, as one JSON object.

Trains the same steps from the same start in several processes, two for each of some flags of XLA,
and compares the parameters bit for bit. On a GPU XLA times kernels while it compiles and may choose
others in the next process, and some kernels add up in an order that varies:

- default: nothing asked of XLA;
- no_autotuning: kernels are chosen without timing them;
- deterministic: only kernels that repeat;
- no_command_buffers: each kernel is launched by itself, which shows what command buffers save.

On a CPU these flags do nothing, so there the times of the variants differ by the machine's noise
alone. Times are each process's own median: two that are apart say how far to trust them. Which
variant runs is told on standard error.

python benchmarks/repeats.py [--model=ladder|…] [--chunk=600] [--blocks=9]
"""

import hashlib
import json
import os
import statistics
import subprocess
import sys
from typing import Any

import jax
import layouts
import numpy as np
import step
from absl import app, flags, logging

import ladder_jax as lj
from ladder_jax.storage import environment
from ladder_jax.train.parallel import Parallel

flags.declare_key_flag("model")
flags.declare_key_flag("blocks")
_CHUNK = flags.DEFINE_integer("chunk", 600, "Steps in a compiled call.", lower_bound=1)
_HERE = flags.DEFINE_boolean("here", False, "Internal: train in this process.")

VARIANTS = {
    "default": "",
    "no_autotuning": "--xla_gpu_autotune_level=0",
    "deterministic": "--xla_gpu_deterministic_ops=true",
    "no_command_buffers": "--xla_gpu_enable_command_buffer=",
}


def train(model: str, steps: int, blocks: int) -> dict[str, Any]:
    """Time of a step, a digest of the parameters after ``blocks`` + 1 chunks, and the platform."""
    preset = lj.presets.get(step.PRESETS[model])
    layout = Parallel(devices=1).layout()
    chunk = layouts.chunk_on(layout, preset.config, preset.train_config, steps)
    chunk.run()  # compile
    times = [step.milliseconds(chunk.run) / chunk.steps for _ in range(blocks)]
    return {
        "step_ms": round(statistics.median(times), 4),
        "digest": digest(chunk.parameters()),
        "platform": jax.default_backend(),
    }


def digest(parameters: Any) -> str:
    """Differs where a bit of any parameter does."""
    found = hashlib.sha256()
    for leaf in jax.tree.leaves(parameters):
        found.update(np.ascontiguousarray(leaf).tobytes())
    return found.hexdigest()


def in_a_process(xla_flags: str, words: list[str], timeout: float | None = None) -> dict[str, Any]:
    """What ``train`` returns in a process of its own with these flags of XLA, or the error.

    One that takes more than ``timeout`` seconds is killed, which is an error too.
    """
    own = os.environ | {
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {xla_flags}".strip(),
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # beside others on the device
    }
    command = [sys.executable, __file__, "--here", *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=own, timeout=timeout)
    except subprocess.TimeoutExpired:
        return {"error": f"not finished after {timeout:.0f} s"}
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]}
    return json.loads(done.stdout)


def measure(
    variant: str, model: str, steps: int, blocks: int, timeout: float | None = None
) -> dict[str, Any]:
    """Times of a step in two processes, whether their bits agree, and the first's digest.

    Each process has ``timeout`` seconds; an error in one of them is all that is returned.
    """
    words = [f"--model={model}", f"--chunk={steps}", f"--blocks={blocks}"]
    found: list[dict[str, Any]] = []
    for _ in range(2):
        own = in_a_process(VARIANTS[variant], words, timeout)
        if "error" in own:
            return own
        found.append(own)
    first, second = found
    note = {"note": "these flags do nothing on a CPU"} if first["platform"] == "cpu" else {}
    return {
        "step_ms": [first["step_ms"], second["step_ms"]],
        "same_bits": first["digest"] == second["digest"],
        "digest": first["digest"][:16],
    } | note


def main(argv: list[str]) -> None:
    """Prints the JSON object."""
    logging.set_verbosity(logging.WARNING)  # or JAX tells which backends there are not
    if argv[1:]:
        raise app.UsageError(f"unexpected word on the command line: {argv[1]}")
    arguments = flags.FLAGS.model, _CHUNK.value, flags.FLAGS.blocks
    if _HERE.value:
        with jax.default_matmul_precision("float32"):
            print(json.dumps(train(*arguments)))
        return
    found = {}
    for variant in VARIANTS:
        print(f"repeats.py: {variant}, two processes", file=sys.stderr, flush=True)
        found[variant] = measure(variant, *arguments)
    report = {"model": arguments[0], "variants": found, "device": environment.device()}
    print(json.dumps(report | {"versions": environment.versions()}))


if __name__ == "__main__":
    app.run(main)
