"""The documents: their commands parse, their Python runs, their links lead somewhere.

A block of commands or Python that is not tried has ``<!-- not run: reason -->`` above it.
"""

import configparser
import doctest
import importlib
import re
import runpy
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest

import ladder_jax as lj

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINKING = [*PAGES, *ROOT.glob("C*.md"), *sorted((ROOT / "results").glob("*.md"))]
LANGUAGES = {"python", "sh", "text", "bibtex", ""}
STAND_INS = {"MODEL": "baseline", "LABELS": "100", "SEED": "1"}
SMALL = {"epochs": 1, "steps": 20, "num_seeds": 1}
SMALL_FLAGS = {
    "digits": ["--epochs=1", "--seed_mode=sequential", "--noreport"],
    "arrays": ["--steps=20"],
}
NEEDS_NAMES = {"ladder_jax.ladder.gamma.GammaWrapper"}  # run by test_gamma.py


class Block(NamedTuple):
    language: str
    text: str
    excuse: str | None
    where: str


def parts(page):
    """Fenced blocks, and the text without them."""
    blocks, prose, fenced, above = [], [], None, ""
    for number, line in enumerate(page.read_text().splitlines(), start=1):
        if fenced is None and line.startswith("```"):
            language, fenced, start = line[3:].strip(), [], number
        elif fenced is not None and line.startswith("```"):
            found = re.fullmatch(r"<!-- not run: (.+) -->", above)
            excuse = found[1] if found else None
            blocks.append(Block(language, "\n".join(fenced), excuse, f"{page.name}:{start}"))
            fenced = None
        elif fenced is not None:
            fenced.append(line)
        else:
            prose.append(line)
            above = line.strip() or above
    assert fenced is None, f"{page.name}: a block has no end"
    return blocks, "\n".join(prose)


def commands(text):
    """The words of each command."""
    lines = text.replace("\\\n", " ").splitlines()
    found = (shlex.split(line.rstrip(" &"), comments=True) for line in lines)
    return [words for words in found if words]


def inline_commands(prose):
    """Those of our scripts within a sentence or a table."""
    text = "\n".join(re.findall(r"`(python (?:experiments|benchmarks)/[^`]+)`", prose))
    for name, value in STAND_INS.items():
        text = re.sub(rf"\b{name}\b", value, text)
    return commands(text)


@pytest.fixture
def here(monkeypatch, tmp_path):
    """Runs scripts of ``experiments/`` in this process, in an empty folder."""
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LADDER_DATA_DIR", raising=False)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(script, *words):
        monkeypatch.setattr(sys, "argv", [script, *words])
        try:
            runpy.run_path(str(ROOT / script), run_name="__main__")
        except SystemExit as end:
            assert not end.code, f"{script} {' '.join(words)}: status {end.code}"

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


def write_rows(words):
    """Files that a command names and that are not there: two classes, half of the rows labelled."""
    x, y = np.random.default_rng(0).normal(size=(24, 3)), np.arange(24) % 2
    for word in words:
        path = Path(word.partition("=")[2])
        if not word.startswith(("--train=", "--test=")) or path.exists():
            continue
        if path.suffix == ".npz":
            np.savez(path, x=x, y=np.where(np.arange(24) < 12, y, -1))
        else:
            labels = [*np.array(["u", "v"])[y[:12]], *[""] * 12]
            rows = (",".join([*map(str, row), label]) for row, label in zip(x, labels, strict=True))
            path.write_text("\n".join(["a,b,c,species", *rows]))


def check_command(words, where, run):
    """Lets one of our scripts parse its flags; looks for what other commands name."""
    if words[0] in ("python", "srun") and any(word.endswith(".py") for word in words):
        script, *flags = words[words.index("python") + 1 :]
        source = (ROOT / script).read_text()
        if '"dry_run"' in source or "common_flags.define" in source:
            write_rows(flags)
            run(script, *flags, "--dry_run")
        elif "def define(" in source:
            runpy.run_path(str(ROOT / script))["define"]()([script, *flags])
        else:
            for name in (flag.lstrip("-").split("=")[0] for flag in flags):
                assert f'"{name}"' in source, f"{where}: {script} has no flag --{name}"
    elif words[0] == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
        assert {word for word in words[1:] if "=" not in word} <= set(targets), where
    elif words[:3] == ["pip", "install", "-e"]:
        setup = configparser.ConfigParser()
        setup.read(ROOT / "setup.cfg")
        extras = re.fullmatch(r"\.\[(.+)\]", words[3])[1].split(",")
        assert set(extras) <= set(setup["options.extras_require"]), where
    else:
        assert words[0] == "export", f"{where}: {words[0]} is not tried; say why above the block"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_parse(page, here, capsys):
    blocks, prose = parts(page)
    found = {tuple(words): "in the text" for words in inline_commands(prose)}
    for block in blocks:
        assert block.language in LANGUAGES, f"{block.where}: {block.language}; use sh or python"
        if block.language == "sh" and block.excuse is None:
            found |= {tuple(words): block.where for words in commands(block.text)}
    for words, where in found.items():
        check_command(list(words), where, here)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_compiles_and_names_what_there_is(page):
    blocks, prose = parts(page)
    code = [block for block in blocks if block.language == "python"]
    for block in code:
        compile(block.text, block.where, "exec")
    text = "\n".join([*(block.text for block in code), *re.findall("`([^`]+)`", prose)])
    for name in set(re.findall(r"\blj\.([A-Za-z_][\w.]*\w)", text)):
        thing = lj
        for part in name.split("."):
            assert hasattr(thing, part), f"{page.name}: lj.{name}"
            thing = getattr(thing, part)


