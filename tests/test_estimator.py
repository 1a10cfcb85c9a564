"""LadderClassifier: scikit-learn's interface, labels that are missing, files."""

import copy
import html
import json
import pickle
import types

import jax
import joblib
import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import ladder_jax as lj

ROWS, LABELLED = 230, 40


@pytest.fixture(scope="module")
def rows():
    """Three classes in 6 dimensions, in units of thousands; one feature is constant."""
    rng = np.random.default_rng(1)
    y = np.arange(ROWS + 100) % 3
    x = 1000 * (np.eye(3, 6)[y] * 4 + rng.normal(size=(len(y), 6))) + 5000
    x[:, 5] = 7.25
    return x[:ROWS], y[:ROWS], x[ROWS:], y[ROWS:]


def small(**settings):
    return lj.LadderClassifier((12,), **{"steps": 96, "random_state": 0} | settings)


def some_labels(y, empty=-1, dtype=int):
    return np.array([label if i < LABELLED else empty for i, label in enumerate(y)], dtype=dtype)


@pytest.fixture(scope="module")
def fitted(rows):
    x, y, *_ = rows
    return small().fit(x, some_labels(y))


def test_it_learns(fitted, rows):
    _, _, x_test, y_test = rows
    assert fitted.score(x_test, y_test) > 0.9
    probabilities = fitted.predict_proba(x_test)
    assert probabilities.shape == (100, 3)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-6)
    np.testing.assert_array_equal(fitted.predict(x_test), probabilities.argmax(1))
    assert fitted.classes_.tolist() == [0, 1, 2]
    assert fitted.n_features_in_ == 6
    assert fitted.n_iter_ == 96
    assert [line["epoch"] for line in fitted.history_] == [1, 2, 3]


@pytest.mark.parametrize("empty", [None, "", float("nan")])
def test_strings_without_a_label(fitted, rows, empty):
    """The names of the classes change nothing but the names; None, "" and NaN are no label."""
    x, y, x_test, _ = rows
    names = np.array(["ant", "bee", "cat"])
    found = small().fit(x, [names[label] if i < LABELLED else empty for i, label in enumerate(y)])
    assert found.classes_.tolist() == ["ant", "bee", "cat"]
    np.testing.assert_array_equal(found.predict(x_test), names[fitted.predict(x_test)])


def test_unlabelled_rows_given_apart(fitted, rows):
    """The same rows, so the same fit; then −1 is a class like any other."""
    x, y, x_test, _ = rows
    found = small().fit(x[:LABELLED], y[:LABELLED] - 1, x[LABELLED:])
    assert found.classes_.tolist() == [-1, 0, 1]
    np.testing.assert_array_equal(found.predict_proba(x_test), fitted.predict_proba(x_test))
    y_test = rows[3] - 1
    right = (found.predict(x_test) == y_test).mean()
    assert found.score(x_test, y_test) == pytest.approx(right)  # -1 counts


def test_another_value_for_no_label(fitted, rows):
    x, y, x_test, _ = rows
    for empty, dtype in ((99, int), (float("nan"), float), ("?", object)):
        found = small(unlabeled_label=empty)
        labels = some_labels(y, empty, dtype)
        if empty == "?":
            labels = np.array([str(label) for label in labels])
        found.fit(x, labels)
        assert len(found.classes_) == 3
        np.testing.assert_array_equal(found.predict_proba(x_test), fitted.predict_proba(x_test))


def test_minus_one_as_a_class(rows):
    x, y, x_test, y_test = rows
    signs = np.where(y == 0, -1, 1)
    with pytest.warns(UserWarning, match="set unlabeled_label=None"):
        alone = small().fit(x, signs)
    assert alone.classes_.tolist() == [1]
    assert (alone.predict(x_test) == 1).all()
    found = small(unlabeled_label=None).fit(x, signs)
    assert found.classes_.tolist() == [-1, 1]
    assert found.score(x_test, np.where(y_test == 0, -1, 1)) > 0.9


