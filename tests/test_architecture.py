"""House rules that a machine can hold: file sizes, a pure library."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = ROOT / "ladder_jax"


def imported(path):
    """Dotted names that a file imports, wherever in the file."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


FILES = sorted(LIBRARY.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(LIBRARY).as_posix())
def test_library_is_pure(path):
    """No flags, no prints; data handling needs no JAX."""
    tree = ast.parse(path.read_text())
    names = imported(path)
    assert not any(name.startswith(("absl.flags", "absl.app")) for name in names)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("print", "input", "eval", "exec"), f"{path}:{node.lineno}"
        assert not isinstance(node, ast.Global), f"{path}:{node.lineno}"
        if isinstance(node, ast.Attribute):
            assert ast.unparse(node) != "jax.config.update", f"{path}:{node.lineno}"
    if path.parent == LIBRARY / "data":
        assert not any(name.split(".")[0] in ("jax", "flax") for name in names)
    assert not any(name.startswith("pickle") for name in names)


@pytest.mark.parametrize("folder", ["ladder_jax", "experiments", "benchmarks", "tests"])
def test_files_are_small(folder):
    for path in (ROOT / folder).rglob("*.py"):
        lines = len(path.read_text().splitlines())
        assert lines <= 350, f"{path}: {lines} lines"


REFERENCE = sorted((ROOT / "tests").glob("reference_*.py"))


def test_reference_imports_numpy_only():
    """Beside NumPy its files import nothing but one another."""
    own = {path.stem for path in REFERENCE}
    assert own == {"reference_numpy", "reference_layers", "reference_combinators"}
    for path in REFERENCE:
        modules = {name.split(".")[0] for name in imported(path)}
        assert modules <= own | {"__future__", "numpy"}, path.name


def test_import_leaves_slow_and_optional_packages_alone():
    """Data, plots and TensorFlow packages are only loaded by what needs them."""
    names = ("tensorflow", "tensorflow_datasets", "sklearn", "matplotlib", "orbax", "tqdm")
    code = f"import sys, ladder_jax; print(*[n for n in {names} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.split() == []
