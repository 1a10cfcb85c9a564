"""The benchmarks' own arithmetic; their times are nobody's test."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import ladder_jax as lj

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(
    ("model", "gflop"),
    [("ladder", 3.217), ("bottom", 2.452), ("gamma", 2.295), ("baseline", 0.765)],
)
def test_floor_counts_the_products_of_a_step(monkeypatch, model, gflop):
    """By hand for the ladder: (2·300 + 300·3)·784·1000 + … = 3.217 GFLOP."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import step

    products = step.products_of_step(lj.presets.get(f"mnist-{model}-100").config, 100)
    assert sum(product.operations for product in products) / 1e9 == pytest.approx(gflop, abs=5e-4)


@pytest.mark.slow
def test_step_benchmark_prints_its_contract():
    words = [sys.executable, "benchmarks/step.py", "--model=baseline", "--blocks=5"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    assert {"model", "step_ms", "floor_ms", "floor_gflop", "ratio"} <= set(report)
    assert report["ratio"] == pytest.approx(report["step_ms"] / report["floor_ms"], rel=1e-2)


@pytest.mark.slow
def test_readme_examples_run(monkeypatch):
    """Every Python block of the README, with few epochs."""
    blocks = (ROOT / "README.md").read_text().split("```python\n")[1:]
    assert len(blocks) == 4
    for block in blocks:
        code = block.split("```")[0].replace("epochs=20", "epochs=1")
        exec(compile(code, "README.md", "exec"), {"__name__": "readme"})
