"""A training step of the MNIST ladder against PyTorch's, as one JSON object.

Milliseconds of a step of the full ladder with 100 labels (100 labelled and 100 unlabelled rows,
Adam) on this machine's CPU, all cores: our own PyTorch version (torch_ladder.py) as it is
(eager) and through torch.compile in its default mode, and ladder_jax's compiled chunk. Each
draws noise and batches itself from 60 000 random uint8 images. Timed in alternating blocks of
200 steps; a speed-up is PyTorch's time divided by ours. The step's matrix products alone are timed
too, in JAX and in PyTorch: "speedup_possible" is what eager PyTorch's time would be divided by if a
step took no longer than the faster of them.

Before that, both compute cost and gradients from the same parameters, rows and noise; where
they differ by more than rounding, nothing is timed and the exit status is 1. PyTorch is
optional (``pip install torch``; torch.compile needs a C++ compiler): without it the object
holds the reason under "skipped".

Leave the machine idle otherwise: PyTorch's threads wait for one another after every operation,
so other work slows them far more than ladder_jax. The object holds the load average at the
start, which should be near 0.

python benchmarks/peer_torch.py [--blocks=9] [--steps=200]
"""

import itertools
import json
import os
import statistics
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import chunks
import jax
import step
from absl import app, flags, logging
from agreement import Problem, largest_difference, make_problem

import ladder_jax as lj
from ladder_jax.storage import environment

flags.declare_key_flag("blocks")  # step.py's, as is --model, which has no choice here
_STEPS = flags.DEFINE_integer("steps", 200, "Steps in a block, or somewhat fewer.", lower_bound=1)

_ROWS, _SET = 100, 60_000
_TOLERANCE = 2e-5  # what the tests demand of float32


def torch_contender(
    problem: Problem, preset: lj.presets.Preset, steps: int, compiled: bool
) -> tuple[Callable[[], Any], float]:
    """A call of so many training steps in PyTorch, and its largest difference to ladder_jax.

    Raises:
      SystemExit: it computes something else than ladder_jax.
    """
    import torch  # optional
    import torch_ladder

    config, rate = preset.config, preset.train_config.learning_rate
    ladder = torch_ladder.Ladder(problem.params, config.denoising_weights, config.noise_levels)
    cost = torch.compile(ladder.cost) if compiled else ladder.cost
    found = torch_ladder.cost_and_gradients(ladder, cost, *problem.arguments)
    difference, name = largest_difference(problem.expected, found)
    if difference > _TOLERANCE:
        sys.exit(
            f"no times: PyTorch ({'compiled' if compiled else 'eager'}) and ladder_jax differ by "
            f"{difference:.1e} in {name}; {_TOLERANCE} is allowed"
        )
    images = torch.randint(0, 256, (_SET, *config.input_shape), dtype=torch.uint8)
    classes, labelled = torch.arange(_SET) % 10, torch.arange(_ROWS)
    training = torch_ladder.training(ladder, cost, images, classes, labelled, _ROWS, rate)
    return lambda: list(itertools.islice(training, steps)), difference


def torch_products(products: list[step.Product]) -> Callable[[], Any]:
    """These products of dense layers and their gradients in PyTorch, each once."""
    import torch  # optional

    calls = []
    for product in products:
        outputs = (product.inputs[0], product.kernel[1])
        x, w, g = (torch.randn(size) for size in (product.inputs, product.kernel, outputs))
        y, w_gradient, x_gradient = (torch.empty_like(like) for like in (g, w, x))
        calls += [(x, w, y), (x.T, g, w_gradient)]
        calls += [(g, w.T, x_gradient)] * product.input_gradient
    return lambda: [torch.mm(a, b, out=out) for a, b, out in calls]


