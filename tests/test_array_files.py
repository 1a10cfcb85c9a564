"""A user's own rows in CSV and .npz files: arrays and notes, or one clear line."""

import csv
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from idx_files import error_of

from ladder_jax.errors import ConfigError, LadderError

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "experiments"))

from own_rows import read as array_files
from own_rows.columns import Columns

TRAIN = "age,color,label\n1,red,a\n2.5,blue,b\n5,red,\n"
MANY = "".join(f"{n / 7},{'ab'[n % 2]}\n" for n in range(9000))


@pytest.fixture
def training(tmp_path):
    """Reads a text as a training file."""

    def read(text, *args, name="train.csv", **settings):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return array_files.read_training(path, *args, **settings)

    return read


@pytest.fixture
def further(tmp_path, training):
    """Reads a second text by the columns of the first, which went through JSON."""

    def read(text, train=TRAIN, **settings):
        columns = training(train, **settings)[1]
        again = Columns.from_json(json.loads(json.dumps(columns.to_json())))
        assert again == columns
        path = tmp_path / "test.csv"
        path.write_text(text)
        return array_files.read_rows(path, again)

    return read


@pytest.fixture
def arrays(tmp_path):
    """Saves arrays, gives the path."""

    def save(name="train.npz", **arrays):
        np.savez(tmp_path / name, **arrays)
        return tmp_path / name

    return save


def test_numbers_categories_and_labels(training):
    rows, columns, notes = training(TRAIN)
    assert rows.x.tolist() == [[1, 0, 1], [2.5, 1, 0], [5, 0, 1]] and rows.x.dtype == np.float64
    assert rows.y.tolist() == ["a", "b", None] and rows.x_unlabelled is None
    assert (columns.label, columns.classes) == ("label", ("a", "b"))
    assert notes == [
        "2 classes in column label: a (1), b (1)",
        "1 of 3 rows have no label",
        "color: 2 categories as 2 columns",
    ]


@pytest.mark.parametrize(
    "text",
    [
        TRAIN.replace(",", ";"), TRAIN.replace(",", "\t"), TRAIN.replace("\n", "\r\n"),
        "\ufeff" + TRAIN, "\n\n" + TRAIN.replace("\n", "\n\n,,\n \n"),
        TRAIN.replace(",", " , "), TRAIN.replace("red", '"red"'), TRAIN[:-1],
        '"age",color,"label"\n1,red,a\n2.5,"blue",b\n5,red,""\n',
    ],
)  # fmt: skip
def test_ways_to_write_the_same_file(training, text):
    (x, y, _), columns, _ = training(text)
    expected, same, _ = training(TRAIN)
    np.testing.assert_array_equal(x, expected.x)
    assert y.tolist() == expected.y.tolist() and columns == same


number = st.floats(allow_nan=False, allow_infinity=False)
word = st.text("abé ,;\t\"'\n", min_size=1).map(str.strip).filter(bool)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(number, word, st.sampled_from("pq")), max_size=20), st.sampled_from(",;\t")
)
def test_round_trip(tmp_path_factory, table, delimiter):
    table = [(0.0, "x", "p"), (1e-300, "y", "q"), *table]
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=delimiter)
    writer.writerows([("some, value", "a;word", "class"), *table])
    path = tmp_path_factory.mktemp("round") / "trip.csv"
    path.write_text(stream.getvalue(), newline="")
    rows, _, _ = array_files.read_training(path)
    words = sorted({row[1] for row in table})
    expected = [[row[0], *(row[1] == word for word in words)] for row in table]
    np.testing.assert_array_equal(rows.x, expected)
    assert rows.y.tolist() == [row[2] for row in table]


def test_label_column_by_name_or_by_custom(training):
    assert training("v,label,w\n1,a,p\n2,b,q\n", "w")[1].label == "w"
    assert training("Target,v\na,1\nb,2\n")[1].label == "Target"
    assert training("y,class,v\na,1,1\nb,2,2\n", ignore=["class"])[1].label == "y"


def test_whole_labels_keep_no_point(further):
    """pandas writes 3 as 3.0 beside gaps; the test file without gaps has 3."""
    rows, notes = further("v,y\n1,3\n2,4.0\n3,-1\n4,5\n", "v,y\n1,3.0\n2,4.0\n3,-1.0\n4,\n")
    assert rows.y.tolist() == ["3", "4", None, "5"]
    assert "labels that the training file does not have: 5; first '5' in line 5" in notes


