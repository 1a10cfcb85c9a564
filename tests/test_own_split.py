"""A split that the caller chose: taken as it is, checked first, part of what a run is."""

import dataclasses
import json

import numpy as np
import pytest

import ladder_jax as lj
from ladder_jax.data import Split

SETTINGS = lj.TrainConfig(labels="all", epochs=1, batch_size=50, labelled_order="independent")
NONE = np.zeros(0, np.int64)
LABELLED, TRAIN = np.array([0, 1, 2, 3] * 5), np.arange(200)


def trained(config, data, split, workdir=None, **settings):
    settings = dataclasses.replace(SETTINGS, **settings)
    return lj.train_and_evaluate(config, settings, data, split=split, workdir=workdir)


def costs(result):
    return {name: v for name, v in result.metrics[0].items() if name != "seconds"}


def test_the_rows_given_are_taken(tiny_config, blobs, tmp_path):
    """Rows outside the split have no influence, repeated ones count repeatedly."""
    split = Split(TRAIN, NONE, LABELLED)
    result = trained(tiny_config, blobs, split, tmp_path)
    x = blobs.x_train.copy()
    x[200:] = 1e3
    other = dataclasses.replace(blobs, x_train=x)
    assert costs(trained(tiny_config, other, split)) == costs(result)
    np.testing.assert_array_equal(result.split.labelled, LABELLED)
    assert json.loads((tmp_path / "label_indices.json").read_text()) == {"1": [0, 1, 2, 3]}
    fewer = trained(tiny_config, blobs, Split(TRAIN, NONE, LABELLED[:4]))
    assert costs(fewer)["cost/supervised"] != costs(result)["cost/supervised"]


def test_another_split_is_another_run(tiny_config, blobs, tmp_path):
    trained(tiny_config, blobs, Split(TRAIN, NONE, LABELLED), tmp_path)
    with pytest.raises(lj.RunError, match="split"):
        trained(tiny_config, blobs, Split(TRAIN, NONE, LABELLED + 1), tmp_path)
    with pytest.raises(lj.RunError, match="split"):
        trained(tiny_config, blobs, Split(TRAIN[::-1], NONE, LABELLED), tmp_path)


def test_held_out_rows_are_validated_on(tiny_config, blobs):
    split = Split(TRAIN, np.arange(200, 230), LABELLED)
    result = trained(tiny_config, blobs, split, validation=30)
    predicted = result.predict(blobs.x_train[200:230])
    error = lj.error_percent(predicted, blobs.y_train[200:230])
    assert result.validation_error_percent == pytest.approx(error)
    assert result.test_error_percent is None


@pytest.mark.parametrize(
    ("split", "settings", "message"),
    [
        (Split(TRAIN + 100, NONE, LABELLED), {}, r"^split.train=100…299: row numbers .* 0 to 236$"),
        (Split(TRAIN - 1, NONE, LABELLED), {}, "^split.train=-1"),
        (Split(TRAIN, NONE, LABELLED * 1.0), {}, "^split.labelled=float64"),
        (Split(TRAIN, NONE, np.array([0, 236])), {}, "^split.labelled=236: has no label$"),
        (Split(TRAIN[4:], NONE, LABELLED), {}, "^split.labelled=0: is not in split.train"),
        (Split(TRAIN, NONE, LABELLED[:1]), {}, "^labels=all: leaves 1 rows"),
        (Split(TRAIN, TRAIN[:30], LABELLED), {"validation": 30}, "also in split.train$"),
        (Split(TRAIN, TRAIN[:0], LABELLED), {"validation": 30}, "^validation=30: the split holds"),
        (Split(TRAIN, NONE, TRAIN % 4), {"labelled_order": "same"}, "^labelled_order=same"),
    ],
)
def test_a_split_that_does_not_fit_is_one_clear_error(tiny_config, blobs, split, settings, message):
    y = blobs.y_train.copy()
    y[236] = -1
    data = dataclasses.replace(blobs, y_train=y)
    with pytest.raises(lj.ConfigError, match=message):
        trained(tiny_config, data, split, **settings)


def test_errors_about_values_are_value_errors():
    assert issubclass(lj.ConfigError, ValueError)
    assert issubclass(lj.DataError, ValueError)


def test_probabilities_of_a_model_are_those_it_predicts_by(tiny_config, blobs):
    result = trained(tiny_config, blobs, Split(TRAIN, NONE, LABELLED))
    for kind in lj.STATISTICS:
        found = result.predict_proba(blobs.x_test, kind)
        bare = lj.predict_proba(
            tiny_config, result.variables, blobs.x_test, result.statistics[kind]
        )
        np.testing.assert_array_equal(found, bare)
        np.testing.assert_array_equal(result.predict(blobs.x_test, kind), found.argmax(1))
    with pytest.raises(lj.ConfigError, match=r"^statistics=none: is one of"):
        result.predict_proba(blobs.x_test, "none")
