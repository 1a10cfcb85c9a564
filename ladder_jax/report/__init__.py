"""The report of a run as one HTML page."""

from ladder_jax.report.page import write_report

__all__ = ["write_report"]
