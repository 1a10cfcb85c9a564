"""What a result is computed with: packages, commit, device; and room for compiled programs."""

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
    changed = _git(library.parent, *known) if ours else None
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


# On CPU every compiled program occupies memory maps of the process, and Linux allows a process
# 65,530 by default. A search over hyperparameters in one process gets there, after some sixty fits
# if each is like those of digits with LadderClassifier(layers=(20,)); LLVM then fails to allocate
# and aborts the process, as seen at 65,399 maps. (A fit added 1,090: jax 0.10.2, Python 3.11.7,
# Linux, x86-64.)
MEMORY_MAPS = Path("/proc/self/maps")
MEMORY_MAP_LIMIT = Path("/proc/sys/vm/max_map_count")


def make_room(share: float = 0.5) -> bool:
    """Forgets JAX's compiled programs where the process nears its limit of memory maps.

    Also those of the caller's own functions. What is needed again is compiled again; no result
    changes. Does nothing where the operating system has no such limit.

    Args:
      share: of the limit, above which they are forgotten.

    Returns:
      Whether they were forgotten.
    """
    try:
        limit = int(MEMORY_MAP_LIMIT.read_text())
        with MEMORY_MAPS.open("rb") as maps:
            used = sum(1 for _ in maps)
    except (OSError, ValueError):
        return False
    if used <= share * limit:
        return False
    jax.clear_caches()
    return True
