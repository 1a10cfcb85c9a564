"""Shows configuration, progress, result and one-line errors of a training command."""

from __future__ import annotations

import functools
import importlib.util
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

from absl import flags

import ladder_jax as lj
from cli.flags import Settings, help_text, settings
from cli.hosts import all_have, check_flags, join
from cli.progress import Bar, Lines
from cli.tensorboard import Mirror
from ladder_jax.storage import environment
from ladder_jax.storage.read_run import changed, mean_text, percent
from ladder_jax.storage.run_folder import CHECKPOINTS, WEIGHTS
from ladder_jax.train.plan import trained_at_once, with_seeds


def main(dataset: str, values: flags.FlagValues, about: str) -> None:
    """Runs a training command for the data set, and exits with status 1 on a user's mistake."""
    parse(values, about)
    try:
        chosen = settings(dataset, values)
        check_flags(values)
        if values.dry_run:
            print(describe(chosen))
            print(layer_table(chosen.config))
            return
        summary = chosen.finished() if values.resume else None
        if summary and _lacks_weights(chosen.workdir):
            summary = None  # training restores them from the checkpoint
        load = functools.partial(lj.data.load, dataset, data_dir=values.data_dir)
        data = load() if summary is None else None
        if values.distributed:  # after loading, so that no process waits for the data of another
            join(values, chosen.workdir)
            if not all_have(summary is not None, chosen.workdir) and summary:
                summary, data = None, load()  # not all see it: train_and_evaluate says so
        quiet = values.quiet or not lj.hosts.is_first_process()
        if not quiet:
            print(describe(chosen), flush=True)
        if summary is None:
            summary = train(chosen, data, quiet=quiet).summary
        else:
            if chosen.tensorboard and lj.hosts.is_first_process():
                mirror = Mirror(chosen.workdir)
                mirror.catch_up()
                mirror.close()
            if not quiet:
                print("this run was finished before; its result:")
    except lj.LadderError as error:
        fail(str(error))
    except KeyboardInterrupt:  # before there is anything to save
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:
        leave_pipe()
    if lj.hosts.is_first_process():
        print(result_table(chosen, summary), flush=True)
        if values.report and data is not None:
            report = write_figures_and_report(chosen.workdir, data)
            if report and not quiet:
                print(f"report: {report}")


def _lacks_weights(workdir: str) -> bool:
    """Returns whether a finished run has lost its model but has a checkpoint to restore it."""
    found = [os.path.exists(os.path.join(workdir, n)) for n in (WEIGHTS, CHECKPOINTS)]
    return found == [False, True]


def train(chosen: Settings, data: lj.Dataset, quiet: bool) -> lj.Result:
    """Trains and shows progress on the terminal."""
    mirror = Mirror(chosen.workdir) if chosen.tensorboard and lj.hosts.is_first_process() else None
    with training(quiet, mirror, _ways(chosen, data)) as watched:
        return lj.train_and_evaluate(
            chosen.config,
            chosen.train_config,
            data,
            num_seeds=chosen.num_seeds,
            parallel=chosen.parallel,
            workdir=chosen.workdir,
            **watched,
            **chosen.saving,
        )


def _ways(chosen: Settings, data: lj.Dataset) -> str:
    """Returns the devices, the kind of training, and a setting without effect there, in words."""
    training, runs = chosen.train_config, with_seeds(chosen.train_config, chosen.num_seeds)
    at_once = trained_at_once(chosen.parallel, runs, data)
    layout = chosen.parallel.layout(len(runs) if at_once else 1)
    text = f"; {environment.device(layout.devices)}"
    if at_once:
        text += f", {len(runs)} seeds at once"
    elif len(layout.devices) > 1:
        text += f", {layout.kind}"
    if layout.devices[0].platform == "cpu" and training.matmul_precision != "float32":
        text += f"\nmatmul_precision={training.matmul_precision} has no effect on CPUs"
    return text


@contextmanager
def training(quiet: bool, mirror: Mirror | None = None, ways: str = "") -> Iterator[dict[str, Any]]:
    """Yields keywords that make a training call show progress and, when stopped, save its state."""
    stop = _StopOnSignal()
    show = None if quiet else Bar() if _on_terminal() else Lines()
    if show:
        print(f"preparing the data, compiling the training step{ways}", flush=True)
    try:
        told = [one for one in (show, mirror) if one]
        on_progress = (lambda progress: [one(progress) for one in told]) if told else None
        yield {"on_progress": on_progress, "should_stop": lambda: stop.signal is not None}
    except lj.StoppedError as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(128 + (stop.signal or signal.SIGINT))
    finally:
        for one in (show, mirror):
            if isinstance(one, Bar | Mirror):
                one.close()


def _on_terminal() -> bool:
    """Returns whether a progress bar can be shown."""
    # Some pseudo-terminals have no width, and no bar fits into that.
    return sys.stderr.isatty() and os.get_terminal_size(sys.stderr.fileno()).columns > 0


