"""Whether the same training gives the same bits again, and what that costs, as one JSON object.

Trains the same steps from the same start in several processes, two for each of some flags of XLA,
and compares the parameters bit for bit. On a GPU XLA times kernels while it compiles and may choose
others in the next process, and some kernels add up in an order that varies:

- default: nothing asked of XLA;
- no_autotuning: kernels are chosen without timing them;
- deterministic: only kernels that repeat;
- no_command_buffers: each kernel is launched by itself, which shows what command buffers save.

On a CPU these flags do nothing.

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
from ladder_jax import environment
from ladder_jax.parallel import Parallel

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
    """Time of a step and a digest of the parameters after ``blocks`` + 1 chunks."""
    preset = lj.presets.get(step.PRESETS[model])
    layout = Parallel(devices=1).layout()
    chunk = layouts.chunk_on(layout, preset.config, preset.train_config, steps)
    chunk.run()  # compile
    times = [step.milliseconds(chunk.run) / chunk.steps for _ in range(blocks)]
    return {"step_ms": round(statistics.median(times), 4), "digest": digest(chunk.parameters())}


def digest(parameters: Any) -> str:
    """Differs where a bit of any parameter does."""
    found = hashlib.sha256()
    for leaf in jax.tree.leaves(parameters):
        found.update(np.ascontiguousarray(leaf).tobytes())
    return found.hexdigest()


def in_a_process(xla_flags: str, words: list[str]) -> dict[str, Any]:
    """What ``train`` returns in a process of its own with these flags of XLA, or the error."""
    own = os.environ | {
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {xla_flags}".strip(),
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # beside others on the device
    }
    command = [sys.executable, __file__, "--here", *words]
    done = subprocess.run(command, capture_output=True, text=True, env=own)
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]}
    return json.loads(done.stdout)


def measure(variant: str, model: str, steps: int, blocks: int) -> dict[str, Any]:
    """The faster of two processes, whether their bits agree, and the first's digest."""
    words = [f"--model={model}", f"--chunk={steps}", f"--blocks={blocks}"]
    first, second = (in_a_process(VARIANTS[variant], words) for _ in range(2))
    for own in (first, second):
        if "error" in own:
            return own
    return {
        "step_ms": min(first["step_ms"], second["step_ms"]),
        "same_bits": first["digest"] == second["digest"],
        "digest": first["digest"][:16],
    }


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
    found = {variant: measure(variant, *arguments) for variant in VARIANTS}
    report = {"model": arguments[0], "variants": found, "device": environment.device()}
    print(json.dumps(report | {"versions": environment.versions()}))


if __name__ == "__main__":
    app.run(main)
