"""Label subsets and held-out rows: balance, order, disjointness, and what the messages say."""

import numpy as np
import pytest

from ladder_jax.data import make_split
from ladder_jax.errors import ConfigError

ROWS, CLASSES = 600, 10


@pytest.fixture(scope="module")
def y_train():
    return np.random.default_rng(7).permutation(np.arange(ROWS) % CLASSES).astype(np.int32)


def test_parts_are_disjoint_and_cover_every_row(y_train):
    split = make_split(y_train, CLASSES, 50, validation=100, data_seed=3)
    assert len(split.validation) == 100
    both = np.concatenate([split.train, split.validation])
    np.testing.assert_array_equal(np.sort(both), np.arange(ROWS))
    assert not np.intersect1d(split.labelled, split.validation).size


@pytest.mark.parametrize("validation", [0, 60])
def test_protocol_of_the_original_code(y_train, validation):
    """Written out as the protocol reads: last rows held out, first N/K of each class."""
    order = np.random.default_rng(5).permutation(ROWS)
    train = order[: ROWS - validation]
    wanted = [[i for i in train if y_train[i] == k][:3] for k in range(CLASSES)]
    split = make_split(y_train, CLASSES, 30, validation, data_seed=5)
    np.testing.assert_array_equal(split.train, train)
    np.testing.assert_array_equal(split.validation, order[ROWS - validation :])
    assert set(split.labelled.tolist()) == {int(i) for rows in wanted for i in rows}


def test_subset_is_balanced_and_free_of_repeats(y_train):
    labelled = make_split(y_train, CLASSES, 100, 0, data_seed=1).labelled
    np.testing.assert_array_equal(np.bincount(y_train[labelled]), np.full(CLASSES, 10))
    assert len(np.unique(labelled)) == 100


@pytest.mark.parametrize("labels", [100, "all"])
def test_labelled_rows_stay_in_permuted_order(y_train, labels):
    split = make_split(y_train, CLASSES, labels, 50, data_seed=1)
    position = {row: place for place, row in enumerate(split.train.tolist())}
    places = [position[row] for row in split.labelled.tolist()]
    assert places == sorted(places)


def test_consecutive_minibatches_mix_the_classes(y_train):
    labelled = make_split(y_train, CLASSES, 500, 0, data_seed=1).labelled
    for start in range(0, 500, 100):
        assert len(np.unique(y_train[labelled[start : start + 100]])) == CLASSES


def test_same_seed_same_split_other_seed_other_split(y_train):
    first, again, other = (make_split(y_train, CLASSES, 100, 50, seed) for seed in (4, 4, 5))
    for part in ("train", "validation", "labelled"):
        np.testing.assert_array_equal(getattr(first, part), getattr(again, part))
    assert set(first.labelled) != set(other.labelled)
    assert set(first.validation) != set(other.validation)


def test_held_out_rows_do_not_depend_on_the_number_of_labels(y_train):
    few, many = (make_split(y_train, CLASSES, labels, 50, 0) for labels in (20, "all"))
    np.testing.assert_array_equal(few.validation, many.validation)


def test_all_takes_every_labelled_training_row(y_train):
    split = make_split(y_train, CLASSES, "all", 50, 0)
    np.testing.assert_array_equal(split.labelled, split.train)


def test_rows_without_label_train_but_are_neither_labelled_nor_held_out(y_train):
    partly = y_train.copy()
    partly[::2] = -1
    split = make_split(partly, CLASSES, "all", validation=40, data_seed=0)
    assert len(split.train) == ROWS - 40
    assert len(split.labelled) == ROWS // 2 - 40
    assert (partly[split.labelled] >= 0).all()
    assert len(split.validation) == 40
    assert (partly[split.validation] >= 0).all()


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (0, "above 0"),
        (-10, "above 0"),
        (10.0, "above 0, or all"),
        ("some", "above 0, or all"),
        (True, "above 0, or all"),
        (105, "use 100 or 110"),
        (5, "use 10"),
        (1000, "only 600 training rows"),
    ],
)
def test_labels_that_cannot_be_met(y_train, labels, says):
    with pytest.raises(ConfigError, match=says) as caught:
        make_split(y_train, CLASSES, labels, 0, 0)
    assert caught.value.field == "labels"
    assert "\n" not in str(caught.value)


def test_smallest_class_limits_the_subset(y_train):
    scarce = y_train.copy()
    scarce[np.flatnonzero(scarce == 3)[7:]] = 4
    assert len(make_split(scarce, CLASSES, 70, 0, 0).labelled) == 70
    with pytest.raises(ConfigError, match=r"class 3 has only 7.*at most 70, or use all"):
        make_split(scarce, CLASSES, 80, 0, 0)
    assert len(make_split(scarce, CLASSES, "all", 0, 0).labelled) == ROWS


@pytest.mark.parametrize(
    ("validation", "labels", "says"),
    [(-1, 100, "at least 0"), (2.5, 100, "at least 0"), (501, 100, "at most 500"),
     (600, "all", "at most 590")],
)  # fmt: skip
def test_validation_that_cannot_be_met(y_train, validation, labels, says):
    with pytest.raises(ConfigError, match=says) as caught:
        make_split(y_train, CLASSES, labels, validation, 0)
    assert caught.value.field == "validation"


@pytest.mark.parametrize("seed", [-1, 0.5, None])
def test_data_seed_must_be_a_whole_number(y_train, seed):
    with pytest.raises(ConfigError, match="at least 0") as caught:
        make_split(y_train, CLASSES, 100, 0, seed)
    assert caught.value.field == "data_seed"


def test_numpy_integers_are_whole_numbers(y_train):
    split = make_split(y_train, CLASSES, np.int64(100), np.int32(10), np.int64(2))
    assert len(split.labelled) == 100
