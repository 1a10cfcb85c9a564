"""report.html: what it says of all kinds of runs, and that it is whole, safe and alone."""

import base64
import json
import struct

import pytest
from report_pages import report, write_run

import ladder_jax as lj
from ladder_jax import plots
from ladder_jax.report.page import write_report


def test_numbers_are_those_of_the_files(blobs, tiny_config, tmp_path):
    """Of a real run of two seeds."""
    train = lj.TrainConfig(labels=20, epochs=2, batch_size=50, seed=4)
    more = {"num_seeds": 2, "parallel": lj.Parallel(devices=1, seed_mode="sequential")}
    lj.train_and_evaluate(tiny_config, train, blobs, workdir=tmp_path, **more)
    page, result = report(tmp_path), json.loads((tmp_path / "result.json").read_text())
    for entry, row in zip(result["runs"], page.table("Test error in %, seed")[1:3], strict=True):
        errors = [entry["test_error_percent"][kind] for kind in lj.STATISTICS]
        assert row == [str(entry["seed"]), *(f"{error:.2f}" for error in errors)]
    mean, deviation = result["test_error_percent"], result["test_error_percent_std"]
    assert page.big == [f"{mean:.2f} ± {deviation:.2f} %"]
    facts = page.table("What the network was trained on")
    assert [value for _, value in facts[:3]] == ["blobs", "237", blobs.fingerprint()]
    assert facts[3] == ["labelled rows", "20, balanced: 5 of each of 4 classes"]
    assert facts[4:] == [
        ["held-out rows", "none"],
        ["choice of these", "each seed's own"],
        ["seeds of the runs", "seeds 4 to 5"],
    ]
    # Kernel 12 · 16, shift 16, V 16 · 12 and ten parameters of the combinator for each of 16.
    assert page.table("Layers, ")[2] == ["1", "dense:16", "16", "560", "1", "0.3", "gaussian"]
    made = dict(page.table("What the run was made with"))
    assert (made["jax"], made["device"]) == (result["versions"]["jax"], result["device"])
    hours = f"{result['wall_seconds'] / 3600:.2f} hours"
    assert made["wall time"] == f"{result['wall_seconds']} seconds ({hours})"
    assert "The paper has no number for blobs." in page.text


def test_several_seeds_by_hand_and_one_of_them_diverged(tmp_path):
    page = report(write_run(tmp_path, seeds=3))
    assert page.big == ["1.50 ± 0.70 %", "1.06 ± 0.37 %"]
    assert "mean ± standard deviation (n − 1) of 3 runs" in page.text
    assert "abc123, with changes that are in no commit" in page.text
    rows = page.table("Test error in %, seed")
    assert rows[3] == ["3", "2.30", "1.90", "2.30"]
    assert rows[4] == ["mean ± std", "1.50 ± 0.70", "1.60 ± 0.30", "2.10 ± 0.17"]
    assert "One seed" not in page.text
    page = report(write_run(tmp_path, seeds=3, diverged={2: "diverged in epoch 3, step <4>"}))
    assert page.big[0] == "1.65 ± 0.92 %"  # of 1 and 2.3: 1.3/√2
    rows = page.table("Test error in %, seed by seed; 1 diverged and in no average")
    assert rows[2] == ["2", "diverged in epoch 3, step <4>"]


def test_the_paper_stands_only_beside_its_own_settings(tmp_path):
    page = report(write_run(tmp_path / "same"))
    assert page.text.startswith("Full ladder on mnist, 100 labelsMLP 784-1000-500-250-250-250-10")
    assert page.big == ["1.00 %", "1.06 ± 0.37 %"]
    assert "One seed is no comparison." in page.text
    others = {
        "epochs 3 (paper: 150)": {"epochs": 3},
        "input_noise 0.5 (paper: 0.3)": {"config": {"input_noise": 0.5}},
        "labels 200 (paper: 100)": {"labels": 200},
        "rows 20 (paper: 60000)": {"data": {"rows": 20}},
        "split the caller's choice (paper: by the data seed)": {"data": {"split": "0123"}},
        "data_seed 7 (paper: each seed's own)": {"data_seed": 7, "seeds": 2},
    }
    for text, changes in others.items():
        page = report(write_run(tmp_path / "other", **changes))
        assert len(page.big) == 1
        assert f"nearest row, mnist-ladder-100, differ: {text}." in page.text
    page = report(write_run(tmp_path / "digits", lj.presets.get("digits-gamma-50")))
    assert page.text.startswith("Γ-model on digits")
    assert "The paper has no number for digits." in page.text
    assert "settings" not in page.text.split("Which statistics")[0]


def test_the_comparable_number_is_by_the_labelled_statistics(tmp_path):
    page = report(write_run(tmp_path, statistics="running"))
    assert page.big == ["1.00 %", "1.06 ± 0.37 %"]
    assert "The run itself reports 2.00 %, by the running statistics." in page.text
    rows = page.table("The same trained network")
    names = ["labelled comparable with the paper", "unlabelled", "running reported"]
    assert [row[0] for row in rows[1:]] == names
    assert [row[1] for row in rows] == ["test error %", "1.00", "1.30", "2.00"]
    changed = [row[:3] for row in page.table("Settings") if row[2].startswith("changed")]
    assert changed == [["statistics", "running", "changed from labelled"]]


