"""Trains Conv-Large on CIFAR-10 (Table 3 of the paper).

python experiments/cifar10.py --labels=4000
python experiments/cifar10.py --labels=4000 --model=baseline

Flags without a default take the value of the paper's row.
"""

if __name__ == "__main__":
    from cli import signals as interrupts  # noqa: F401 - before all that takes time

from cli import console
from cli import flags as common_flags

if __name__ == "__main__":
    console.main("cifar10", common_flags.define("cifar10", labels="4000"), __doc__)