def test_other_labels_stay_as_written(training):
    assert training("v,y\n1,2.0\n2,2.1\n3,03\n")[0].y.tolist() == ["2.0", "2.1", "03"]


def test_minus_one_is_no_label_unless_told_so(training):
    text = "v,y\n1,-1\n2,1\n4,0\n"
    rows, _, notes = training(text)
    assert rows.y.tolist() == [None, "1", "0"]
    assert (
        "1 of 3 rows have no label (-1 means none; if it is a class, give --unlabelled=)" in notes
    )
    rows, columns, _ = training(text + "5,\n", unlabelled=())
    assert rows.y.tolist() == ["-1", "1", "0", None] and columns.classes == ("-1", "0", "1")


def test_ignored_and_forced_columns(further):
    assert further("age,color,label\n1,red,\n")[0].y is None
    rows, notes = further("age,color,extra\n2.50,blue,3\n1,,4\n", ignore=["color"])
    assert rows.x.tolist() == [[2.5], [1]] and rows.y is None
    assert notes == ["not used, not in the training file: extra", "no column label: no labels"]
    rows, notes = further("color,age\nred,1.0\nred,2\n", categorical=["age"])
    assert rows.x.tolist() == [[1, 0, 0, 0, 1], [0, 0, 0, 0, 1]]
    assert "age: 1 unseen value as all zeros, first '2' in line 3" in notes


def test_useless_columns_are_left_out(further, training):
    text = ",a,b,c,v,id,y\n1,7,x,,1,1,p\n2,7,x,NA,5,2,q\n3,7,x,,2,3,q\n"
    rows, columns, notes = training(text)
    assert rows.x.tolist() == [[1, 1], [5, 2], [2, 3]]
    assert columns.left_out == ("a", "b", "c")
    assert notes[1:] == [
        "id: only counts the rows; if it is an identifier, leave it out with --ignore_columns=id",
        "left out, empty: c",
        "left out, only one value: a, b",
        "left out, no name in the header: column 1",
    ]
    assert further(text, text)[1] == []


def test_missing_values_by_median(further, training):
    train = "n,c,d,e,y\n1,r,u,v,p\nNA,,u,w,q\nnull,s,,w,q\n6,s,u,v,\n2,s,u,v,q\n"
    rows, _, notes = training(train, missing="median")
    assert rows.x[:, 0].tolist() == [1, 2, 2, 6, 2]  # the median of 1, 6, 2
    expected = [[1, 0, 0, 1, 0, 1, 0], [0, 0, 1, 1, 0, 0, 1], [0, 1, 0, 0, 1, 0, 1]]
    assert rows.x[:3, 1:].tolist() == expected
    assert "c: 2 categories and missing values as 3 columns" in notes
    assert "n: 2 missing values filled with the median 2" in notes
    assert "missing=mean: choose" in error_of(training, train, missing="mean", kind=ConfigError)
    rows, notes = further("n,c,d,e\n?,N/A,NaN,\n8,t,u,v\n", train, missing="median")
    assert rows.x.tolist() == [[2, 0, 0, 1, 0, 1, 0, 0], [8, 0, 0, 0, 1, 0, 1, 0]]
    assert notes[1:] == [
        "n: 1 missing value filled with the median 2",
        "c: 1 unseen value as all zeros, first 't' in line 3",
        "e: 1 unseen value as all zeros, first '' in line 2",
    ]


def test_fifty_categories_and_no_more(training):
    text = "".join(f"{n}x,{n % 2}\n" for n in range(51))
    assert training("v,y\n" + text[: text.index("50x")])[0].x.shape == (50, 50)
    assert training("v,y\n" + text, categorical=["v"])[0].x.shape == (51, 51)
    assert "--ignore_columns=v (--categorical=v to insist)" in error_of(training, "v,y\n" + text)


def test_numbers_with_a_mistake_among_few_values(training):
    _, _, notes = training("v,y\n1,a\n2,b\n3O,b\n")
    assert "v: 3 categories as 3 columns (most are numbers: is '3O' in line 4 a mistake?)" in notes


def test_many_rows_come_in_batches(training):
    rows, _, _ = training("v,y\n" + MANY)
    np.testing.assert_array_equal(rows.x[:, 0], np.arange(9000) / 7)
    assert rows.y[[0, 1, 8999]].tolist() == ["a", "b", "b"]
    gap = MANY.replace(f"\n{8500 / 7},", "\n,")
    assert "v: 1 missing value, first in line 8502" in error_of(training, "v,y\n" + gap)
    typo = MANY.replace(f"\n{8500 / 7},", "\n1_5,")
    assert "v: '1_5' in line 8502 is not a number" in error_of(training, "v,y\n" + typo)