def fail(message: str) -> NoReturn:
    """Prints one line on stderr and exits with status 1."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr, flush=True)
    if lj.hosts.are_several():
        os._exit(1)  # an orderly exit would wait for processes that may be gone
    sys.exit(1)


def describe(chosen: Settings) -> str:
    """Returns the resolved configuration as aligned lines."""
    rows = chosen.config.to_json() | chosen.train_config.to_json()
    if chosen.num_seeds == 1:
        rows |= {"data_seed": chosen.train_config.split_seed}
    else:
        first, own = chosen.train_config.seed, chosen.train_config.data_seed
        seeds = f"{first} to {first + chosen.num_seeds - 1}"
        rows |= {"seed": seeds, "data_seed": "each seed's own" if own is None else own}
    rows |= {"workdir": chosen.workdir}
    lines = [f"{name:20} {_text(value)}" for name, value in rows.items() if value is not None]
    head = f"{chosen.preset.dataset} {chosen.preset.model}"
    return "\n".join([head + (f" ({chosen.note})" if chosen.note else ""), *lines])


def layer_table(config: lj.LadderConfig) -> str:
    """Returns a table of the layers with their shapes, parameters, λ, noise and combinators."""
    kinds = ["input", *map(str, config.layers)]
    width = max(12, *(len(kind) + 1 for kind in kinds))
    head = f"{'layer':7}{'kind':{width}}{'shape':12}{'parameters':>12}{'λ':>8}{'noise':>7}"
    lines = [f"{head}  combinator"]
    counts = lj.parameter_counts(config)
    for i, (kind, shape) in enumerate(zip(kinds, config.shapes, strict=True)):
        weight = f"{config.denoising_weights[i]:g}" if i in config.cost_layers else "-"
        level = config.levels[i]
        combinator = level.name if level else "-"
        row = f"{i:<7}{kind:{width}}{lj.layers.by(shape):12}{counts[i]:12,}"
        lines.append(f"{row}{weight:>8}{config.noise_levels[i]:7g}  {combinator}")
    lines.append(f"{'total':{width + 19}}{sum(counts):12,}")
    return "\n".join(lines)


def result_table(chosen: Settings, summary: dict[str, Any]) -> str:
    """Returns the errors by kind of statistics, with the paper's error if it has one."""
    held_out = chosen.train_config.validation > 0
    kind = "validation" if held_out else "test"
    finished = [run for run in summary["runs"] if "reason" not in run]
    own_row = not held_out and chosen.preset.labels == chosen.train_config.labels
    paper = chosen.preset.paper_error if own_row else None
    heads = ("statistics", f"{kind} error %", "paper" if paper else "")
    lines = [f"{heads[0]:12}{heads[1]:>20}{heads[2]:>16}".rstrip()]
    for name in lj.STATISTICS if finished[0][f"{kind}_error_percent"] else ():
        default = name == chosen.train_config.statistics
        text = mean_text([run[f"{kind}_error_percent"][name] for run in finished])
        line = f"{name + (' *' if default else ''):12}{text:>20}"
        if name == lj.STATISTICS[0] and paper:  # the paper's rule
            line += f"{percent(*paper):>16}"
        lines.append(line)
    if chosen.num_seeds > 1:
        lines.append(f"Mean ± standard deviation over {len(finished)} runs.")
    lines += [f"Seed {run['seed']} {run['reason']}." for run in summary["runs"] if "reason" in run]
    others = changed(chosen.config, chosen.train_config, chosen.preset) if paper else {}
    texts = [f"{name} {_text(own)} (paper: {_text(its)})" for name, (own, its) in others.items()]
    lines += [f"Not the paper's settings: {', '.join(texts)}."] if texts else []
    lines.append(f"* the reported number. Everything is in {chosen.workdir}/")
    return "\n".join(lines)


def _text(value: Any) -> str:
    """Returns a value as text."""
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def parse(values: flags.FlagValues, about: str, words: Sequence[str] = ()) -> list[str]:
    """Parses the command line, whose positional arguments are ``words``, or shows --help."""
    if any(word in ("--help", "-help", "-h", "--helpfull", "--helpshort") for word in sys.argv[1:]):
        with suppress(BrokenPipeError):  # head, say, has seen enough
            print(f"{about.strip()}\n\n{help_text(values)}", flush=True)
        sys.exit(0)
    try:
        rest = values(sys.argv)[1:]
    except flags.UnrecognizedFlagError as error:
        fail(f"{str(error).replace(' ?', '?')} (--help lists all flags)")
    except flags.Error as error:
        fail(str(error))
    if len(rest) < len(words):
        fail(f"{words[len(rest)]} is missing; see --help")
    if extra := rest[len(words) :]:
        hint = f"; did you mean --{extra[0]}?" if "=" in extra[0] else ""
        fail(f"{extra[0]}: unexpected word on the command line{hint}")
    return rest


def leave_pipe() -> NoReturn:
    """Ends a command whose reader (``head``, say) has closed the pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(128 + signal.SIGPIPE)


class _StopOnSignal:
    """Remembers the first SIGINT or SIGTERM; a second one acts at once."""

    def __init__(self) -> None:
        self.signal: int | None = None
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._receive)

    def _receive(self, number: int, frame: Any) -> None:
        """Notes the signal and restores its default action."""
        self.signal = number
        signal.signal(number, signal.SIG_DFL)
        # Not print: it may interrupt a write to the same stream.
        os.write(2, b"stopping after the current steps; once more to stop at once\n")


def write_figures_and_report(workdir: str, data: lj.Dataset | None) -> str | None:
    """Writes figures/ and report.html and returns the path of the report, or None without it."""
    # The run is finished and its result is on the disk, so what fails here is only a warning.
    try:
        if importlib.util.find_spec("matplotlib"):
            lj.plots.write_figures(workdir, data)
    except Exception as error:  # whatever a drawing leads to
        print(f"warning: pictures are missing: {error}", file=sys.stderr)
    try:  # on its own: it has the numbers, and needs no picture
        lj.report.write_report(workdir)
    except Exception as error:
        print(f"warning: the report is missing: {error}", file=sys.stderr)
        return None
    return os.path.join(workdir, "report.html")