def test_unlabelled_rows_matter_and_scaling_is_theirs_too(fitted, rows):
    x, y, x_test, _ = rows
    moved = x.copy()
    moved[LABELLED:, 0] += 300
    found = small().fit(moved, some_labels(y))
    assert not np.array_equal(found.predict_proba(x_test), fitted.predict_proba(x_test))
    np.testing.assert_allclose(fitted.scaling_.shift, x.mean(0))
    np.testing.assert_allclose(fitted.scaling_.factor[:5], 1 / x[:, :5].std(0))
    assert fitted.scaling_.factor[5] == 0  # says nothing, whatever a new row has there
    strange = x_test.copy()
    strange[:, 5] = 1e6
    np.testing.assert_array_equal(fitted.predict_proba(strange), fitted.predict_proba(x_test))


def test_random_state(fitted, rows):
    x, y, x_test, _ = rows
    again = small().fit(x, some_labels(y)).predict_proba(x_test)
    np.testing.assert_array_equal(again, fitted.predict_proba(x_test))
    other = small(random_state=1).fit(x, some_labels(y)).predict_proba(x_test)
    assert not np.array_equal(other, again)
    for state in (np.random.RandomState(0), None):
        found = small(random_state=state).fit(x, some_labels(y)).predict_proba(x_test)
        assert np.array_equal(found, again) == (state is not None)


def test_rows_do_not_depend_on_those_beside_them(fitted, rows):
    x_test = rows[2]
    whole = fitted.predict_proba(x_test)
    alone = np.concatenate([fitted.predict_proba(x_test[i : i + 7]) for i in range(0, 100, 7)])
    np.testing.assert_array_equal(whole, alone)


def test_copies_and_files(fitted, rows, tmp_path):
    """clone takes the settings alone; pickle, joblib and save keep the fit."""
    x_test = rows[2]
    fresh = clone(fitted)
    assert fresh.get_params() == fitted.get_params()
    with pytest.raises(NotFittedError):
        fresh.predict(x_test)
    joblib.dump(fitted, tmp_path / "joblib")
    fitted.save(tmp_path / "folder")
    copies = [
        pickle.loads(pickle.dumps(fitted)),
        joblib.load(tmp_path / "joblib"),
        lj.LadderClassifier.load(tmp_path / "folder"),
    ]
    for own in copies:
        np.testing.assert_array_equal(own.predict_proba(x_test), fitted.predict_proba(x_test))
        assert own.history_ == fitted.history_
        assert own.n_iter_ == fitted.n_iter_
    named = copy.deepcopy(fitted)
    named.feature_names_in_ = np.array(list("abcdef"), dtype=object)
    named.save(tmp_path / "named")
    again = lj.LadderClassifier.load(tmp_path / "named")
    assert again.feature_names_in_.tolist() == list("abcdef")
    scaled = fitted.scaling_(x_test)  # the network alone would not do that, so it is refused
    np.testing.assert_array_equal(copies[2].model_.predict(scaled), fitted.predict(x_test))
    with pytest.raises(lj.RunError, match="holds a LadderClassifier, which scales rows before"):
        lj.load(tmp_path / "folder")


def test_saved_again_and_damaged(fitted, rows, tmp_path):
    x, y, x_test, _ = rows
    names = ["ant", "bee", "cat"]
    other = small().fit(x, [names[2 - label] for label in y])  # its config.json is the same
    fitted.save(tmp_path)
    other.save(tmp_path)
    loaded = lj.LadderClassifier.load(tmp_path)
    np.testing.assert_array_equal(loaded.predict(x_test), other.predict(x_test))
    assert loaded.classes_.tolist() == names
    (tmp_path / "weights.msgpack").rename(tmp_path / "own")
    fitted.save(tmp_path / "first")
    (tmp_path / "first/weights.msgpack").rename(tmp_path / "weights.msgpack")
    with pytest.raises(lj.RunError, match="is of another fit"):
        lj.LadderClassifier.load(tmp_path)
    (tmp_path / "own").rename(tmp_path / "weights.msgpack")
    file = tmp_path / "classifier.json"
    known = json.loads(file.read_text())
    file.write_text(json.dumps(known | {"format": 2}))
    with pytest.raises(lj.RunError, match=r"format 2; install a newer"):
        lj.LadderClassifier.load(tmp_path)
    file.write_text(json.dumps(known)[:-40])
    with pytest.raises(lj.RunError, match="is damaged"):
        lj.LadderClassifier.load(tmp_path)
    with pytest.raises(lj.RunError, match="holds no classifier"):
        lj.LadderClassifier.load(tmp_path / "absent")


