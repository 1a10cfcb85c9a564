"""A real run on digits, killed at random moments: it ends bit for bit like an undisturbed one."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

DIGITS = Path(__file__).resolve().parent.parent / "experiments" / "digits.py"
WORDS = (
    *("--layers=dense:32,dense:10", "--denoising_weights=100,1,0.1", "--statistics=running"),
    *("--epochs=100", "--checkpoint_every=2", "--validation=200", "--quiet", "--noreport"),
)
# Seconds from a signal to the end: on a busy machine, and it may come while the step is compiled.
PROMPT = 90
# Saved and left; or ended by the signal itself, before there was anything to save.
STATUS = {signal.SIGKILL: {-9}, signal.SIGTERM: {143, -15}, signal.SIGINT: {130}}
# Seconds that Python needs to get to our first line; until then Ctrl-C is its own affair.
PYTHON = 0.5
NOTICE = "stopping after the current steps; once more to stop at once"


def start(folder, words=()):
    return subprocess.Popen(
        [sys.executable, DIGITS, *WORDS, *words, f"--workdir={folder}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_to_its_end(folder, words=()):
    with start(folder, words) as process:
        _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "Traceback" not in err


def what_it_left(folder):
    """All that must be the same: metrics but for the seconds, errors, weights, labelled rows."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    metrics = [json.loads(line) for line in lines]
    for line in metrics:
        del line["seconds"]
    errors = json.loads((folder / "result.json").read_text())["runs"]
    binary = [(folder / name).read_bytes() for name in ("weights.msgpack", "label_indices.json")]
    return metrics, errors, binary


def kill_at_a_random_moment(folder, number, moment, words):
    """Whether it came in time: a run may end before."""
    with start(folder, words) as process:
        try:
            _, err = process.communicate(timeout=moment)
            assert (process.returncode, err) == (0, "")
            return False
        except subprocess.TimeoutExpired:
            process.send_signal(number)
        sent = time.monotonic()
        _, err = process.communicate(timeout=120)
    took = time.monotonic() - sent
    assert took < PROMPT
    assert "Traceback" not in err
    saved_all = (folder / "result.json").exists()
    if process.returncode == 0 or (saved_all and process.returncode == -number):
        return False  # it was about to end; Python takes our handlers off as it leaves
    assert process.returncode in STATUS[number], err
    # Saved, or nothing was begun yet.
    assert "run again to go on" in err or not err.replace(NOTICE, "").strip()
    return True


def check_kills(tmp_path, kills, seed, words=(), longest_gap=4):
    chance = random.Random(seed)
    started = time.monotonic()
    run_to_its_end(tmp_path / "whole", words)
    seconds = time.monotonic() - started
    want, runs, in_this_one = what_it_left(tmp_path / "whole"), 0, 0
    while kills:
        folder = tmp_path / f"cut{runs}"
        number = chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
        if kill_at_a_random_moment(folder, number, chance.uniform(PYTHON, seconds), words):
            kills, in_this_one = kills - 1, in_this_one + 1
        if (folder / "result.json").exists() or not kills or in_this_one == longest_gap:
            run_to_its_end(folder, words)
            assert what_it_left(folder) == want, f"{folder}, seed {seed}"
            runs, in_this_one = runs + 1, 0


@pytest.mark.slow
def test_run_killed_three_times_ends_as_if_undisturbed(tmp_path):
    check_kills(tmp_path, 3, seed=1)


@pytest.mark.slow
def test_run_killed_twenty_times_ends_as_if_undisturbed(tmp_path):
    check_kills(tmp_path, 20, seed=time.time_ns())


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["sequential", "vmap"])
def test_killed_run_of_two_seeds_ends_as_if_undisturbed(tmp_path, mode):
    words = ("--num_seeds=2", f"--seed_mode={mode}", "--epochs=60")
    check_kills(tmp_path, 4, seed=time.time_ns(), words=words)


@pytest.mark.soak
def test_run_killed_very_often_ends_as_if_undisturbed(tmp_path):
    check_kills(tmp_path, int(os.environ.get("KILLS", "200")), seed=time.time_ns())
