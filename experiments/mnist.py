"""Trains a ladder network on MNIST (Tables 1 and 2 of the paper).

python experiments/mnist.py --labels=100
python experiments/mnist.py --labels=1000 --model=gamma --seed=3
python experiments/mnist.py --labels=100 --model=conv_small_gamma

Flags without a default take the value of the paper's row.
"""

if __name__ == "__main__":
    from cli import signals as interrupts  # noqa: F401 - before all that takes time

from cli import console
from cli import flags as common_flags

if __name__ == "__main__":
    console.main("mnist", common_flags.define("mnist", labels="100"), __doc__)
