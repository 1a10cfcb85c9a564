"""scikit-learn's own suite for estimators."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

import ladder_jax as lj

EXPECTED = {
    "check_classifiers_classes": "it has -1 as a class, which here marks rows without a label; "
    "scikit-learn exempts its own semi-supervised classifiers from this by their names",
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:y holds only -1 and 1:UserWarning")
@parametrize_with_checks(
    [lj.LadderClassifier((32,), steps=320)],
    expected_failed_checks=lambda estimator: EXPECTED,
)
def test_scikit_learn(estimator, check):
    check(estimator)