def test_pipeline_and_grid_search(rows):
    """The grid is one that needs no other program than the fits before it."""
    x, y, x_test, y_test = rows
    steps = make_pipeline(StandardScaler(), small())
    assert steps.fit(x, some_labels(y)).score(x_test, y_test) > 0.9
    grid = {"ladderclassifier__scaling": ["none", "range"]}
    search = GridSearchCV(steps, grid, cv=2).fit(x[:100], y[:100])
    assert search.score(x_test, y_test) > 0.8
    assert set(search.best_params_) == set(grid)


def test_score_leaves_out_rows_without_a_label(fitted, rows):
    """So cross-validation over all rows measures the labelled ones."""
    _, _, x_test, y_test = rows
    labels = np.where(np.arange(100) < 60, y_test, -1)
    assert fitted.score(x_test, labels) == fitted.score(x_test[:60], y_test[:60])
    weight = np.arange(100)
    assert fitted.score(x_test, labels, weight) == fitted.score(
        x_test[:60], y_test[:60], weight[:60]
    )


def test_similar_data_need_no_new_program(fitted, rows):
    x, y, x_test, _ = rows
    compiled = []

    def count(name, *_, **__):
        compiled.extend([name] if "backend_compile" in name else [])

    jax.monitoring.register_event_duration_secs_listener(count)
    try:
        for n, labelled in ((ROWS - 1, 40), (ROWS - 30, 41), (ROWS - 31, 60), (140, 33)):
            labels = np.where(np.arange(n) < labelled, y[:n], -1)
            small(random_state=n).fit(x[:n], labels).predict(x_test[: n % 90])
    finally:
        jax.monitoring.unregister_event_duration_listener(count)
    assert compiled == []


def test_a_run_folder_keeps_a_stopped_fit(rows, fitted, tmp_path):
    x, y, x_test, _ = rows
    seen = []
    stop = {"on_progress": seen.append, "should_stop": lambda: len(seen) == 2}
    stopped = small()
    with pytest.raises(lj.StoppedError):
        stopped.fit(x, some_labels(y), workdir=tmp_path, **stop)
    with pytest.raises(NotFittedError):
        stopped.predict(x_test)
    with pytest.raises(lj.ConfigError, match=r"^random_state=None: beside workdir give a number"):
        small(random_state=None).fit(x, some_labels(y), workdir=tmp_path)
    found = small().fit(x, some_labels(y), workdir=tmp_path, on_progress=seen.append)
    assert [progress.step for progress in seen] == [32, 64, 96]
    np.testing.assert_array_equal(found.predict_proba(x_test), fitted.predict_proba(x_test))
    loaded = lj.LadderClassifier.load(tmp_path)
    np.testing.assert_array_equal(loaded.predict_proba(x_test), fitted.predict_proba(x_test))
    again = small().fit(x, some_labels(y), workdir=tmp_path)  # still a run folder
    seen.clear()
    with pytest.raises(lj.StoppedError):
        again.fit(x, some_labels(y), workdir=tmp_path, resume=False, **stop)
    aside = lj.LadderClassifier.load(tmp_path / "before-1")
    np.testing.assert_array_equal(aside.predict_proba(x_test), fitted.predict_proba(x_test))
    with pytest.raises(lj.RunError, match="holds no classifier"):
        lj.LadderClassifier.load(tmp_path)
    small().fit(x, some_labels(y), workdir=tmp_path)
    report = html.unescape(lj.report.write_report(tmp_path).read_text())
    parameters = [
        f"{name}={value!r},"
        for name, value in json.loads((tmp_path / "classifier.json").read_text())[
            "parameters"
        ].items()
    ]
    assert {"random_state=0,", "steps=96,"} <= {*parameters}
    assert all(own in report for own in parameters) and "others" not in report


