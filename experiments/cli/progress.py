"""Shows the progress of a run, as a bar on a terminal and as plain lines elsewhere."""

from __future__ import annotations

import math
import time
from typing import Any

import ladder_jax as lj

SECONDS_BETWEEN_LINES = 60


def _cost_text(progress: lj.Progress, brief: bool = False) -> str:
    """Returns the costs, in brief without those of layers, and any validation error as text."""
    # Within an epoch the costs are those of the last steps, at its end those of the whole epoch.
    line = progress.metrics or {f"cost/{name}": cost for name, cost in progress.costs.items()}
    names = ["total", "supervised"]
    if not brief:
        names += sorted(progress.costs.keys() - names)
    shown = {name: line[f"cost/{name}"] for name in names}
    if "validation_error_percent" in line:
        shown["validation error %"] = line["validation_error_percent"]
    return ", ".join(f"{name} {value:.3g}" for name, value in shown.items())


def _seed_text(progress: lj.Progress) -> str:
    """Returns which seeds are trained, if the command trains several."""
    if progress.seeds > 1:
        line = progress.metrics  # within an epoch the costs are means over the seeds
        whose = f"costs of seed {line.get('seed', progress.seed)}" if line else "mean costs"
        return f"{progress.seeds} seeds, {whose}: "
    return f"seed {progress.seed}: " if progress.apart else ""


class Lines:
    """Prints a line per epoch, and one per minute if an epoch takes longer."""

    def __init__(self) -> None:
        self.first = True
        self.printed = time.monotonic()

    def __call__(self, progress: lj.Progress) -> None:
        line = progress.metrics
        if self.first and progress.step > progress.chunk_steps:
            before = progress.step - progress.chunk_steps
            print(f"{_seed_text(progress)}went on after step {before}", flush=True)
        if line is None:
            if time.monotonic() - self.printed >= SECONDS_BETWEEN_LINES:
                step = f"step {progress.step}/{progress.steps}"
                print(f"{_seed_text(progress)}{step}: {_cost_text(progress)}", flush=True)
                self.printed = time.monotonic()
            return
        epochs = progress.steps * line["epoch"] // progress.step
        per_epoch = progress.step // line["epoch"]
        seconds = line["seconds"] * progress.seeds  # a line has one seed's share of the time
        speed = per_epoch * progress.rows / max(seconds, 1e-9)
        left = (epochs - line["epoch"]) * seconds
        print(
            f"{_seed_text(progress)}epoch {line['epoch']}/{epochs}: {_cost_text(progress)}; "
            f"{speed:.0f} examples/s, {_duration(left)} left"
            + (" (less: this epoch compiled)" if self.first else ""),
            flush=True,
        )
        self.first = False
        self.printed = time.monotonic()


class Bar:
    """Shows a progress bar counted in examples."""

    def __init__(self) -> None:
        self.bar: Any = None
        self.seed = 0

    def __call__(self, progress: lj.Progress) -> None:
        from tqdm import tqdm  # only needed on a terminal

        chunk = progress.chunk_steps * progress.rows
        if self.bar is None or progress.seed != self.seed:
            self.close()
            self.seed = progress.seed
            self.bar = tqdm(
                initial=progress.step * progress.rows - chunk,
                total=progress.steps * progress.rows,
                unit=" examples",
                unit_scale=True,
                dynamic_ncols=True,
                bar_format="{desc} {percentage:3.0f}%|{bar:10}| {remaining} left, "
                "{rate_fmt}{postfix}",
            )
        self.bar.set_description_str(_seed_text(progress).rstrip(": "), refresh=False)
        self.bar.set_postfix_str(_cost_text(progress, brief=True), refresh=False)
        self.bar.update(chunk)

    def close(self) -> None:
        """Closes the bar."""
        if self.bar is not None:
            self.bar.close()


def _duration(seconds: float) -> str:
    """Returns seconds as text."""
    minutes, seconds = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"