def runs_for_real(words, page):
    """Commands on small data whose run the page goes on with."""
    own = ("digits.py", "evaluate.py", "plot.py", "arrays.py")
    if words[0] != "python" or Path(words[1]).name not in own:
        return False
    if {"--dry_run", "--distributed"} & set(words):
        return False
    folders = [word.split("=")[1] for word in words if word.startswith("--workdir=")]
    return all(page.count(folder) > 1 for folder in folders)


@pytest.fixture
def as_readers_have_it():
    """Shapes may differ in their number of axes; but compiled with less care."""
    jax.config.update("jax_disable_most_optimizations", True)
    with jax.numpy_rank_promotion("allow"):
        yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.mark.slow
@pytest.mark.usefixtures("as_readers_have_it")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_run_in_order(page, here, monkeypatch):
    """Python, and the commands that it builds on, with few epochs, in one namespace."""
    blocks = [block for block in parts(page)[0] if block.excuse is None]
    if not any(block.language == "python" for block in blocks):
        pytest.skip("no Python in it")
    monkeypatch.setattr(lj.combinators, "COMBINATORS", dict(lj.combinators.COMBINATORS))
    namespace = {"__name__": "documents"}
    for block in blocks:
        for words in commands(block.text) if block.language == "sh" else ():
            if runs_for_real(words, page.read_text()):
                write_rows(words)
                here(*words[1:], *SMALL_FLAGS.get(Path(words[1]).stem, []))
        if block.language == "python":
            assert 'load("mnist")' not in block.text, f"{block.where}: takes hours; say so above it"
            code = re.sub(r"\brange\(\d+\)", "range(2)", block.text)
            for name, value in SMALL.items():
                code = re.sub(rf"\b{name}=\d+", f"{name}={value}", code)
            exec(compile(code, block.where, "exec"), namespace)


def anchors(page):
    """As GitHub makes them of headings; in api.md also the names of what is documented."""
    _, prose = parts(page)
    found = set(re.findall(r"^::: (\S+)", prose, re.M))
    for heading in re.findall(r"^#+ (.+)$", prose, re.M):
        heading = re.sub(r"\]\([^)]*\)|[\[`*]", "", heading)
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        assert slug not in found, f"{page.name}: two headings {heading}"
        found.add(slug)
    return found


@pytest.mark.parametrize("page", LINKING, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    prose = re.sub("`[^`\n]*`", "", parts(page)[1])
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.is_file(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


def test_readme_has_the_table_of_flags(monkeypatch):
    """`python experiments/cli/flags.py` writes it."""
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    from cli.flags import with_table

    readme = (ROOT / "README.md").read_text()
    assert "| `--decay_start` |" in readme
    assert with_table(readme) == readme


def test_api_page_is_complete():
    listed = re.findall(r"^::: ladder_jax\.(\S+)", (ROOT / "docs" / "api.md").read_text(), re.M)
    assert len(set(listed)) == len(listed)
    assert {name for name in listed if "." not in name} == set(lj.__all__)
    assert {f"data.{name}" for name in lj.data.__all__} - {"data.Dataset"} <= set(listed)


def test_tests_that_are_named_exist():
    files = sorted((ROOT / "tests").glob("test_*.py"))
    known = {path.name for path in files}
    for path in files:
        known |= set(re.findall(r"^def (test_\w+)", path.read_text(), re.M))
    for page in PAGES:
        named = set(re.findall(r"`(?:tests/)?(test_(?!error_percent)[\w.]+)`", page.read_text()))
        assert named <= known, f"{page.name}: {named - known}"


def test_examples_in_docstrings():
    for path in sorted((ROOT / "ladder_jax").rglob("*.py")):
        if ">>>" not in path.read_text():
            continue
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for example in doctest.DocTestFinder().find(importlib.import_module(name)):
            if example.name not in NEEDS_NAMES:
                assert doctest.DocTestRunner().run(example).failed == 0, example.name


def test_citation_names_this_version():
    import yaml

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors", "license"} <= set(citation)
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    version = setup["metadata"]["version"]
    assert str(citation["version"]) == version
    assert f"version = {{{version}}}" in (ROOT / "README.md").read_text()
    (paper,) = citation["references"]
    assert [author["family-names"] for author in paper["authors"]] == [
        *("Rasmus", "Berglund", "Honkala", "Valpola", "Raiko")
    ]


@pytest.mark.slow
def test_site_builds_and_asks_no_other_host(tmp_path):
    pytest.importorskip("mkdocs", reason="mkdocs is absent: pip install -e '.[docs]'")
    pytest.importorskip("mkdocstrings", reason="mkdocstrings is absent: pip install -e '.[docs]'")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", f"--site-dir={tmp_path}"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    for page in tmp_path.rglob("*.html"):
        loaded = re.findall(r"<(?:script|link|img|iframe)\b[^>]*", page.read_text())
        assert not [tag for tag in loaded if re.search(r"(?:src|href)=.?(?:https?:)?//", tag)], page