@pytest.mark.slow
def test_steps_are_made_in_equal_epochs(rows):
    """Whatever the number of rows, so that the learning rate is annealed as it should."""
    x, y, *_ = rows
    many = small(steps=320).fit(np.tile(x, (40, 1))[:9000], some_labels(np.tile(y, 40)[:9000]))
    few = small(steps=320).fit(x, some_labels(y))
    for found in (many, few):
        assert found.n_iter_ == 320
        assert len(found.history_) == 10
        assert found.history_[-1]["learning_rate"] == pytest.approx(0.002 / 3.3)


def test_saving_spares_other_runs(fitted, tmp_path):
    (tmp_path / "result.json").write_text("{}")
    with pytest.raises(lj.RunError, match=r"holds result\.json of another run"):
        fitted.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["result.json"]


def test_no_probability_is_ever_nan(fitted, rows):
    def overflows(x):
        return np.where(np.arange(len(x))[:, None] == 1, np.nan, np.full((len(x), 3), 1 / 3))

    broken = copy.copy(fitted)
    broken.model_ = types.SimpleNamespace(config=fitted.model_.config, predict_proba=overflows)
    with pytest.raises(lj.DataError, match="row 1 has a value too far"):
        broken.predict(rows[2][:3])


def test_verbose_shows_progress(rows, capsys):
    x, y, *_ = rows
    small(verbose=1).fit(x, some_labels(y))
    assert "96/96" in capsys.readouterr().err
    small().fit(x, some_labels(y))
    assert capsys.readouterr() == ("", "")


def test_mistakes_are_told_before_any_training(fitted, rows):
    x, y, *_ = rows
    labels = some_labels(y)
    for settings, message in (
        ({"steps": 0}, "^steps=0: a whole number of at least 1"),
        ({"scaling": "log"}, "^scaling=log"),
        ({"statistics": "batch"}, "^statistics=batch"),
        ({"denoising_weights": (1, 2)}, "^denoising_weights=1.0,2.0: has 2 numbers; give 3"),
        ({"input_noise": -1}, "^input_noise=-1"),
        ({"layers": "conv:8:3"}, "layers"),
    ):
        with pytest.raises(ValueError, match=message):
            lj.LadderClassifier(**{"layers": (12,)} | settings).fit(x, labels)
    for own, message in (
        ((x, np.full(ROWS, -1)), "none of its 230 rows has a label"),
        ((x[:, :, None], labels), r"shape \(230, 6, 1\); give rows"),
        ((x, labels[:-1]), "inconsistent numbers of samples"),
        ((x[:2], [0, None], x[2:]), "row 1 has no label; beside X_unlabeled each row needs one"),
        ((x, labels, x[:, :4]), "4 features"),
        ((x, np.full(ROWS, "2020-01-01", "datetime64[D]")), "labels are dates"),
    ):
        with pytest.raises(ValueError, match=message):
            small().fit(*own)
    with pytest.raises(ValueError, match="all labels are 1; there is no run to keep"):
        small().fit(x, np.ones(ROWS, int), workdir="never")
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        fitted.score(x, labels, np.ones(3))
    with pytest.raises(TypeError, match="Sparse data was passed"):
        fitted.score(csr_array(x), labels)


def test_images_of_another_shape(fitted, rows):
    with pytest.raises(ValueError, match="6 features"):
        fitted.predict(rows[2][:, :4])