class Contenders(NamedTuple):
    """What is timed.

    Attributes:
      calls: by name; each trains ``steps`` steps, or makes the products of so many.
      steps: in a call.
      differences: largest relative difference of cost or gradients to ladder_jax, by name.
      compile_error: why torch.compile does not work here, None if it does.
    """

    calls: dict[str, Callable[[], Any]]
    steps: int
    differences: dict[str, float]
    compile_error: str | None


def make_contenders(preset: lj.presets.Preset) -> Contenders:
    """Checks and compiles them all."""
    data = chunks.random_data(preset.config.input_shape, _SET, _ROWS)
    ours = chunks.chunk_of_run(preset.config, preset.train_config, data, _STEPS.value)
    problem = make_problem(preset.config, _ROWS)
    found = {"torch_eager": torch_contender(problem, preset, ours.steps, compiled=False)}
    compile_error = None
    try:
        found["torch_compiled"] = torch_contender(problem, preset, ours.steps, compiled=True)
    except Exception as error:  # whatever a compiler, or its absence, may raise
        compile_error = f"{type(error).__name__}: {error}".splitlines()[0]
    calls = {name: call for name, (call, _) in found.items()} | {"ladder_jax": ours.run}
    products = step.products_of_step(preset.config, _ROWS)
    for name, multiply in (("jax", step.floor(products)), ("torch", torch_products(products))):
        calls[f"{name}_products"] = lambda multiply=multiply: [
            multiply() for _ in range(ours.steps)
        ]
    for call in calls.values():
        call()  # compile
    differences = {name: difference for name, (_, difference) in found.items()}
    return Contenders(calls, ours.steps, differences, compile_error)


def main(argv: list[str]) -> None:
    """Prints the JSON object."""
    logging.set_verbosity(logging.WARNING)  # or JAX tells which backends there are not
    if argv[1:]:
        raise app.UsageError(f"unexpected word on the command line: {argv[1]}")
    if flags.FLAGS.model != "ladder":
        raise app.UsageError("only the ladder is compared; leave --model out")
    try:
        import torch  # optional
    except ImportError as error:
        print(json.dumps({"skipped": f"PyTorch is not there ({error}): pip install torch"}))
        return
    if jax.default_backend() != "cpu":
        raise app.UsageError("this compares CPUs: set JAX_PLATFORMS=cpu")
    torch.set_num_threads(os.cpu_count() or 1)
    torch.manual_seed(0)
    load = os.getloadavg()[0]  # before this process adds to it
    with jax.default_matmul_precision("float32"):
        timed = make_contenders(lj.presets.get("mnist-ladder-100"))
        blocks = [
            {name: step.milliseconds(call) / timed.steps for name, call in timed.calls.items()}
            for _ in range(flags.FLAGS.blocks)
        ]
    found = report(blocks) | {
        "load_average": load,
        "compile_error": timed.compile_error,
        "differences": timed.differences,
        "device": environment.device(),
        "versions": environment.versions() | {"torch": torch.__version__},
    }
    print(json.dumps(found))


def report(blocks: list[dict[str, float]]) -> dict[str, Any]:
    """Medians and their ratios, from the milliseconds of a step in each block by name."""
    names = ("torch_eager", "torch_compiled", "ladder_jax", "jax_products", "torch_products")
    medians = {
        name: statistics.median(block[name] for block in blocks) if name in blocks[0] else None
        for name in names
    }
    ours = medians["ladder_jax"]
    found = {f"{name}_ms": value for name, value in medians.items()}
    for kind in ("eager", "compiled"):
        theirs = medians[f"torch_{kind}"]
        found[f"speedup_{kind}"] = None if theirs is None else theirs / ours
    floor = min(medians["jax_products"], medians["torch_products"])
    found["speedup_possible"] = medians["torch_eager"] / floor
    rounded = {name: value if value is None else round(value, 3) for name, value in found.items()}
    return rounded | {"blocks": [[round(value, 3) for value in block.values()] for block in blocks]}


if __name__ == "__main__":
    app.run(main)
