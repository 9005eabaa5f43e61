"""The report: one HTML file with everything in it, made of records and the images they point at."""

from tokbench.results.report.page import build

__all__ = ["build"]
