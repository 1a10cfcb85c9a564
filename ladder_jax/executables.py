"""Room for compiled programs.

On CPU every compiled program occupies memory maps of the process, and Linux allows a process 65,530
by default. A search over hyperparameters in one process gets there, after some sixty fits if each
is like those of digits with ``LadderClassifier(layers=(20,))``; LLVM then fails to allocate and
aborts it, as seen at 65,399 maps. (A fit added 1,090: jax 0.10.2, Python 3.11.7, Linux, x86-64.)
"""

from pathlib import Path

import jax

MAPS = Path("/proc/self/maps")
LIMIT = Path("/proc/sys/vm/max_map_count")


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
        limit = int(LIMIT.read_text())
        with MAPS.open("rb") as maps:
            used = sum(1 for _ in maps)
    except (OSError, ValueError):
        return False
    if used <= share * limit:
        return False
    jax.clear_caches()
    return True
