"""Figures for papers, from records: ``draw("rate-distortion", records, folder)``, then ``save(figure, "out.svg")``."""

from tokbench.results.figures.base import FIGURES, draw, save

__all__ = ["FIGURES", "draw", "save"]
