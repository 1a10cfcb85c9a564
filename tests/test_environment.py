"""What a result says of the code that made it."""

import subprocess

import pytest

from ladder_jax.storage import environment


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository with the library's layout, of which `environment` takes itself to be part."""
    for name in (
        "ladder_jax/storage/environment.py",
        "experiments/tables.py",
        "results/ledger.jsonl",
    ):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("first\n")
    who = ("-c", "user.name=n", "-c", "user.email=e")
    for words in (("init",), ("add", "."), (*who, "commit", "--message=first")):
        subprocess.run(["git", *words], cwd=tmp_path, check=True, capture_output=True)
    monkeypatch.setattr(
        environment, "__file__", str(tmp_path / "ladder_jax/storage/environment.py")
    )
    return tmp_path


@pytest.mark.parametrize(
    ("file", "dirty"),
    [
        ("results/ledger.jsonl", False),
        ("train.log", False),
        ("runs/mine/config.json", False),
        ("experiments/tables.py", True),
        ("ladder_jax/storage/environment.py", True),
        ("ladder_jax/new.py", True),
    ],
)
def test_which_files_are_a_change_of_the_code(checkout, file, dirty):
    assert environment.versions()["git_dirty"] is False
    (checkout / file).parent.mkdir(parents=True, exist_ok=True)
    (checkout / file).write_text("second\n")
    found = environment.versions()
    assert found["git_dirty"] is dirty
    assert len(found["git_commit"]) == 40
