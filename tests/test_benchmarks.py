"""The benchmarks' own arithmetic; their times are nobody's test."""

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import ladder_jax as lj

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def benchmarks(monkeypatch):
    """Imports a file of ``benchmarks/`` by its name."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module


SMALL = """
import dataclasses
import ladder_jax as lj

def small(name, get=lj.presets.get):
    weights = (1, 1, 1) if "ladder" in name else (0, 0, 0)
    config = lj.LadderConfig(("dense:16", "dense:10"), weights, input_shape=(784,))
    return dataclasses.replace(get(name), config=config)

lj.presets.get = small
"""  # as sitecustomize.py, so that it also holds in the processes that a benchmark starts


@pytest.fixture(params=["small", pytest.param("real", marks=pytest.mark.slow)])
def run_benchmark(request, tmp_path):
    """Runs a benchmark, of a small net or of the model's own, and returns what it prints."""

    def run(name, *words):
        command = [f"benchmarks/{name}.py", *words]
        own = dict(os.environ)
        if request.param == "real":  # in its time too as a user has it
            own.pop("XLA_FLAGS", None)
        else:
            (tmp_path / "sitecustomize.py").write_text(SMALL)
            own["PYTHONPATH"] = os.pathsep.join([str(tmp_path), str(ROOT)])
        done = subprocess.run(
            [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, env=own
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    run.small = request.param == "small"
    return run


@pytest.mark.parametrize(
    ("model", "gflop"),
    [("ladder", 3.217), ("bottom", 2.452), ("gamma", 2.295), ("baseline", 0.765)],
)
def test_floor_counts_the_products_of_a_step(benchmarks, model, gflop):
    """By hand for the ladder: (2·300 + 300·3)·784·1000 + … = 3.217 GFLOP."""
    products = benchmarks("step").products_of_step(lj.presets.get(f"mnist-{model}-100").config, 100)
    assert sum(product.operations for product in products) / 1e9 == pytest.approx(gflop, abs=5e-4)


def test_step_benchmark_prints_its_contract(run_benchmark):
    report = run_benchmark("step", "--model=baseline", "--blocks=5", "--profile")
    assert {"model", "step_ms", "floor_ms", "floor_gflop", "ratio"} <= set(report)
    assert report["ratio"] == pytest.approx(report["step_ms"] / report["floor_ms"], rel=1e-2)
    profile = {row["kind"]: row for row in report["profile"]}
    assert {"products", "Adam", "random numbers", "sums"} <= set(profile)
    layers = 2 if run_benchmark.small else 6  # a forward product, two gradients, at the input one
    assert profile["products"]["operations"] == 3 * layers - 1


def test_growth_varies_one_thing_at_a_time(benchmarks):
    """Parameters by hand: W and V, β, γ and ten of the combinator per unit."""
    growth = benchmarks("growth")
    preset = lj.presets.get("mnist-ladder-100")
    curves = growth.curves(preset.config, preset.train_config)
    counted = {
        name: {case.value: sum(lj.parameter_counts(case.config)) for case in cases}
        for name, cases in curves.items()
    }
    whole = 2 * 1_536_500 + 2260 + 10 + 10 * (784 + 2260)
    assert counted["depth"][2] == 2 * 261_000 + 510 + 10 + 10 * (784 + 510)
    assert counted["depth"][8] - counted["depth"][7] == 2 * 250**2 + 250 + 10 * 250
    assert counted["width"][0.5] == 2 * 580_750 + 1135 + 10 + 10 * (784 + 1135)
    assert counted["width"][1] == whole
    assert set(counted["batch"].values()) == set(counted["set"].values()) == {whole}
    assert [growth.gflop(case) / 3.217 for case in curves["batch"]] == pytest.approx(
        [0.5, 1, 2, 4], rel=1e-3
    )
    assert curves["depth"][1].config.denoising_weights == (1000, 10, 0.1, 0.1, 0.1)


def test_growth_measures_and_draws(benchmarks):
    growth = benchmarks("growth")
    config = lj.LadderConfig((16, 4), (0, 0, 0), input_shape=(12,))  # compiled soonest
    train_config = lj.TrainConfig(labels=4, batch_size=10, labelled_batch_size=4)
    found = growth.measure([growth.Case(0.5, config, train_config)], blocks=1, steps=2)
    (case,) = found
    assert (case["value"], case["parameters"]) == (0.5, 256 + 20 + 4)  # W, β and γ of 12-16-4
    assert case["step_ms"] > 0
    figure = growth.draw(dict.fromkeys(growth.PANELS, found))
    labels = [axes.get_xlabel() for axes in figure.axes]
    assert labels == [
        "hidden units, × the paper's",
        "hidden layers of 250 units",
        "rows in each half of a batch",
        "unlabelled rows",
    ]
    (line,) = figure.axes[0].lines
    assert line.get_xydata().tolist() == [[0.5, case["step_ms"]]]


def test_chunk_is_that_of_a_run(benchmarks, tiny_config):
    """Of nine steps in an epoch and four at most, the longest divisor: three."""
    chunks = benchmarks("chunks")
    train_config = lj.TrainConfig(labels=4, batch_size=10, labelled_batch_size=4)
    data = chunks.random_data((12,), 90, 4)
    assert chunks.chunk_of_run(tiny_config, train_config, data, 4).steps == 3


def test_difference_between_implementations(benchmarks):
    largest = benchmarks("agreement").largest_difference
    ours = {"total": np.array(2.0), "W": np.array([4.0, -8.0])}
    assert largest(ours, ours) == (0, "total")
    assert largest(ours, ours | {"W": np.array([4.0, -7.0])}) == (1 / 8, "W")
    assert largest(ours, ours | {"W": np.array([4.0, np.nan])}) == (np.inf, "W")
    assert largest(ours, {"total": ours["total"]}) == (np.inf, "W")


def test_check_sees_every_parameter(benchmarks, tiny_config):
    """At the start values, V would get no gradient and a mistake in it would go unseen."""
    problem = benchmarks("agreement").make_problem(tiny_config, 6)
    assert {"total", "encoder/layer_1/kernel", "decoder/layer_2/kernel"} <= set(problem.expected)
    assert all(np.abs(value).max() > 1e-6 for value in problem.expected.values())


def test_peer_benchmark_without_torch():
    hide = "import runpy, sys; sys.modules['torch'] = None; sys.path.insert(0, 'benchmarks')"
    code = (
        f"{hide}; sys.argv[1:] = []; runpy.run_path('benchmarks/peer_torch.py', None, '__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    report = json.loads(done.stdout)
    assert set(report) == {"skipped"} and "pip install torch" in report["skipped"]


def test_peer_benchmark_prints_its_contract(run_benchmark):
    pytest.importorskip("torch")
    report = run_benchmark("peer_torch", "--steps=3", "--blocks=5")
    assert max(report["differences"].values()) < 2e-5
    assert report["speedup_eager"] == pytest.approx(
        report["torch_eager_ms"] / report["ladder_jax_ms"], rel=1e-2
    )
    assert (report["torch_compiled_ms"] is None) == (report["compile_error"] is not None)
    products = min(report["jax_products_ms"], report["torch_products_ms"])
    assert report["speedup_possible"] == pytest.approx(
        report["torch_eager_ms"] / products, rel=1e-2
    )
    assert len(report["blocks"]) == 5 and "torch" in report["versions"]


@pytest.mark.slow
@pytest.mark.parametrize("run_benchmark", ["real"], indirect=True)
def test_growth_benchmark_prints_its_contract(run_benchmark, tmp_path):
    picture = tmp_path / "growth.png"
    report = run_benchmark(
        "growth", "--model=baseline", "--steps=2", "--blocks=5", f"--plot={picture}"
    )
    assert [case["value"] for case in report["width"]] == [0.25, 0.5, 1, 2]
    assert [case["value"] for case in report["depth"]] == [2, 3, 4, 5, 6, 7, 8]
    assert [case["value"] for case in report["batch"]] == [50, 100, 200, 400]
    assert [case["value"] for case in report["set"]] == [10_000, 60_000, 240_000]
    assert {"device", "versions"} <= set(report)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_startup_benchmark_prints_its_contract(run_benchmark, mnist_dir):
    words = [f"--started={time.time()}"] if run_benchmark.small else []  # else in a second process
    report = run_benchmark("startup", f"--data_dir={mnist_dir}", *words)
    own = {"first_step_seconds", "peak_memory_mb", "device", "versions"}
    assert {name for name in report if not name.startswith("fit_")} == own
    assert report["first_step_seconds"] > 0 and report["peak_memory_mb"] > 100


def test_startup_benchmark_fits_twice(run_benchmark):
    report = run_benchmark("startup", "--fit")
    assert report["fit_20_steps_programs"] > 0 == report["fit_200_steps_programs"]
    assert report["fit_20_steps_seconds"] > report["fit_20_steps_compile_seconds"] > 0
    assert report["fit_200_steps_seconds"] > report["fit_200_steps_compile_seconds"] == 0


def test_tables_have_a_row_for_each_object(benchmarks):
    step = {"model": "ladder", "step_ms": 2.5, "blocks": [[1, 2]], "versions": {}}
    seeds = {"model": "ladder", "at_once": [{"seeds": 1, "ms": 3}, {"seeds": 2, "ms": 5}]}
    text = benchmarks("as_table").tables([json.dumps(step), "\n", json.dumps(seeds)])
    assert text.split("\n") == [
        *("| model | step_ms |", "|---|---|", "| ladder | 2.5 |", ""),
        *("| model |  | seeds | ms |", "|---|---|---|---|"),
        *("| ladder | at_once | 1 | 3 |", "| ladder | at_once | 2 | 5 |"),
    ]


def test_seeds_benchmark_prints_its_contract(run_benchmark):
    words = ("--model=baseline", "--seeds=1,2", "--blocks=5", "--steps=2")
    one, two = run_benchmark("seeds", *words)["at_once"]
    assert (one["seeds"], two["seeds"], two["devices"]) == (1, 2, 1)
    for found in (one, two):
        assert found["step_ms_per_seed"] == pytest.approx(
            found["step_ms"] / found["seeds"], abs=1e-2
        )
        hours = found["step_ms"] * 150 * 600 / 3.6e6
        assert found["runs_per_hour"] == pytest.approx(found["seeds"] / hours, rel=1e-2)


def test_scaling_benchmark_prints_its_contract(run_benchmark):
    report = run_benchmark("scaling", "--model=baseline", "--devices=1,2", "--steps=2")
    assert [(own["devices"], own["parallel"]) for own in report["layouts"]] == [
        *((1, "jit"), (1, "pmap"), (2, "jit"), (2, "pmap"))
    ]
    assert report["layouts"][0]["times_one_device"] == 1
    assert report["device"].startswith("2 x")


@pytest.mark.slow
@pytest.mark.parametrize("run_benchmark", ["small"], indirect=True)
def test_accelerator_benchmark_runs_all_its_parts(run_benchmark, mnist_dir):
    words = f"--data_dir={mnist_dir}", "--models=baseline", "--budget=3600", "--limit=3600"
    report = run_benchmark("accelerator", *words)  # that much time, since slow machines pass too
    assert not {"errors", "left_out"} & set(report)
    assert list(report)[1:3] == ["repeats_default", "repeats_deterministic"]  # the device is free
    assert report["repeats_default"]["same_bits"] and "note" in report["repeats_default"]
    assert "note" in report["repeats_no_autotuning"]
    assert report["agreement"] == {"costs": 0, "gradient": 0}  # the CPU with itself
    assert 0 < report["run_of_10_seeds"]["test_error_percent"] < 100
    assert list(report["step_ms_by_precision"]) == ["float32", "tensorfloat32", "bfloat16"]
    assert [own["seeds"] for own in report["seeds"]] == [1, 2, 5, 10, 20]
    assert report["step_ms_baseline"] > 0


ACCELERATOR = """
import sys, time, types
sys.path.insert(0, "benchmarks")
import jax
from absl import app
import accelerator
from accelerator import lj, repeats

lj.data.load = lambda *words, **more: None
lines = [dict(seed=s, epoch=e, seconds=t) for s in (1, 2) for e, t in enumerate((9, 2, 4), 1)]
result = types.SimpleNamespace(metrics=lines, test_error_percent=[1, 1])
lj.train_and_evaluate = lambda *words, **more: result
accelerator.step_time = lambda model: (model, jax.config.jax_default_matmul_precision)
repeats.measure = lambda *words: words[-1]
accelerator._FEWEST_SECONDS = 0
accelerator.parts = lambda left: {
    "run": lambda: accelerator.real_run(2),
    "precisions": accelerator.step_times_by_precision,
    "timeouts": lambda: [accelerator.repeated("default", lambda: s) for s in (500, 5.1)],
    "bug": lambda: 1 / 0,
    "child": lambda: {"error": "the child's"},
    "lasts": lambda: time.sleep(60),
    "later": lambda: 1,
}
app.run(accelerator.main)
"""


def test_accelerator_benchmark_reports_failures_and_ends_at_its_limit():
    own = [sys.executable, "-c", ACCELERATOR, "--limit=2"]
    done = subprocess.run(own, cwd=ROOT, capture_output=True, text=True, timeout=50)
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert report["run"]["seconds_per_epoch"] == 4  # two seeds' second epochs
    assert report["run"]["minutes_of_a_table_run"] == 4 * 150 / 60
    names = ("float32", "tensorfloat32", "bfloat16")
    assert report["precisions"] == {name: ["ladder", name] for name in names}
    # A tenth of the limit for each of two processes, or half of what is left but 5 s for ending.
    assert report["timeouts"] == pytest.approx([0.2, 0.05])
    assert report["errors"] == {
        "bug": "ZeroDivisionError: division by zero",
        "child": "the child's",
        "lasts": "not finished after 2 s in all",
    }
    assert report["left_out"] == ["later"]


def test_repeats_compares_two_processes_bit_for_bit(benchmarks, monkeypatch):
    repeats = benchmarks("repeats")
    params = {"a": np.ones((2, 3), np.float32), "b": np.zeros(4)}
    digest = repeats.digest(params)
    for name, value in params.items():
        other = value.copy()
        other.flat[-1] = np.nextafter(other.flat[-1], 2, dtype=value.dtype)
        assert repeats.digest(params | {name: other}) != digest
    cpu = {"platform": "cpu"}
    told, gpu = (
        [],
        [{"step_ms": ms, "digest": d, "platform": "gpu"} for ms, d in ((3, "x"), (2, "y"))],
    )
    found = iter([*gpu, *(own | cpu for own in gpu), {"error": "e"}])
    monkeypatch.setattr(repeats, "in_a_process", lambda *words: told.append(words) or next(found))
    report = repeats.measure("deterministic", "gamma", 7, 5)
    assert report == {"step_ms": [3, 2], "same_bits": False, "digest": "x"}
    words = ["--model=gamma", "--chunk=7", "--blocks=5"]
    assert told == [("--xla_gpu_deterministic_ops=true", words, None)] * 2
    assert "CPU" in repeats.measure("default", "gamma", 7, 5)["note"]
    assert repeats.measure("default", "gamma", 7, 5, 9) == {"error": "e"}
    assert told[-1] == ("", words, 9) and len(told) == 5  # no second process after an error


def test_repeats_kills_a_process_that_lasts(benchmarks):
    assert benchmarks("repeats").in_a_process("", [], 0.1) == {"error": "not finished after 0 s"}


@pytest.mark.slow
def test_repeats_on_a_cpu_has_the_same_bits(benchmarks):
    repeats = benchmarks("repeats")
    report = repeats.measure("no_command_buffers", "baseline", 2, 5)
    assert report["same_bits"] and min(report["step_ms"]) > 0
    assert "--xla_nonsense" in repeats.in_a_process("--xla_nonsense=1", [])["error"]


@pytest.mark.slow
@pytest.mark.parametrize("run_benchmark", ["real"], indirect=True)
def test_checkpoint_benchmark_relates_a_save_to_training(run_benchmark):
    report = run_benchmark("checkpoint", "--model=baseline", "--steps=20", "--blocks=2")
    share = 100 * report["save_seconds"] / report["interval_seconds"]
    assert report["overhead_percent"] == pytest.approx(share, abs=0.6)
    assert report["megabytes"] > 12  # 1.5 million parameters and two moments of each, compressed
