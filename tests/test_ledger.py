"""The ledger: no line lost or torn, no run claimed twice; with processes of their own."""

import json
import subprocess
import sys
import textwrap
import types
from pathlib import Path

import pytest

import ladder_jax as lj
from ladder_jax.storage.ledger import Ledger

LIBRARY = Path(lj.__file__).parent

# The ledger needs nothing of JAX: its processes import it past the package's own imports.
START = f"""
import sys, time, types
package = types.ModuleType("ladder_jax")
package.__path__ = [{str(LIBRARY)!r}]
sys.modules["ladder_jax"] = package
from ladder_jax.storage.ledger import Ledger
assert "jax" not in sys.modules
ledger = Ledger(sys.argv[1])
"""


def start(code, *words):
    return subprocess.Popen(
        [sys.executable, "-c", START + textwrap.dedent(code), *map(str, words)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def race(code, ledger, count):
    """Runs the code in that many processes, from the same moment on."""
    wait = 'print("ready", flush=True); sys.stdin.readline()\n'
    processes = [start(wait + textwrap.dedent(code), ledger.path, n) for n in range(count)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "results" / "ledger.jsonl")


def test_lines_come_back_as_they_were_written(ledger):
    assert ledger.lines() == []
    first, second = {"cell": "a/ü", "error": 1.25, "text": "one\ntwo"}, {"cell": "b", "none": None}
    ledger.append(first)
    ledger.append(second)
    assert Ledger(str(ledger.path)).lines() == [first, second]
    assert ledger.path.read_text().count("\n") == 2
    with pytest.raises(ValueError, match="JSON"):
        ledger.append({"error": float("nan")})
    assert ledger.lines() == [first, second]


@pytest.mark.parametrize("torn", ['{"n": 2, "con', "{", "\0\0\0", '{"n": 2}x', '["n"]'])
def test_torn_last_line_is_dropped_and_no_other(ledger, torn):
    ledger.append({"n": 1})
    with open(ledger.path, "a") as file:
        file.write(torn)
    assert ledger.lines() == [{"n": 1}]
    ledger.append({"n": 3})
    assert ledger.lines() == [{"n": 1}, {"n": 3}]
    assert ledger.path.read_text() == '{"n": 1}\n{"n": 3}\n'


def test_last_line_that_lacks_only_its_end_is_kept(ledger):
    ledger.append({"n": 1})
    ledger.path.write_text('{"n": 1}\n{"n": 2}')
    assert ledger.lines() == [{"n": 1}, {"n": 2}]
    ledger.append({"n": 3})
    assert ledger.lines() == [{"n": 1}, {"n": 2}, {"n": 3}]


def test_a_single_torn_line_is_dropped(ledger):
    ledger.path.parent.mkdir()
    ledger.path.write_text('{"n"')
    ledger.append({"n": 1})
    assert ledger.path.read_text() == '{"n": 1}\n'


@pytest.mark.parametrize("damage", ['{"n": 2, "con\n', "<<<<<<< HEAD\n", "[1]\n", b"\xff\xfe\n"])
def test_damage_in_the_middle_names_file_and_line(ledger, damage):
    damage = damage if isinstance(damage, bytes) else damage.encode()
    ledger.path.parent.mkdir()
    ledger.path.write_bytes(b'{"n": 1}\n' + damage + b'{"n": 3}\n')
    with pytest.raises(lj.RunError, match=r"ledger.jsonl: line 2 is damaged"):
        ledger.lines()
    ledger.append({"n": 4})  # and yet nothing is lost
    assert ledger.path.read_bytes() == b'{"n": 1}\n' + damage + b'{"n": 3}\n{"n": 4}\n'


def test_empty_lines_are_no_damage(ledger):
    ledger.path.parent.mkdir()
    ledger.path.write_text('{"n": 1}\r\n\n{"n": 2}\n\n')
    assert ledger.lines() == [{"n": 1}, {"n": 2}]


@pytest.mark.parametrize("act", [lambda x: x.append({}), lambda x: x.claim("a")])
def test_folder_that_cannot_be_written(tmp_path, act):
    (tmp_path / "file").write_text("")
    with pytest.raises(lj.RunError, match=r"ledger.jsonl: cannot be written"):
        act(Ledger(tmp_path / "file" / "ledger.jsonl"))
    with pytest.raises(lj.RunError, match="cannot be read"):
        Ledger(tmp_path).lines()


def test_a_claim_is_exclusive_until_it_ends(ledger):
    claim = ledger.claim("a")
    assert claim is not None
    with claim:
        assert ledger.claim("a") is None
        with ledger.claim("b"):  # another run's
            assert ledger.claim("a") is None
    with pytest.raises(KeyError), ledger.claim("a"):
        raise KeyError
    with ledger.claim("a"):
        pass


def test_a_killed_process_frees_its_claim(ledger):
    code = 'claim = ledger.claim("a"); print("claimed", flush=True); sys.stdin.read()'
    with start(code, ledger.path) as process:
        assert process.stdout.readline() == "claimed\n"
        assert ledger.claim("a") is None
        process.kill()
        process.wait()
        with ledger.claim("a"):
            pass


def test_many_processes_lose_no_line(ledger):
    """Long lines, torn ones among them, from six processes that begin at once."""
    code = """
        for number in range(40):
            ledger.append({"who": sys.argv[2], "number": number, "text": sys.argv[2] * 20_000})
            if number % 10 == 0:
                with ledger.locked(), open(ledger.path, "a") as file:
                    file.write('{"torn": ')
    """
    race(code, ledger, 6)
    found = sorted((line["who"], line["number"]) for line in ledger.lines())
    assert found == [(str(who), number) for who in range(6) for number in range(40)]
    assert all(len(line["text"]) == 20_000 for line in ledger.lines())
    assert len(ledger.path.read_text().splitlines()) == 240


def test_only_one_of_many_processes_gets_a_claim(ledger):
    """Each of 30 runs is made by exactly one of four processes that go through all of them."""
    code = """
        for number in range(30):
            claim = ledger.claim(f"run {number}")
            if claim is None:
                continue
            with claim:
                if number not in [line["number"] for line in ledger.lines()]:
                    time.sleep(0.002)
                    ledger.append({"number": number})
    """
    race(code, ledger, 4)
    assert sorted(line["number"] for line in ledger.lines()) == list(range(30))


def test_without_fcntl_the_lock_of_windows_is_used(tmp_path, monkeypatch):
    """Run here on a stand-in for its module: what is asked of it, and when it refuses."""
    held = set()

    def locking(descriptor, mode, count):
        assert (mode, count) == ("LK_NBLCK", 1)
        if tmp_path in held:
            raise PermissionError
        held.add(tmp_path)

    windows = types.SimpleNamespace(locking=locking, LK_NBLCK="LK_NBLCK")
    monkeypatch.setitem(sys.modules, "msvcrt", windows)
    monkeypatch.setattr(sys, "platform", "win32")
    module = types.ModuleType("files_on_windows")
    source = (LIBRARY / "storage" / "files.py").read_text()
    exec(compile(source, "files.py", "exec"), module.__dict__)
    monkeypatch.setattr("ladder_jax.storage.ledger.lock", module.lock)
    ledger = Ledger(tmp_path / "ledger.jsonl")
    with ledger.claim("a"):
        assert ledger.claim("a") is None
    held.clear()
    ledger.append({"n": 1})
    assert json.loads(ledger.path.read_text()) == {"n": 1}
