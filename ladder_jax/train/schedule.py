"""Cuts a run into epochs, steps and compiled chunks, and computes the learning rate."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct

from ladder_jax.config import LadderConfig, TrainConfig


class Plan(struct.PyTreeNode):
    """The settings of a run that the compiled step needs.

    As a pytree its leaves are the numbers that a compiled program can take as arguments; the other
    fields are static. It holds no seed.

    Attributes:
      epochs: see ``TrainConfig``, also for ``decay_start`` and ``learning_rate``.
      steps_per_epoch: ⌊N / rows_u⌋, or fewer if the settings say so. Each epoch draws a new order,
        so the rows left over differ from epoch to epoch.
      rows_l: labelled rows in a step.
      rows_u: unlabelled rows in a step.
      same_rows: whether both halves of a batch are the same rows (all labels, the authors' code).
      chunk_steps: steps in one compiled call; divides steps_per_epoch.
    """

    epochs: int
    decay_start: float
    learning_rate: float
    steps_per_epoch: int
    chunk_steps: int
    rows_l: int = struct.field(pytree_node=False)
    rows_u: int = struct.field(pytree_node=False)
    same_rows: bool = struct.field(pytree_node=False)

    @property
    def steps(self) -> int:
        """Number of steps of the whole run."""
        return self.epochs * self.steps_per_epoch

    @property
    def costs_length(self) -> int:
        """A length for the costs of a chunk; plans of similar ``chunk_steps`` have the same."""
        steps = self.chunk_steps
        return MAX_CHUNK_STEPS if steps <= MAX_CHUNK_STEPS else 1 << (steps - 1).bit_length()


MAX_CHUNK_STEPS = 200
"""Bounds the time of a compiled call on a CPU, so that progress and interrupts come in time."""

CHUNK_OPERATIONS = {"cpu": 8e11}
"""The same bound in floating-point operations, by backend; some seconds on two cores."""

_CHUNK_OPERATIONS_ELSEWHERE = 1e15  # seconds: an epoch of each of the paper's networks fits


def make_plan(
    train_config: TrainConfig, num_rows: int, num_labelled: int, max_chunk_steps: int | None = None
) -> Plan:
    """Returns the plan for ``num_rows`` unlabelled rows, of which ``num_labelled`` are labelled.

    If a set is smaller than its batch, each batch is the whole set. A chunk has at most
    ``max_chunk_steps`` steps, by default ``MAX_CHUNK_STEPS``, unless that makes chunks too short.
    """
    rows_u = min(train_config.batch_size, num_rows)
    steps = min(num_rows // rows_u, train_config.steps_per_epoch or num_rows)
    rows_l = min(train_config.labelled_batch_size, num_labelled)
    # If some rows have no label or the halves differ in size, they cannot be the same rows.
    whole = train_config.labels == "all" and num_labelled == num_rows and rows_l == rows_u
    return Plan(
        epochs=train_config.epochs,
        decay_start=train_config.decay_start,
        learning_rate=train_config.learning_rate,
        steps_per_epoch=steps,
        rows_l=rows_l,
        rows_u=rows_u,
        same_rows=whole and train_config.labelled_order == "same",
        chunk_steps=_chunk_steps(steps, max_chunk_steps or MAX_CHUNK_STEPS),
    )


def _chunk_steps(steps: int, most: int) -> int:
    """Returns the number of steps in a chunk, which divides the steps of an epoch."""
    longest = max(n for n in range(1, min(most, steps) + 1) if steps % n == 0)
    # If no divisor is large enough (a prime, say), use the whole epoch: many tiny calls are slower.
    # Irrelevant when a single step takes seconds.
    awkward = most >= MAX_CHUNK_STEPS and longest < min(steps, most // 10)
    return steps if awkward else longest


def longest_chunk(
    config: LadderConfig, train_config: TrainConfig, backend: str, runs: int = 1
) -> int:
    """Returns how many steps fit into one compiled call of bounded length.

    Args:
      config: the network.
      train_config: how it is trained.
      backend: JAX's name of the backend.
      runs: number of runs that are trained at once.
    """
    operations = step_operations(config, train_config.labelled_batch_size, train_config.batch_size)
    most = CHUNK_OPERATIONS.get(backend, _CHUNK_OPERATIONS_ELSEWHERE)
    steps = max(1, int(most // (operations * runs)))
    return min(steps, MAX_CHUNK_STEPS) if backend in CHUNK_OPERATIONS else steps


def step_operations(config: LadderConfig, rows_l: int, rows_u: int) -> int:
    """Returns the floating-point operations of a step's products and convolutions.

    It counts each layer's forward map and its gradients with respect to weights and inputs, in the
    corrupted and the clean pass and in the decoder.
    """
    rows = rows_l + rows_u * (2 if config.cost_layers else 0)
    return 3 * sum(
        layer.operations(shape) * (rows + (rows_u if i in config.decoder_layers else 0))
        for i, (layer, shape) in enumerate(zip(config.layers, config.shapes[:-1], strict=True))
    )


def annealing_factor(epoch: jax.Array, epochs: int, decay_start: float) -> jax.Array:
    """Returns min(1, (E − e + 1)/(E − d·E)) for the epoch e counted from 1 (authors' code).

    It is constant within an epoch; d = 1 means no decay.
    """
    # d = 1 divides by 0; the minimum turns the infinity into 1.
    return jnp.minimum(1.0, (epochs - epoch + 1) / jnp.asarray(epochs - decay_start * epochs))


def learning_rate(plan: Plan, step: jax.Array) -> jax.Array:
    """Returns the learning rate of a step counted from 0."""
    epoch = step // plan.steps_per_epoch + 1
    return plan.learning_rate * annealing_factor(epoch, plan.epochs, plan.decay_start)
