"""What a result was computed with: packages, commit, device."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

PACKAGES = ("jax", "jaxlib", "flax", "optax", "chex", "numpy", "orbax-checkpoint")


def versions() -> dict[str, Any]:
    """Versions of Python and the packages, git commit and whether the code was changed since.

    Files in ``results/`` are no code. ``git_commit`` and ``git_dirty`` are None where the library
    is not in its own checkout.
    """
    found: dict[str, Any] = {"python": platform.python_version()}
    for package in ("ladder_jax", *PACKAGES):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    here = Path(__file__)
    # A virtual environment may lie inside somebody else's repository.
    ours = _git(here.parent, "ls-files", "--error-unmatch", here.name) is not None
    # Changed files anywhere, and new ones in the package: a log or a run beside it is no change,
    # nor are the lines in results/ that the run before has written.
    known = ("status", "--porcelain", "--untracked-files=no", ":/", ":(exclude)results")
    library = here.parent.parent
    changed = _git(library, *known) if ours else None
    new = _git(library, "status", "--porcelain", ".") if ours else None
    found["git_commit"] = _git(here.parent, "rev-parse", "HEAD") if ours else None
    found["git_dirty"] = None if changed is None else bool(changed or new)
    return found


def device(devices: Sequence[jax.Device] | None = None) -> str:
    """Devices in words, by default all that JAX finds; for a CPU its cores too."""
    devices = jax.devices() if devices is None else devices
    text = f"{len(devices)} x {devices[0].device_kind}"
    if devices[0].platform == "cpu":
        text += f" ({platform.machine()}, {os.cpu_count()} cores)"
    return text


def release_memory() -> None:
    """Hands memory that was freed back to the operating system, where the C library can.

    glibc keeps it otherwise: of an MNIST run, some 360 MB that only the compiler needed.
    """
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        return  # another C library


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ("git", "-C", str(folder), *words), capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
