"""Runs an old commit and this code on the same machine and says what differs, to the last bit.

python tests/compare_commits.py --old=1e7a8f2
python tests/compare_commits.py --old=../old --new=. --only=runs --tolerance=1e-5
python tests/compare_commits.py --old=1e7a8f2 --only=steps --models=ladder,gamma --cores=0,1

Both trees run in processes of their own with the same environment: on CPUs, without data and
without network. It prints a line for each thing compared, and exits with 1 if one differs, with 2
if one could not be compared because it failed in both trees.

| group | what is compared |
|---|---|
| runs | weights, metrics, errors, files and predictions of tiny runs, see compare_runs.py |
| commands | output, errors and exit status of commands, see compare_commands.py |
| steps | time of a training step, see compare_steps.py; only if it is named |

A step that takes more than 3 % longer is SLOWER. Both trees are timed in processes side by side, in
many short turns, and the median ratio of a turn counts, because the speed of a machine changes by
more than 3 % within minutes. With --tolerance numbers may differ by that part of the larger one,
and digests are not compared. Programs that both trees have in common are compiled once; those that
only the new one has are counted, and --cache=FOLDER keeps all for the next time. Runs and commands
are compiled quickly, almost without optimisation; --full compiles them as users do, which takes
several times as long and shows what optimisation makes of two different programs. Steps are always
compiled like that.
"""

import argparse
import contextlib
import json
import math
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
MODELS = (
    "ladder,bottom,gamma,baseline,conv_fc,conv_small_gamma,conv_small_baseline,conv_large_gamma"
)
SLOWER = 1.03
QUICK = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
SHOWN = 3  # differences of a thing that are printed; the report has more


def parsed():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--old", required=True, help="commit, or a folder with its files")
    add("--new", default=str(HERE.parent), help="folder (default: this checkout)")
    add("--only", default="runs,commands", help="groups, with commas between them")
    add("--names", default="*", help="which runs, a pattern: 'conv*', say")
    add("--out", help="JSON file for all that was found")
    add("--tolerance", type=float, default=0.0, help="relative; 0 compares bits")
    add("--cores", help="such as 0,1: pins every process to them, where taskset is installed")
    add("--cache", help="folder for compiled programs (default: one that is removed)")
    add("--full", action="store_true", help="compile as users do")
    add("--models", default=MODELS, help="of the group steps")
    add("--turns", type=int, default=15, help="of the group steps: old, new, new, old")
    options = parser.parse_args()
    if unknown := set(options.only.split(",")) - {"runs", "commands", "steps"}:
        parser.error(f"--only={','.join(unknown)}: choose from runs, commands and steps")
    return options


@contextlib.contextmanager
def tree(name):
    """The folder of that name, or a worktree of the commit of that name while it is used."""
    if Path(name).is_dir():
        yield Path(name).resolve()
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder).resolve() / "old"
        git = ("git", "-C", str(HERE.parent), "worktree")
        subprocess.run([*git, "add", "--quiet", "--detach", str(path), name], check=True)
        try:
            yield path
        finally:
            subprocess.run([*git, "remove", "--force", str(path)], check=True)


