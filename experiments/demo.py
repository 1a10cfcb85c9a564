"""The idea in about a minute: a ladder against its supervised baseline, same few labels.

Both are trained on scikit-learn's 1797 real 8x8 digits; nothing is downloaded or written.
"""

if __name__ == "__main__":
    from cli import signals as interrupts  # noqa: F401 - before all that takes time

import os
import sys
import time

from absl import flags
from cli import console

import ladder_jax as lj

MODELS = {"baseline": "supervised baseline", "ladder": "full ladder"}


def main() -> None:
    """Trains both and prints their test errors side by side."""
    console.parse(flags.FlagValues(), __doc__)
    data = lj.data.load("digits")
    errors = {}
    for model, words in MODELS.items():
        preset = lj.presets.for_labels("digits", model, 50)
        settings = preset.train_config
        print(
            f"training the {words}: {settings.epochs} epochs, {settings.labels} labels", flush=True
        )
        started = time.perf_counter()
        result = lj.train_and_evaluate(preset.config, settings, data)
        print(f"  {time.perf_counter() - started:.0f} s", flush=True)
        errors[words] = result.test_error_percent
    print(f"\ntest error on 500 digits, {settings.labels} labels, seed {settings.seed}")
    for words, error in errors.items():
        print(f"  {words:22}{error:6.2f} %")
    python = os.path.relpath(sys.executable)
    print(f"\nnext: {python} experiments/digits.py, or MNIST: {python} experiments/mnist.py")


if __name__ == "__main__":
    try:
        main()
    except lj.LadderError as error:
        console.fail(str(error))
