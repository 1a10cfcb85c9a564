"""Reports the packages, commit and device of a result, and frees memory of compiled programs."""

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

PACKAGES = ("jax", "jaxlib", "flax", "optax", "chex", "numpy")


def versions() -> dict[str, Any]:
    """Returns the versions of Python and the packages, and the git commit and its changes."""
    found: dict[str, Any] = {"python": platform.python_version()}
    for package in ("ladder_jax", *PACKAGES):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    here = Path(__file__)
    # A virtual environment may lie inside somebody else's repository: then there is no commit.
    ours = _git(here.parent, "ls-files", "--error-unmatch", here.name) is not None
    # Changed files anywhere count, and new ones in the package. A log or a run beside it does not,
    # nor do the lines in results/ that the previous run has written.
    known = ("status", "--porcelain", "--untracked-files=no", ":/", ":(exclude)results")
    library = here.parent.parent
    changed = _git(library.parent, *known) if ours else None
    new = _git(library, "status", "--porcelain", ".") if ours else None
    found["git_commit"] = _git(here.parent, "rev-parse", "HEAD") if ours else None
    found["git_dirty"] = None if changed is None else bool(changed or new)
    return found


def device(devices: Sequence[jax.Device] | None = None) -> str:
    """Returns the devices in words, by default all that JAX finds; for a CPU also its cores."""
    devices = jax.devices() if devices is None else devices
    text = f"{len(devices)} x {devices[0].device_kind}"
    if devices[0].platform == "cpu":
        text += f" ({platform.machine()}, {os.cpu_count()} cores)"
    return text


def release_memory() -> None:
    """Returns freed memory to the operating system, if the C library can do that."""
    try:
        # glibc keeps it otherwise: for an MNIST run, some 360 MB that only the compiler needed.
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        return  # another C library


def _git(folder: Path, *words: str) -> str | None:
    """Returns the output of a git command, or None if it fails."""
    try:
        done = subprocess.run(
            ("git", "-C", str(folder), *words), capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


# On CPU every compiled program occupies memory maps of the process, and Linux allows a process
# 65,530 by default. A search over hyperparameters in one process gets there, after some sixty fits
# if each is like those of digits with LadderClassifier(layers=(20,)); LLVM then fails to allocate
# and aborts the process, as seen at 65,399 maps. (A fit added 1,090: jax 0.10.2, Python 3.11.7,
# Linux, x86-64.)
MEMORY_MAPS = Path("/proc/self/maps")
MEMORY_MAP_LIMIT = Path("/proc/sys/vm/max_map_count")


def make_room(share: float = 0.5) -> bool:
    """Drops JAX's compiled programs if over ``share`` of the allowed memory maps are in use."""
    try:
        limit = int(MEMORY_MAP_LIMIT.read_text())
        with MEMORY_MAPS.open("rb") as maps:
            used = sum(1 for _ in maps)
    except (OSError, ValueError):
        return False  # an operating system without this limit
    if used <= share * limit:
        return False
    # This includes the caller's own functions. All are compiled again when needed, and no result
    # changes.
    jax.clear_caches()
    return True
