"""Trains a ladder network on permutation-invariant MNIST (Table 1 of the paper).

python experiments/mnist.py --labels=100
python experiments/mnist.py --labels=1000 --model=gamma --seed=3
"""

import common_flags
import console

if __name__ == "__main__":
    console.main("mnist", common_flags.define(labels="100"), __doc__)
