"""Pictures and report that a command leaves in its run folder."""

from __future__ import annotations

import importlib.util
import os
import sys

import ladder_jax as lj


def leave(workdir: str, data: lj.Dataset | None) -> str | None:
    """Writes figures/ (where matplotlib is installed) and report.html.

    The run is finished and its result is on the disk: what goes wrong here is a warning.

    Args:
      workdir: the run folder.
      data: those of the run; None leaves out the pictures of rows.

    Returns:
      Path of the report, None if there is none.
    """
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
