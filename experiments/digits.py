"""Trains a ladder network on scikit-learn's 1797 real 8x8 digits: no download, seconds.

python experiments/digits.py --labels=50
python experiments/digits.py --labels=50 --model=baseline

Flags without a default take the value of the preset.
"""

if __name__ == "__main__":
    from cli import signals as interrupts  # noqa: F401 - before all that takes time

from cli import console
from cli import flags as common_flags

if __name__ == "__main__":
    console.main("digits", common_flags.define("digits", labels="50"), __doc__)
