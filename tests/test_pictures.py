"""What a command leaves in its run folder beside the numbers."""

import importlib.util
import json

import pytest
from test_cli import command  # noqa: F401 - a fixture

WORDS = ("--epochs=1", "--model=gamma", "--layers=16,10", "--workdir=run", "--report")


def test_pictures_and_report(command, tmp_path):  # noqa: F811
    status, out, _ = command("digits", *WORDS)
    assert status == 0
    assert "report: run/report.html" in out
    names = {path.stem for path in (tmp_path / "run/figures").glob("*.png")}
    assert {"denoising_costs", "denoising_functions", "confusion", "mistakes"} <= names
    page = (tmp_path / "run/report.html").read_text()
    assert page.count("data:image/png;base64,") == len(names)
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert f"{result['test_error_percent']:.2f}" in page


@pytest.mark.slow
def test_report_without_matplotlib(command, monkeypatch, tmp_path):  # noqa: F811
    find = importlib.util.find_spec
    hidden = lambda name, *rest: None if name == "matplotlib" else find(name, *rest)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", hidden)
    assert command("digits", *WORDS)[0] == 0
    assert not (tmp_path / "run/figures").exists()
    assert "pip install matplotlib" in (tmp_path / "run/report.html").read_text()


def test_a_failing_picture_is_a_warning(command, monkeypatch, tmp_path):  # noqa: F811
    import ladder_jax as lj

    def full(*_):
        raise lj.RunError("figures: no room")

    monkeypatch.setattr(lj.plots, "write_figures", full)
    status, out, err = command("digits", *WORDS, "--quiet")
    assert status == 0
    assert "test error" in out
    assert err == "warning: pictures are missing: figures: no room\n"
    assert (tmp_path / "run/report.html").exists()


@pytest.mark.slow
def test_none_if_not_wanted(command, tmp_path):  # noqa: F811
    assert command("digits", *WORDS[:-1], "--noreport")[0] == 0
    assert not (tmp_path / "run/report.html").exists()
