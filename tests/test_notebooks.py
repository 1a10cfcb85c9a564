"""The notebooks run, are kept without outputs, and use nothing but the public interface."""

import ast
import importlib
import json
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

import ladder_jax as lj

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("[0-9]_*.ipynb"))

TINY = {
    "1_quickstart": {"EPOCHS": "2"},
    "2_ablations": {
        **{"EPOCHS": "1", "SEEDS": "2", "HELD_OUT": "100", "NOISE": "(0.3, 0.6)"},
        **{"LABELS": "(20, 50)", "COMBINATORS": '("gaussian", "linear")'},
    },
    "3_own_data": {"STEPS": "32", "SEEDS": "1", "CNN_STEPS": "5"},
    "4_evaluation_statistics": {
        **{"EPOCHS": "2", "BATCH_SIZES": "(1, 10, 500)", "SHUFFLES": "2"},
        **{"LENGTHS": "(1, 2)", "SEEDS": "2"},
    },
}
PICTURES = {
    "1_quickstart": 3,
    "2_ablations": 5,
    "3_own_data": 1,
    "4_evaluation_statistics": 3,
}
QUICK = ("1_quickstart",)
PACKAGES = {"flax", "jax", "matplotlib", "numpy", "optax", "sklearn"}
SUBMODULES = ("data", "presets")  # of the library, the only ones that a notebook may name

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@pytest.fixture
def clean(monkeypatch):
    """The function of ``notebooks/clean.py``."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("clean").cleaned


def cells(path):
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def code(path):
    return "\n".join("".join(cell["source"]) for cell in cells(path) if cell["cell_type"] == "code")


def with_parameters(source, values):
    """The parameter cell with other values; each has to be there, once."""
    for name, value in values.items():
        source, count = re.subn(rf"(?m)^{name} = [^#\n]*", f"{name} = {value}  ", source)
        assert count == 1, f"{name} is assigned {count} times"
    return source


def execute(path, folder):
    """Runs a notebook with tiny settings in a fresh kernel; its cells with their outputs."""
    nbformat = pytest.importorskip("nbformat", reason="notebooks need nbformat")
    nbclient = pytest.importorskip("nbclient", reason="notebooks need nbclient")
    pytest.importorskip("ipykernel", reason="notebooks need ipykernel")
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    (parameters,) = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", ()))
    parameters.source = with_parameters(parameters.source, TINY[path.stem])
    resources = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(
        notebook, timeout=1800, kernel_name="python3", resources=resources
    ).execute()
    return notebook.cells


@pytest.fixture
def kernel_environment(monkeypatch, tmp_path):
    """Kernels compile quickly, and neither read nor write the user's Jupyter settings."""
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=0")
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=() if path.stem in QUICK else pytest.mark.slow)
        for path in NOTEBOOKS
    ],
)
def test_it_runs(path, kernel_environment):
    """With tiny settings, from the first cell to the last, without a warning."""
    outputs = [
        output
        for cell in execute(path, kernel_environment)
        if cell.cell_type == "code"
        for output in cell.outputs
    ]
    texts = [output.text for output in outputs if output.output_type == "stream"]
    assert not [text for text in texts if "Warning" in text or "Error" in text]
    assert not list(kernel_environment.iterdir())  # what it writes goes into temporary folders
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == PICTURES[path.stem]


def test_all_are_known():
    assert [path.stem for path in NOTEBOOKS] == list(TINY) == list(PICTURES)


@every_notebook
def test_it_is_kept_without_outputs(path, clean):
    text = path.read_text(encoding="utf-8")
    assert text == clean(text), "run: python notebooks/clean.py"
    assert len({cell["id"] for cell in cells(path)}) == len(cells(path))


def test_cleaning_removes_what_running_adds(clean):
    text = NOTEBOOKS[0].read_text(encoding="utf-8")
    notebook = json.loads(text)
    notebook["metadata"] |= {"widgets": {}, "language_info": {"name": "python", "version": "3"}}
    for cell in notebook["cells"]:
        cell["metadata"] |= {"collapsed": True}
        cell["source"] = "".join(cell["source"])
        if cell["cell_type"] == "code":
            cell["execution_count"] = 7
            cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["7\n"]}]
    assert clean(json.dumps(notebook)) == text


def test_cleaning_only_writes_what_is_not_clean(clean, monkeypatch, tmp_path, capsys):
    module = importlib.import_module("clean")
    monkeypatch.setattr(module, "__file__", str(tmp_path / "clean.py"))
    text = NOTEBOOKS[0].read_text(encoding="utf-8")
    (tmp_path / "1_a.ipynb").write_text(text, encoding="utf-8")
    (tmp_path / "2_b.ipynb").write_text(text + "\n\n", encoding="utf-8")
    module.main()
    assert capsys.readouterr().out == "cleaned 2_b.ipynb\n"
    assert (tmp_path / "2_b.ipynb").read_text(encoding="utf-8") == text


@every_notebook
def test_first_cell_says_how_to_install_and_how_long_it_takes(path):
    first = "".join(cells(path)[0]["source"])
    assert re.match(rf"# {path.stem[0]}\. ", first)
    assert 'pip install -e ".[notebooks]"' in first
    assert f"notebooks/{path.name}" in first
    assert re.search(r"\*\*It takes\*\* [^\n]*minute", first)


@every_notebook
def test_it_names_files_that_exist(path):
    text = "".join("".join(cell["source"]) for cell in cells(path))
    for name in re.findall(r"(?:notebooks/)?\d_\w+\.ipynb", text):
        assert (FOLDER / Path(name).name).exists(), name
    for name in re.findall(r"python (\S+\.py)", text):
        assert (ROOT / name).exists(), name


@every_notebook
def test_it_imports_public_names_only(path):
    allowed = PACKAGES | sys.stdlib_module_names
    for node in ast.walk(ast.parse(code(path))):
        if isinstance(node, ast.ImportFrom):
            assert node.module.split(".")[0] in allowed, node.module
        elif isinstance(node, ast.Import):
            for name in node.names:
                if name.name == "ladder_jax":
                    assert name.asname == "lj"
                else:
                    assert name.name.split(".")[0] in allowed, name.name


@every_notebook
def test_names_of_the_library_are_public(path):
    for node in ast.walk(ast.parse(code(path))):
        if not isinstance(node, ast.Attribute):
            continue
        owner = ast.unparse(node.value)
        if owner == "lj":
            assert node.attr in lj.__all__
            is_module = isinstance(getattr(lj, node.attr), types.ModuleType)
            assert not is_module or node.attr in SUBMODULES
        elif owner == "lj.data":
            assert node.attr in lj.data.__all__
        assert not node.attr.startswith("_"), f"{owner}.{node.attr}"


@every_notebook
def test_it_has_no_absolute_path(path):
    text = "\n".join("".join(cell["source"]) for cell in cells(path))
    assert not re.findall(r"(?<![\w.)/])/(?:[a-z]\w*/|tmp|home|root)|~/|\b[A-Z]:\\", text)


@pytest.mark.parametrize("words", [("check",), ("format", "--check")], ids=lambda words: words[0])
def test_ruff_agrees(words):
    command = [sys.executable, "-m", "ruff", *words, str(FOLDER)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