NONE = ("NA", "None", "-1.0")  # labels
MEASURED = "a,y\n" + "".join(f"1,{i}.5\n" for i in range(30))


@pytest.mark.parametrize(
    ("text", "settings", "says"),
    [
        ("", {}, "train.csv: is empty"),
        ("\ufeff", {}, "train.csv: has no text"),
        ("age,label\n", {}, "has a header but no rows"),
        ("1,2.5,-1\n3,4,5\n", {}, "line 1 has numbers only (1, 2.5, -1); put a line"),
        ("a b label\n1 2 x\n", {}, "is only 'a b label'; put a comma, semicolon or tab"),
        ("a,b,y\n1,2,p\n\n3,q\n", {}, "line 4 has 2 cells between ',', the header has 3"),
        ("a,b,a,y\n1,2,3,q\n", {}, "more than one column is called a;"),
        ('a,y\n1,p\n"2,q\n3,q\n', {}, "line 3: unexpected end of data; is a quotation mark"),
        ("a,y\n1,p\né,q\n".encode("cp1252"), {}, "line 3 is not UTF-8; save the file as CSV UTF-8"),
        (TRAIN.encode("utf-16"), {}, "line 1 is not UTF-8"),
        ("a,b\n1,2\n", {}, "none is called label, class, target, y; give --label_col"),
        ("a,y,class\n1,2,3\n", {}, "y, class may all be it; give --label_column"),
        (TRAIN, {"label_column": "lable"}, "no column lable (did you mean label?)"),
        (TRAIN, {"ignore": ["colour"]}, "no column colour (did you mean color?), named by --ig"),
        (TRAIN, {"categorical": ["size"]}, "no column size, named by --categorical; there are"),
        (TRAIN, {"categorical": ["label"]}, "--categorical names the label column label"),
        (TRAIN, {"ignore": ["age", "color"]}, "no column to learn from; only the label"),
        ("a,b,y\n1,,p\n1,,q\n", {}, "no column to learn from; left out, empty: b; left out, only"),
        ("a,y\n1,\n2,-1\n", {}, "y: 2 of 2 rows have no label (-1 means none; if it is a class"),
        ("a,y\n1,-1\n2,1\n3,1\n", {}, "--unlabelled=), the 2 others have the label '1'; at"),
        *((f"a,y\n1,p\n2,q\n3,{word}\n", {}, f"label '{word}' in line 4 seems") for word in NONE),
        (MEASURED, {}, "30 classes for 30 rows with a label; that looks like measurements"),
        ("a,b,y\n1,,p\n5,,q\n,3,q\n,4,q\n", {}, "a: 2 missing values, first in line 4; also in b"),
        ("a,y\n1,p\n2,q\n-inf,q\n", {"missing": "median"}, "a: -inf in line 4; correct it"),
        ("a,y\n1,p\n1e999,q\n", {}, "a: inf in line 3"),
        ('a,y\n2,p\n"1,5",q\n"1,2",q\n"7,5",p\n', {}, "'1,5' in line 3 is not a number; write it"),
        ("a;y\n1,5;p\n2,5;q\n", {}, "a: '1,5' in line 2 is not a number; write it with a decimal"),
        ("v,y\n" + MANY.replace(f"\n{40 / 7},", "\nabc,"), {}, "'abc' in line 42 is not a number"),
    ],
)  # fmt: skip
def test_unusable_training_files(training, text, settings, says):
    assert says in error_of(training, text, **settings)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("age,colour\n1,red\n", "no column color (did you mean colour?), which the training"),
        ("age color\n1 red\n", "there is only 'age color'; put a comma, semicolon or tab"),
        ("color,age\nred,3\nblue,x\n", "age: 'x' in line 3 is not a number, as in the train"),
        ("color;age\nblue;1,5\n", "age: '1,5' in line 2 is not a number; write it with a decimal"),
        ("color,age\nred,\n", "age: 1 missing value, first in line 2"),
        ("color,age\n,1\n", "color: 1 missing value, first in line 2"),
        ("color,age,label\nred,1,?\n", "label '?' in line 2 seems to mean none"),
    ],
)  # fmt: skip
def test_rows_that_do_not_go_with_the_training_file(further, text, says):
    message = error_of(further, text)
    assert says in message and "test.csv" in message


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("trian.csv", "no such file (did you mean train.csv?)"), ("no/x.csv", "there is no folder"),
        (".", "is a folder"), ("a.xlsx", "is no .csv or .npz file;"), ("a.npz", "is no .npz file;"),
    ],
)  # fmt: skip
def test_files_that_are_none(tmp_path, training, name, says):
    training(TRAIN)
    for other in ("a.xlsx", "a.npz"):
        (tmp_path / other).write_text("x")
    assert says in error_of(array_files.read_training, tmp_path / name)


