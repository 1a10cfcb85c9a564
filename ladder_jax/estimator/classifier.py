"""Defines ``LadderClassifier``, a ladder network with the interface of scikit-learn."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from numbers import Integral
from typing import Any

import jax
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import assert_all_finite, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from ladder_jax.config import LadderConfig, TrainConfig
from ladder_jax.data import from_arrays
from ladder_jax.data.dataset import Array
from ladder_jax.errors import ConfigError, DataError
from ladder_jax.estimator import files as classifier_file
from ladder_jax.estimator import padding as buckets
from ladder_jax.estimator.defaults import LABELLED_BATCH_SIZE, STEPS, configs
from ladder_jax.estimator.labels import as_array, has_label, known_labels, warn_of_signs
from ladder_jax.estimator.scaling import fit_scaling
from ladder_jax.train.evaluation import PREDICTION_ROWS
from ladder_jax.train.loop import Progress
from ladder_jax.train.result import Model
from ladder_jax.train.run import train_and_evaluate
from ladder_jax.train.schedule import make_plan

_BLOCK_OPERATIONS = 2e9  # of one compiled call at prediction: a fraction of a second

_FITTED = ("classes_", "scaling_", "model_", "history_", "n_iter_")


class LadderClassifier(ClassifierMixin, BaseEstimator):
    """A classifier that learns from a few labelled and many unlabelled rows.

    Features are scaled first (see ``scaling``) with statistics of all rows, labelled or not. Rows
    without a label have ``unlabeled_label`` as their label, or are given separately as
    ``X_unlabeled``.

    Args:
      layers: hidden layers from the bottom up, as numbers of units or in the text form of
        ``ladder_jax.layers`` ("conv:32:3", "maxpool:2", …); a layer with one unit per class is
        added on top. Or the name of a network of the paper: "conv_small", "conv_large" or
        "conv_fc". None means (100, 50), and "conv_small" for images.
      denoising_weights: λ(0)…λ(L), one for the input, for each hidden layer and for the top.
        None means 10, 1, 0.1, 0.1…, and the paper's values for its networks. If all are zero,
        unlabelled rows influence only the scaling.
      input_noise, hidden_noise: standard deviation of the noise in training. None means 0.1 and
        0.3, and the paper's values for its networks.
      combinator: see ``LadderConfig``.
      steps: gradient steps, rounded so that they form epochs of equal length: at most 50 epochs,
        or more if an epoch would otherwise be longer than one pass. The default takes 160 000
        rows in all; sets of many thousand rows need more steps.
      learning_rate, decay_start, statistics: see ``TrainConfig``.
      batch_size, labelled_batch_size: unlabelled and labelled rows per step, at most 8192 or, in
        larger sets, the number of rows. Small sets (up to 8192 rows) and the labelled rows of every
        set are sampled from a shuffled list that repeats every row at least four times, so a
        batch can contain a row twice: of 100 rows, a batch of 100 contains 64 different ones on
        average. Some rows are repeated once more than others and count more in the labelled
        statistics.
      scaling: "standard" (mean 0, variance 1), "range" (from 0 to 1) or "none", for each column
        or, with images, for each channel.
      unlabeled_label: label of the rows without one; None if no value is special. None, NaN and
        the empty string are never labels.
      random_state: seed of everything random.
      verbose: 1 shows progress.

    Attributes:
      classes_: (K,) the sorted classes.
      n_features_in_: X.shape[1].
      feature_names_in_: (D,) names of the columns, if X has names.
      n_iter_: number of training steps.
      model_: the network, which takes scaled rows; None if there was only one class.
      scaling_: the map from rows to scaled rows.
      history_: a dictionary of costs for each epoch, as in metrics.jsonl.
    """

    def __init__(
        self,
        layers: Any = None,
        *,
        denoising_weights: Any = None,
        input_noise: float | None = None,
        hidden_noise: Any = None,
        combinator: Any = LadderConfig.combinator,
        steps: int = STEPS,
        learning_rate: float = TrainConfig.learning_rate,
        decay_start: float = TrainConfig.decay_start,
        batch_size: int = TrainConfig.batch_size,
        labelled_batch_size: int = LABELLED_BATCH_SIZE,
        scaling: str = "standard",
        statistics: str = TrainConfig.statistics,
        unlabeled_label: Any = -1,
        random_state: Any = None,
        verbose: int = 0,
    ):
        self.layers = layers
        self.denoising_weights = denoising_weights
        self.input_noise = input_noise
        self.hidden_noise = hidden_noise
        self.combinator = combinator
        self.steps = steps
        self.learning_rate = learning_rate
        self.decay_start = decay_start
        self.batch_size = batch_size
        self.labelled_batch_size = labelled_batch_size
        self.scaling = scaling
        self.statistics = statistics
        self.unlabeled_label = unlabeled_label
        self.random_state = random_state
        self.verbose = verbose

    def fit(
        self,
        X: Any,
        y: Any,
        X_unlabeled: Any = None,
        *,
        workdir: str | os.PathLike[str] | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
        resume: bool = True,
    ) -> LadderClassifier:
        """Trains on labelled and unlabelled rows.

        Args:
          X: (N, D) numbers, or images (N, H, W, C).
          y: (N,) labels; see ``unlabeled_label`` for rows without one.
          X_unlabeled: further rows, (M, D) or (M, H, W, C). If given, every row of X has a label
            and no label is special.
          workdir: run folder, see ``train_and_evaluate``: a stopped fit continues from there, and
            ``load`` reads the fitted classifier from it. It needs an integer as ``random_state``,
            and at least two classes.
          on_progress, should_stop, resume: see ``train_and_evaluate``.

        Raises:
          ValueError: X, y or a setting cannot be used.
        """
        for name in _FITTED:  # a fit that fails leaves no half of one
            if hasattr(self, name):
                delattr(self, name)
        X, labelled, known = self._rows(X, y, X_unlabeled)
        kinds, numbers = np.unique(known, return_inverse=True)
        scaling = fit_scaling(X, self.scaling)
        if workdir is not None:
            if len(kinds) == 1:
                raise DataError(f"y: all labels are {kinds[0]}; there is no run to keep in workdir")
            if not isinstance(self.random_state, Integral):
                problem = "beside workdir give a number: only with the same one a fit can go on"
                raise ConfigError("random_state", self.random_state, problem)
        found: tuple[Model | None, Any, int] = None, [], 0
        if len(kinds) > 1:
            with ExitStack() as held:
                if self.verbose and on_progress is None:
                    on_progress = held.enter_context(_bar())
                found = self._train(
                    scaling(X),
                    labelled,
                    numbers,
                    workdir=workdir,
                    on_progress=on_progress,
                    should_stop=should_stop,
                    resume=resume,
                )
        self.classes_, self.scaling_ = kinds, scaling
        self.model_, self.history_, self.n_iter_ = found
        if workdir is not None:
            self.save(workdir)
        return self

    def __sklearn_is_fitted__(self) -> bool:
        """Returns whether ``fit`` has finished."""
        return hasattr(self, "model_")

    def predict(self, X: Any) -> Array:
        """Returns the most probable class of each row, (N,)."""
        most_probable = self.predict_proba(X).argmax(axis=1)
        return self.classes_[most_probable]

    def predict_proba(self, X: Any) -> Array:
        """Returns the probabilities (N, K) of the classes, in the order of ``classes_``.

        Raises:
          DataError: a row is so far from the training rows that the network overflows.
        """
        check_is_fitted(self)
        X = self._checked(X, reset=False)
        if self.model_ is None:  # there was one class only
            return np.ones((len(X), 1))
        X, config = self.scaling_(X), self.model_.config
        operations = sum(
            layer.operations(shape)
            for layer, shape in zip(config.layers, config.shapes[:-1], strict=True)
        )
        rows = int(np.clip(_BLOCK_OPERATIONS // operations, 16, PREDICTION_ROWS))
        probabilities = buckets.in_blocks(self.model_.predict_proba, X, rows)
        if not np.isfinite(probabilities).all():
            row = int(np.argwhere(~np.isfinite(probabilities))[0, 0])
            raise DataError(f"X: row {row} has a value too far from the training rows; correct it")
        return probabilities

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Returns the accuracy on the rows that have a label and ignores the others."""
        check_is_fitted(self)
        if hasattr(X, "toarray"):  # predict says what it takes
            X = self._checked(X, reset=False)
        y = column_or_1d(as_array(y))
        check_consistent_length(X, y, sample_weight)
        # After a fit with X_unlabeled it may be a class like any other.
        classes = self.classes_.tolist()
        is_class = self.unlabeled_label in classes or str(self.unlabeled_label) in classes
        mask = has_label(y, None if is_class else self.unlabeled_label)
        known = known_labels(y, mask)
        if sample_weight is not None:
            sample_weight = np.asarray(sample_weight)[mask]
        rows = X.iloc[np.flatnonzero(mask)] if hasattr(X, "iloc") else np.asarray(X)[mask]
        return super().score(rows, known, sample_weight)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the fitted classifier, without pickle, into a folder that ``load`` reads."""
        check_is_fitted(self)
        classifier_file.save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> LadderClassifier:
        """Reads the classifier that ``save`` wrote.

        Raises:
          RunError: there is no classifier, it is damaged, or it is of a later version.
        """
        return classifier_file.load(cls, path)

    def _rows(self, X: Any, y: Any, X_unlabeled: Any) -> tuple[Array, Array, Array]:
        """Returns all rows, the indices of those with a label, and these labels."""
        if y is None:
            name = type(self).__name__
            raise ValueError(f"{name} requires y to be passed, but the target y is None.")
        X = self._checked(X, reset=True)
        y = column_or_1d(as_array(y), warn=True)
        check_consistent_length(X, y)
        empty = self.unlabeled_label if X_unlabeled is None else None
        mask = has_label(y, empty)
        warn_of_signs(y, mask, empty)
        known = known_labels(y, mask)
        if known.dtype.kind == "f":
            assert_all_finite(known, input_name="y")
        check_classification_targets(known)
        if X_unlabeled is not None:
            if not mask.all():
                row = np.flatnonzero(~mask)[0]
                raise DataError(f"y: row {row} has no label; beside X_unlabeled each row needs one")
            X = np.concatenate([X, self._checked(X_unlabeled, reset=False)])
        return X, np.flatnonzero(mask), known

    def _checked(self, X: Any, reset: bool) -> Array:
        """Validates X and, if ``reset``, records the shape of its rows."""
        if reset:
            X = validate_data(self, X, dtype="numeric", allow_nd=True, ensure_min_samples=2)
            if X.ndim not in (2, 4):
                raise DataError(f"X: shape {X.shape}; give rows (N, D) or images (N, H, W, C)")
            self.input_shape_ = X.shape[1:]
            return X
        X = validate_data(self, X, dtype="numeric", allow_nd=True, reset=False)
        if X.shape[1:] != self.input_shape_:
            raise DataError(f"X: rows of shape {X.shape[1:]}, but those of fit {self.input_shape_}")
        return X

    def _train(
        self, X: Array, labelled: Array, classes: Array, **running: Any
    ) -> tuple[Model, Any, int]:
        """Returns the network, its metrics and the number of training steps."""
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        num_classes = int(classes.max()) + 1
        own = self.get_params(deep=False)
        config, settings = configs(own, self.input_shape_, num_classes, len(X), seed)
        sizes = settings.batch_size, settings.labelled_batch_size
        split = buckets.epoch_split(labelled, len(X), *sizes, seed)
        y = np.full(buckets.padded_rows(len(X)), -1)
        y[labelled] = classes
        data = from_arrays(buckets.padded(X), y, name="rows", num_classes=config.num_classes)
        result = train_and_evaluate(config, settings, data, split=split, **running)
        fields = {field.name: getattr(result, field.name) for field in dataclasses.fields(Model)}
        # NumPy arrays instead of JAX's, so that a copied classifier is bound to no device.
        model = Model(**jax.device_get(fields))
        plan = make_plan(settings, len(split.train), len(split.labelled))
        return model, result.metrics, settings.epochs * plan.steps_per_epoch


@contextmanager
def _bar() -> Iterator[Callable[[Progress], None]]:
    """Shows progress in a terminal or in a notebook."""
    from tqdm.auto import tqdm

    with tqdm(unit=" steps") as bar:

        def show(progress: Progress) -> None:
            bar.total = progress.steps
            bar.set_postfix(cost=f"{progress.costs['total']:.3g}", refresh=False)
            bar.update(progress.chunk_steps)

        yield show
