"""Pages, tables and figures of claims on disk, made anew from the records that lie there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokbench.claims.definition import SCALES, Claim, load_claims
from tokbench.claims.page import judged, pages, update_readme
from tokbench.claims.results import draw, find
from tokbench.results.files import write


def regenerate(home: Path, readme: Path | None = None) -> list[Path]:
    """All tables, figures and pages below ``home`` anew from the records there, and the README's table."""
    for claim in load_claims():
        for scale in SCALES:
            result = find(claim, scale, home)
            if result is not None:
                draw(result, home / claim.name / scale)
    return write_pages(home, readme)


def write_pages(home: Path, readme: Path | None = None, given: Sequence[Claim] = ()) -> list[Path]:
    """Every page and table that is not what the records give, and the table of claims in the project's README."""
    results, written = judged(home, given), []
    for name, content in pages(home, results).items():
        path = home / name
        if not path.exists() or path.read_text(encoding="utf-8") != content:
            write(path, content)
            written.append(path)
    if readme is not None and readme.exists():
        text = update_readme(readme, home, results)
        if text is not None and text != readme.read_text(encoding="utf-8"):
            write(readme, text)
            written.append(readme)
    return written
