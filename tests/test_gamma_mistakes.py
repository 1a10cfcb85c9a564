"""What ``GammaWrapper`` refuses: fields, labels, and backbones that do not fit its passes."""

from contextlib import nullcontext

import jax
import numpy as np
import pytest
from flax import linen as nn
from test_gamma import INPUTS, MODES, ROWS_U, K, Normed, Plain, batch, normal

import ladder_jax as lj
from ladder_jax.ladder.gamma import GammaWrapper, Noise


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("backbone", Plain, "Linen module"),
        ("num_classes", 1, "at least 2"),
        ("denoising_weight", -1, "not below 0"),
        ("input_noise", float("nan"), "finite"),
        ("top_noise", "0.3", "not a number"),
        ("combinator", "none", "denoising_weight to 0"),
        ("combinator", "gausian", "choose one of"),
        ("corrupted", True, '{"train": True}'),
        ("evaluation", ("train", False), '{"train": True}'),
    ],
)
def test_fields_that_cannot_be_used(field, value, says):
    with pytest.raises(lj.ConfigError) as caught:
        GammaWrapper(**({"backbone": Plain(), "num_classes": K} | {field: value}))
    assert caught.value.field == field
    assert says in str(caught.value)


def test_features_of_another_shape():
    for features, says in (
        (lambda x: x[:, None, None], f"({ROWS_U}, 1, 1, {INPUTS}) for {ROWS_U} rows"),
        (lambda x: x.T, f"({INPUTS}, {ROWS_U}) for {ROWS_U} rows"),
        (lambda x: (x, x), "tuple"),
    ):
        with pytest.raises(lj.ConfigError, match=r"^backbone=.*pool or flatten") as caught:
            GammaWrapper(nn.Sequential([features]), K).init(jax.random.key(0), batch()[2])
        assert says in str(caught.value)


def test_passes_that_may_not_draw_or_change():
    x, on = batch()[2], {"train": True, "drop": True}
    for mode, wrong, says in (
        ("clean", on, "dropout"),
        ("evaluation", on | {"train": False}, "dropout"),
        ("evaluation", {"train": True}, "batch_stats"),
    ):
        gamma = GammaWrapper(Normed(), K, **(MODES | {mode: wrong}))
        with pytest.raises(lj.ConfigError, match=f'^{mode}=.*"{says}"'):
            gamma.predict_proba(gamma.init(jax.random.key(0), x), x)
    with pytest.raises(lj.ConfigError, match="std=-1"):
        Noise(-1).apply({}, x)


def test_labels_of_another_shape_or_kind_are_refused():
    wrapper, x, key = GammaWrapper(Plain(), num_classes=3), normal(6, 4), jax.random.key(0)
    state = wrapper.init(key, x)
    for y in (np.eye(3)[[0, 1, 2, 0, 1, 2]], np.zeros(5, int), np.zeros(6)):
        with pytest.raises(lj.ConfigError, match="give 6 class numbers for x_l"):
            wrapper.costs(state, x, y, x, key)


def test_a_clean_pass_that_does_not_normalise_by_its_minibatch_is_refused():
    modes = {**MODES, "clean": {"train": False}}
    x, y, key = normal(6, 4), np.arange(6) % 3, jax.random.key(0)
    for given, fine in ((modes, False), (MODES, True)):
        wrapper = GammaWrapper(Normed(), num_classes=3, **given)
        state = wrapper.init(key, x)
        for costs in (wrapper.costs, jax.jit(wrapper.costs)):
            with nullcontext() if fine else pytest.raises(lj.ConfigError, match=r"^clean=.*both"):
                costs(state, x, y, x, key)


def test_a_row_without_a_label_is_never_the_last_class():
    wrapper = GammaWrapper(Plain(), num_classes=3)
    x, key = normal(6, 4), jax.random.key(0)
    state = wrapper.init(key, x)
    for y, finite in (([0, 1, 2, 0, 1, 2], True), ([0, 1, 2, 0, 1, -1], False)):
        costs, _ = wrapper.costs(state, x, np.array(y), x, key)
        assert np.isfinite(costs.supervised) == finite
        assert np.isfinite(costs.denoising[-1])
