"""report.html: that what it says in words fits the run, and its curves as SVG."""

import dataclasses

import pytest
from report_pages import LADDER, report, text_of, write_run

import ladder_jax as lj


def preset(name):
    return lj.presets.get(name)


def test_every_setting_of_training_has_a_meaning(tmp_path):
    rows = {row[0]: row[1:] for row in report(write_run(tmp_path)).table("Settings")}
    for field in dataclasses.fields(lj.TrainConfig):
        assert rows[field.name][-1] != "see the layers"
    assert rows["steps_per_epoch"][:2] == ["a whole pass", "unchanged"]
    page = report(write_run(tmp_path / "short", steps_per_epoch=29))
    rows = {row[0]: row[1:] for row in page.table("Settings")}
    assert rows["steps_per_epoch"][:2] == ["29", "changed from a whole pass"]


def test_one_seed_is_told_what_the_paper_has(tmp_path):
    """Means over several runs only where they are, --num_seeds only where there is a command."""

    def note(name, **changes):
        return report(write_run(tmp_path / name, preset(name), **changes)).text

    means, flag = "the paper's numbers are means over 4 to 40 runs", "--num_seeds=10 gives"
    text = note("mnist-ladder-100")
    assert means in text and flag in text
    text = note("mnist-conv_small_baseline-all")
    assert "0.36 % the paper's test error of one run" in text
    assert means not in text and flag in text
    text = note("digits-ladder-50")
    assert means not in text and flag in text
    text = note("digits-ladder-50", data={"name": "own", "rows": 90})
    assert means not in text and flag not in text and "num_seeds=10 (in Python) gives" in text
    split = {"name": "rows", "split": "0123"}
    text = note("digits-ladder-50", data=split, labels="all", steps_per_epoch=5)
    assert "num_seeds" not in text.split("Which statistics")[0]
    assert "Fits with other values of random_state give mean and deviation." in text


def test_a_baseline_is_not_trained_on_rows_without_a_label(tmp_path):
    """Though its statistics may be measured over them, and they set the length of an epoch."""
    page = report(write_run(tmp_path / "baseline", preset("mnist-baseline-100")))
    assert "Rows without a label are not trained on." in page.text
    meanings = {row[0]: row[-1] for row in page.table("Settings")}
    assert "unlabelled" not in meanings["epochs"] + meanings["batch_size"]
    page = report(write_run(tmp_path / "ladder"))
    assert "not trained on" not in page.text
    meanings = {row[0]: row[-1] for row in page.table("Settings")}
    assert meanings["batch_size"] == "unlabelled rows in a step"


def test_the_baseline_of_cifar10_had_dropout(tmp_path):
    dropout = "The paper's baseline had dropout where this one has noise."
    for model in ("baseline", "gamma"):
        cifar10 = preset(f"cifar10-{model}-4000")
        run = write_run(tmp_path / model, cifar10, data={"rows": 50_000})
        assert (dropout in report(run).text) == (model == "baseline")


def test_the_choice_of_rows(tmp_path):
    choices = {
        "each seed's own": {"seeds": 2},
        "from data seed 7": {"data_seed": 7},
        "the caller's, fingerprint 0123": {"data": {"split": "0123"}, "labels": "all"},
    }
    for words, changes in choices.items():
        page = report(write_run(tmp_path / words[:4], **changes))
        assert dict(page.table("What the network was trained on"))["choice of these"] == words
    assert page.text.startswith("Full ladder on mnist, 100 labels of 60,000 rows")


def test_noise_of_each_layer(tmp_path):
    noise = (0.1, 0.2, 0.35, 0.4, 0.5, 0.6)
    page = report(write_run(tmp_path, config={"input_noise": 0.7, "hidden_noise": noise}))
    rows = page.table("Layers, ")
    at = rows[0].index("noise")
    assert [row[at] for row in rows[1:]] == ["0.7", "0.1", "0.2", "0.35", "0.4", "0.5", "0.6"]


def test_wall_time(tmp_path):
    made = dict(report(write_run(tmp_path)).table("What the run was made with"))
    assert made["wall time"] == "3600.0 seconds (1.00 hours)"


@pytest.mark.parametrize("seeds", [1, 2])
def test_ticks_of_a_curve_stand_at_their_values(tmp_path, seeds):
    """0…4 over 165 units from y = 190 up (text 4 lower), epochs 1…3 over 300 from x = 50 on."""
    page = report(write_run(tmp_path, LADDER, seeds=seeds, done=3, costs=[4, 3, 2]))
    (svg,) = page.root.iter("svg")
    texts = [(text_of(own), own.attrib["x"], own.attrib["y"]) for own in svg.iter("text")]
    left = [(str(i), "45", f"{194 - 165 * i / 4:.1f}") for i in range(5)]
    below = [("1", "50.0", "206"), ("2", "200.0", "206"), ("3", "350.0", "206")]
    assert texts == [*left, *below, ("total cost", "4", "12"), ("epoch", "200", "222")]
    about = "; ".join(["from 4 to 2 in epoch 3"] * seeds)
    start = "One line for each seed: " if seeds > 1 else "It goes "
    assert text_of(svg[1]) == f"{start}{about}."
    (folder := tmp_path / "figures").mkdir()
    image = b"\x89PNG\r\n\x1a\n" + bytes(16)
    (folder / "learning_curves.png").write_bytes(image[:9])  # is left out
    assert len(report(tmp_path).all("svg")) == 1
    (folder / "learning_curves.png").write_bytes(image)
    assert not report(tmp_path).all("svg")


def test_wide_pictures_scroll_in_a_box_of_their_own(tmp_path):
    (folder := write_run(tmp_path) / "figures").mkdir()
    (folder / "confusion.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(16))
    page = report(tmp_path)
    (box,) = page.root.findall(".//figure/div[@class='scroll']")
    assert [own.tag for own in box] == ["img"] and box.attrib["tabindex"] == "0"
    phones = page.source.split("@media screen and (max-width: 40rem)")[1].split("@media")[0]
    assert "figure img { max-width: none;" in phones
