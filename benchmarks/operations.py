"""Where the time of a compiled chunk goes, by kind of operation. Not a command.

JAX's profiler records how long each operation of the compiled program ran, and the program's text
says what the operation does. Operations that run at once on several cores each count in full, so
the sum can be more than the time of a step.
"""

import collections
import glob
import re
import tempfile
from typing import Any

import jax

# The first pattern that an operation's text or its fused computation contains decides. Adam has
# its name from a scope in ladder_jax/train/step.py; threefry alone shifts bits.
_KINDS = (
    ("products", r"\b(dot|convolution)\("),
    ("random numbers", r"\bshift-left\("),
    ("Adam", r'op_name="[^"]*/adam/'),
    ("sums", r"\b(reduce|reduce-window)\("),
    ("sorting", r"\bsort\("),
    (
        "element by element",
        r"\b(add|subtract|multiply|divide|negate|maximum|minimum|exponential|log|log-plus-one"
        r"|sqrt|rsqrt|tanh|logistic|power|compare|select|convert|and|or|xor)\(",
    ),
)
_CONTAINERS = r"\b(while|conditional|call)\("  # their operations are counted by themselves


def kinds(text: str) -> dict[str, str]:
    """The kind of each operation of a program, from its text (``compiled.as_text()``)."""
    computations: dict[str, list[str]] = {}
    own: list[str] = []
    for line in text.splitlines():
        begins = re.match(r"(?:ENTRY )?%?([\w.\-]+) .*\{$", line)
        if begins:
            own = computations.setdefault(begins[1], [])
        elif " = " in line:
            own.append(line)
    found = {}
    for line in (line for lines in computations.values() for line in lines):
        name = re.match(r"\s+(?:ROOT )?%?([\w.\-]+) = ", line)
        if name and not re.search(_CONTAINERS, line):
            called = re.search(r"(?:calls|to_apply)=%?([\w.\-]+)", line)
            whole = "\n".join([line, *computations.get(called[1], [])]) if called else line
            matches = (kind for kind, pattern in _KINDS if re.search(pattern, whole))
            found[name[1]] = next(matches, "copies")
    return found


def profile(compiled: Any, *given: Any, donated: int, steps: int) -> list[dict[str, Any]]:
    """Milliseconds and operations of a step of each kind, the longest first.

    Args:
      compiled: the program of ``steps`` steps.
      *given: its arguments.
      donated: place of the state among them, which the program's first result replaces.
      steps: number of steps in a call.
    """
    arguments = list(given)

    def run() -> None:
        arguments[donated], costs = compiled(*arguments)
        jax.block_until_ready((arguments[donated], costs))

    run()
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            run()
        (path,) = glob.glob(f"{folder}/**/*.xplane.pb", recursive=True)
        planes = list(jax.profiler.ProfileData.from_file(path).planes)
    kind_of = kinds(compiled.as_text())
    nanoseconds: collections.Counter[str] = collections.Counter()
    operations: collections.Counter[str] = collections.Counter()
    for event in (event for plane in planes for line in plane.lines for event in line.events):
        kind = kind_of.get(str(dict(event.stats).get("hlo_op")))
        if kind and not event.name.startswith("end: "):
            nanoseconds[kind] += event.duration_ns
            operations[kind] += 1
    return [
        {
            "kind": kind,
            "ms": round(total / 1e6 / steps, 3),
            "operations": round(operations[kind] / steps),
        }
        for kind, total in nanoseconds.most_common()
    ]
