"""A results folder: ``runs.jsonl``, and ``tables/`` and ``figures/`` made of nothing but it."""

from __future__ import annotations

import os
from pathlib import Path

from tokbench.errors import TokbenchError
from tokbench.results.files import write
from tokbench.results.record import Record
from tokbench.results.store import Store
from tokbench.results.table import comparison, to_csv, to_latex, to_markdown

# Figures that need files beside runs.jsonl (training logs, histograms) are for where these are, not for the repository.
_FIGURES = {
    "rate-distortion-psnr": ("rate-distortion", "psnr"),
    "rate-distortion-lpips": ("rate-distortion", "lpips"),
    "rate-distortion-rfid": ("rate-distortion", "rfid"),
    "codebook-gfid": ("codebook", "gfid"),
    "depth-psnr": ("depth", "psnr"),
}


def tables(records: list[Record]) -> dict[str, str]:
    """File name to content of everything in ``tables/``: a pure function of the records."""
    whole = comparison(records, by_depth=True)
    content = {"comparison.md": to_markdown(whole), "comparison.csv": to_csv(whole), "comparison.tex": to_latex(whole)}
    content["published.md"] = to_markdown(comparison(records, published=True))
    return content


def regenerate(folder: str | os.PathLike[str] = "results") -> list[Path]:
    """Write ``tables/`` and ``figures/`` anew from ``runs.jsonl``; returns what was written.

    A figure there is no data for is left out.

    Raises:
        TokbenchError: no records, or a damaged line.
    """
    from tokbench.results.figures import draw, save

    home = Path(folder)
    records = Store(home / "runs.jsonl").whole()
    if not records:
        raise TokbenchError(f"{home / 'runs.jsonl'}: no records to make tables and figures of")
    written = []
    for name, content in tables(records).items():
        written.append(home / "tables" / name)
        write(written[-1], content)
    for name, (kind, metric) in _FIGURES.items():
        try:
            drawing = draw(kind, records, home, metric)
        except TokbenchError:
            continue  # nothing measured that this figure shows
        written.append(home / "figures" / f"{name}.svg")
        save(drawing, written[-1])
    return written


def stale(folder: str | os.PathLike[str] = "results") -> list[str]:
    """Files in ``tables/`` that are not what the records give: changed, missing, or of no known name."""
    home = Path(folder)
    records = Store(home / "runs.jsonl").read()
    wanted = tables(records) if records else {}
    there = {path.name: path.read_text(encoding="utf-8") for path in sorted((home / "tables").glob("*.*"))}
    return sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))