X, Y = np.arange(24, dtype=np.float32).reshape(6, 2, 2), np.array([0, 1, -1, 0, 1, -1])


def test_npz_is_handed_on_as_stored(arrays):
    path = arrays(X_train=X.astype(np.uint8), y_train=Y, x_test=X[:2], y_test=Y[:2], X_unlabeled=X)
    rows, columns, notes = array_files.read_training(path)
    assert rows.x.dtype == np.uint8 and rows.x.shape == (6, 2, 2)
    np.testing.assert_array_equal(rows.y, Y)
    np.testing.assert_array_equal(rows.x_unlabelled, X)
    assert notes[0] == "X_train: uint8, shape (6, 2, 2)"
    columns = Columns.from_json(json.loads(json.dumps(columns.to_json())))
    rows, _ = array_files.read_rows(path, columns)
    np.testing.assert_array_equal(rows.x, X[:2])
    np.testing.assert_array_equal(rows.y, Y[:2])
    assert rows.x_unlabelled is None


def test_labels_of_npz_training_rows_are_not_those_of_x_test(arrays):
    path = arrays(x=X, y=Y.astype(str), x_test=X[::-1])
    rows, columns, _ = array_files.read_training(path)
    np.testing.assert_array_equal(rows.x, X)
    rows, notes = array_files.read_rows(path, columns)
    np.testing.assert_array_equal(rows.x, X[::-1])
    assert rows.y is None and notes[-1] == "no array y_test: no labels"
    rows, _ = array_files.read_rows(arrays(x=X[:3], labels=Y[:3]), columns)
    assert rows.y.tolist() == [0, 1, -1]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"a": X, "y": Y}, "no array x_train or X_train or x or X; there are: a, y"),
        ({"x": X}, "no array y or labels or y_train; there are: x"),
        ({"x": X, "y": Y[:3]}, "y has shape (3,), give 6 labels for x"),
        ({"x": X[:, 0, 0], "y": Y}, "x has shape (6,); give rows of values"),
        ({"x": X[:0], "y": Y[:0]}, "x has shape (0, 2, 2)"),
        ({"x": X.astype(object), "y": Y}, "x: Object arrays cannot be loaded"),
        ({"x": X.astype(str), "y": Y}, "x: <U32 cannot be used"),
        ({"x": np.where(X == 9, np.nan, X), "y": Y}, "x: NaN or infinity in row 2"),
        ({"x": X, "y": Y, "x_unlabelled": X[:, 0]}, "x_unlabelled has rows of shape (2,)"),
    ],
)  # fmt: skip
def test_unusable_arrays(arrays, given, says):
    assert says in error_of(array_files.read_training, arrays(**given))


def test_npz_and_settings_or_files_of_another_kind(arrays, training, tmp_path):
    path = arrays(x=X, y=Y)
    _, columns, _ = array_files.read_training(path)
    assert "has no columns" in error_of(array_files.read_training, path, "y")
    _, of_csv, _ = training(TRAIN)
    assert "was a CSV file" in error_of(array_files.read_rows, path, of_csv)
    assert "was an .npz" in error_of(array_files.read_rows, tmp_path / "train.csv", columns)
    assert "shape (1, 2)" in error_of(array_files.read_rows, arrays(x=X[:, :1]), columns)


@settings(max_examples=80, deadline=None)
@given(st.data(), st.sampled_from(["csv", "npz"]))
def test_damage_ends_in_one_line_or_does_no_harm(tmp_path_factory, data, kind):
    path = tmp_path_factory.mktemp("damage") / f"x.{kind}"
    np.savez_compressed(path, x=X, y=Y) if kind == "npz" else path.write_text(TRAIN)
    content = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        rows, _, notes = array_files.read_training(path)
    except LadderError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert np.isfinite(rows.x).all() and all(len(note.splitlines()) == 1 for note in notes)