class Place:
    """How processes are started for one of the trees.

    Args:
      path: the tree.
      work: an empty folder for what they write.
      options: of the command line.
    """

    def __init__(self, path, work, options):
        self.path, self.work, self.names = path, work, options.names
        work.mkdir()
        nowhere, drop = "http://127.0.0.1:9", ("LADDER_", "PYTHON", "JAX_")
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(drop)}
        self.environment |= {
            "PYTHONPATH": str(path),
            "PYTHONDONTWRITEBYTECODE": "1",
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": str(Path(options.cache).resolve()),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
            "LADDER_CACHE_DIR": str(work / "whitenings"),
            "TFDS_DATA_DIR": str(work / "none"),
            **dict.fromkeys(("http_proxy", "https_proxy", "HTTPS_PROXY"), nowhere),
            **dict.fromkeys(("no_proxy", "NO_PROXY"), ""),
        }
        self.flags = "" if options.full else QUICK
        pinned = options.cores and shutil.which("taskset")
        self.prefix = ["taskset", "-c", options.cores] if pinned else []
        told = self.run(["-c", "import ladder_jax; print(ladder_jax.__file__)"]).stdout.strip()
        if not Path(told).is_relative_to(path):
            sys.exit(f"{path}: there ladder_jax is that of {told}")

    def run(self, words, cwd=None, flags=""):
        """A finished Python process in that tree; ends the script if it failed."""
        flags = f"{self.environment.get('XLA_FLAGS', '')} {flags}".strip()
        done = subprocess.run(
            [*self.prefix, sys.executable, *map(str, words)],
            cwd=cwd or self.path,
            env=self.environment | ({"XLA_FLAGS": flags} if flags else {}),
            capture_output=True,
            text=True,
        )
        if done.returncode:
            sys.exit(f"{self.path}: {words} ended with {done.returncode}:\n{done.stderr[-3000:]}")
        return done

    def runs(self, part, folder=None):
        """What compare_runs.py found."""
        folder, out = folder or self.work / part, self.work / f"{part}.json"
        folder.mkdir(exist_ok=True)
        self.run([HERE / "compare_runs.py", part, folder, out, self.names], flags=self.flags)
        return json.loads(out.read_text())

    def commands(self, ledger):
        """What compare_commands.py found in an empty folder but for a ledger."""
        folder, out = self.work / "commands", self.work / "commands.json"
        (folder / "results").mkdir(parents=True)
        if ledger.exists():
            shutil.copy(ledger, folder / "results")
        self.run([HERE / "compare_commands.py", self.path, out], folder, self.flags)
        return json.loads(out.read_text())

    def timer(self, model):
        """A process that times the step of a model, once it has compiled it."""
        timer = subprocess.Popen(
            [*self.prefix, sys.executable, str(HERE / "compare_steps.py"), str(self.path), model],
            cwd=self.path,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for line in timer.stdout:
            if line == "ready\n":
                return timer
        sys.exit(f"{self.path}: compare_steps.py {model} ended with {timer.wait()}")


def milliseconds(timer):
    """The time of a step, from a process of ``Place.timer``."""
    print("go", file=timer.stdin, flush=True)
    return float(timer.stdout.readline())


def differences(old, new, tolerance, at=""):
    """Where two JSON values differ, in words."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*old, *(name for name in new if name not in old)]:
            if tolerance and name.startswith("sha256"):
                continue
            where = f"{at} {name}".strip()
            if name not in old or name not in new:
                yield f"{where}: only {'old' if name in old else 'new'} has it"
            else:
                yield from differences(old[name], new[name], tolerance, where)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, pair in enumerate(zip(old, new, strict=True)):
            yield from differences(*pair, tolerance, f"{at}[{i}]")
    elif isinstance(old, float) and isinstance(new, float):
        # NaN is equal to itself here
        if repr(old) != repr(new) and not math.isclose(old, new, rel_tol=tolerance):
            yield f"{at}: {old!r} -> {new!r}"
    elif isinstance(old, str) and isinstance(new, str) and old != new:
        if tolerance and alike(old, new, tolerance):
            return
        lines = old.splitlines(), new.splitlines()
        longest = max(map(len, lines))
        pairs = zip(*([*own, *[""] * (longest - len(own))] for own in lines), strict=True)
        first = next((pair for pair in pairs if pair[0] != pair[1]), (old, new))
        yield f"{at}: {first[0]!r} -> {first[1]!r}"
    elif type(old) is not type(new) or old != new:
        yield f"{at}: {old!r} -> {new!r}"


def alike(old, new, tolerance):
    """Whether two texts differ in decimal fractions only, and those within the tolerance."""
    parts = [re.split(r"([0-9]+\.[0-9]+(?:e[+-]?[0-9]+)?)", text) for text in (old, new)]
    if len(parts[0]) != len(parts[1]) or parts[0][::2] != parts[1][::2]:
        return False
    numbers = zip(parts[0][1::2], parts[1][1::2], strict=True)
    return all(math.isclose(float(a), float(b), rel_tol=tolerance) for a, b in numbers)


def compared(group, old, new, tolerance):
    """An entry of the report for each thing in either tree; each is printed."""
    for name in [*old, *(name for name in new if name not in old)]:
        if name not in old or name not in new:
            found = [f"only {'old' if name in old else 'new'} has it"]
        else:
            found = list(differences(old[name], new[name], tolerance))
        failed = name in old and name in new and not found and old[name].get("failed")
        entry = {"group": group, "name": name, "differences": found[:100], "count": len(found)}
        entry["status"] = "DIFFERENT" if found else "FAILED IN BOTH" if failed else "same"
        text = entry["status"]
        if found:
            text += f": {'; '.join(found[:SHOWN])}"
            text += f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        print(f"{group}: {name}: {text}{f': {failed}' if failed else ''}", flush=True)
        yield entry


def timed(places, options):
    """An entry of the report for each model."""
    for model in options.models.split(","):
        timers = {name: place.timer(model) for name, place in places.items()}
        times = {"old": [], "new": []}
        for name in ("old", "new", "new", "old") * options.turns:
            times[name].append(milliseconds(timers[name]))
        for timer in timers.values():
            timer.kill()
            timer.communicate()
        turns = range(0, 2 * options.turns, 2)
        ratio = statistics.median(
            sum(times["new"][turn : turn + 2]) / sum(times["old"][turn : turn + 2])
            for turn in turns
        )
        status = "SLOWER" if ratio > SLOWER else "same"
        old, new = (statistics.median(times[name]) for name in ("old", "new"))
        text = f"{old:.3f} ms -> {new:.3f} ms, ratio of the turns {ratio:.3f}"
        print(f"steps: {model}: {status}: {text}", flush=True)
        yield {"group": "steps", "name": model, "status": status, "ratio": ratio, **times}


def report_of(places, options):
    """All entries, group by group."""
    groups, entries, both = options.only.split(","), [], list(places.values())
    ledger, made = places["old"].path / "results" / "ledger.jsonl", places["old"].work / "one"
    parts = [
        ("runs", lambda own: own.runs("one")),
        ("runs", lambda own: own.runs("eight")),
        ("runs", lambda own: own.runs("read", made)),
        ("commands", lambda own: own.commands(ledger)),
    ]
    programs = []
    for group, call in parts:
        if group in groups:
            found = []
            for own in both:
                found.append(call(own))
                programs.append(len(os.listdir(options.cache)))
            entries += compared(group, *found, options.tolerance)
    if programs:
        more = sum(new - old for old, new in zip(programs[::2], programs[1::2], strict=True))
        print(f"{programs[-1]} compiled programs, {more} of them of the new tree alone")
    if "steps" in groups:
        entries += timed(places, options)
    return entries


def main():
    options = parsed()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # and tidy up
    with tree(options.old) as old, tree(options.new) as new, tempfile.TemporaryDirectory() as work:
        options.cache = options.cache or str(Path(work) / "programs")
        Path(options.cache).mkdir(parents=True, exist_ok=True)
        paths = {"old": old, "new": new}
        places = {
            name: Place(own, Path(work).resolve() / name, options) for name, own in paths.items()
        }
        entries = report_of(places, options)
    if options.out:
        Path(options.out).write_text(json.dumps(entries, indent=1) + "\n")
    wrong = {
        status: sum(entry["status"] == status for entry in entries)
        for status in ("DIFFERENT", "SLOWER", "FAILED IN BOTH")
    }
    found = [f"{count} {status}" for status, count in wrong.items() if count]
    print(f"{len(entries)} things compared: {', '.join(found) or 'all same'}")
    sys.exit(1 if wrong["DIFFERENT"] or wrong["SLOWER"] else 2 if found else 0)


if __name__ == "__main__":
    main()