def test_a_run_with_other_settings_is_not_called_comparable(tmp_path):
    page = report(write_run(tmp_path, epochs=1))
    assert "Not the paper's settings" in page.text and "comparable with the paper" not in page.text


def test_held_out_rows_leave_the_test_set_alone(tmp_path):
    page = report(write_run(tmp_path, epochs=2, validation=10_000))
    assert page.big == ["1.00 %"]
    assert "validation error, by the labelled statistics" in page.text
    assert "10000 rows were held out" in page.text
    facts = dict(page.table("What the network was trained on"))
    assert (facts["training rows"], facts["held-out rows"]) == ("50,000", "10,000")
    assert "The test set was not touched." in page.text
    assert "test error" not in page.text.lower()
    assert "comparable with the paper" not in page.text
    assert len(page.all("svg")) == 2


def test_unfinished_runs_say_how_to_go_on(tmp_path):
    folder = write_run(tmp_path / "a b", ended=False, done=37, seeds=2, validation=1000)
    page = report(folder)
    assert page.table("How far it is")[2] == ["2", "37 of 150", "2.703", "0.5405"]
    assert not page.big
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text("".join(lines[:37]) + lines[37][:20])
    assert "Not begun: 1 of 2 seeds." in report(folder).text
    page = report(write_run(tmp_path / "whole", ended=False))
    assert "is trained, but not yet evaluated" in page.text
    page = report(write_run(tmp_path / "none", ended=False, done=0))
    assert "No epoch has ended yet." in page.text
    assert not page.all("svg")


def test_what_comes_from_files_is_only_text(tmp_path):
    evil = "</title></style><script>alert('1')</script>\"& \ud800\x00"
    folder = write_run(tmp_path / "<script>x<", data={"name": evil, "sha256": evil}, done=1)
    result = json.loads((folder / "result.json").read_text())
    result |= {"device": evil, "versions": {evil: evil, "git_commit": evil}}
    (folder / "result.json").write_text(json.dumps(result))
    page = report(folder)
    assert page.text.count("<script>alert('1')</script>") >= 8
    assert "folder <script>x<" in page.text


def test_figures_are_embedded_in_order_byte_by_byte(tmp_path):
    write_run(tmp_path, done=2)
    assert "python experiments/plot.py RUN" in report(tmp_path).text
    (tmp_path / "figures").mkdir()
    stems = ["learning_curves", "denoising_functions", "confusion", "mistakes", 'z" new="<1>']
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 30, 20)
    images = {stem: start + stem.encode() + bytes(range(256)) for stem in stems}
    for stem, content in (images | {"half": start[:10]}).items():
        (tmp_path / "figures" / f"{stem}.png").write_bytes(content)
    page = report(tmp_path)
    found = page.all("img")
    names = [plots.CAPTIONS.get(stem, stem) for stem in stems]
    assert [image["alt"] for image in found] == names
    for image, stem in zip(found, stems, strict=True):
        kind, content = image["src"].split(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(content, validate=True) == images[stem]
        assert (image["width"], image["height"]) == ("30", "20")
    assert "plot.py" not in page.text
    assert "figures/half.png is no PNG image" in page.text


def test_curve_by_hand(tmp_path):
    """Ticks 0…4 over 165 units from y = 190 up, the epochs over 300 from x = 50 on."""
    page = report(write_run(tmp_path, done=2, seeds=2, costs=[4, 2]))
    assert [line["points"] for line in page.all("polyline")] == ["50.0,25.0 350.0,107.5"] * 2
    ids = [found.get("id") for found in page.root.iter()]
    assert [ids.count(own) for own in page.all("svg")[0]["aria-labelledby"].split()] == [1, 1]
    assert "from 4 to 2 in epoch 2" in page.text
    # Over 20 times as large: decades, here 1…100.
    page = report(write_run(tmp_path / "log", done=3, costs=[100, 10, 1]))
    assert page.all("polyline") == [{"points": "50.0,25.0 200.0,107.5 350.0,190.0"}]
    page = report(write_run(tmp_path / "one", done=1, costs=[0]))
    assert page.all("circle")[0]["cx"] == "50.0"


DAMAGE = {
    "config.json": ["{", "[]", "null", '{"model": {}}', '{"model": 1, "training": 2}'],
    "result.json": ["{", "[1]", '{"runs": 1}', '{"runs": [{}]}', '{"versions": []}'],
    "metrics.jsonl": ["[]\n", '{"seed": 1, "epoch": 2}\n', "{\n"],
    "label_indices.json": ["[", '{"a": []}', '{"1": 2}'],
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_files_end_in_one_line(tmp_path, name):
    for content in DAMAGE[name]:
        (write_run(tmp_path, done=1) / name).write_text(content)
        with pytest.raises(lj.RunError, match=name) as error:
            write_report(tmp_path)
        assert "\n" not in str(error.value)
        assert not (tmp_path / "report.html").exists()
    with pytest.raises(lj.RunError, match="absent: no such run folder"):
        write_report(tmp_path / "absent")


def test_page_that_cannot_be_written(tmp_path):
    (write_run(tmp_path) / "report.html").mkdir()
    with pytest.raises(lj.RunError, match=r"report\.html: cannot be written \(Is a directory\)$"):
        write_report(tmp_path)
