"""The table of the world: what was published stands beside what was measured, as its column is printed."""

from __future__ import annotations

from results_synthetic import metric, record

from tokbench.results.record import Record
from tokbench.results.table import to_markdown
from tokbench.results.world import world


def test_what_was_published_is_printed_as_its_column_and_its_clips_as_typed() -> None:
    ours, theirs = (record().plain() for _ in range(2))
    ours["metrics"] = {"mine": metric(0.1234, "MINE"), "psnr": metric(20.0, "PSNR")}
    theirs["metrics"] = {"mine": metric(0.1334, "MINE"), "psnr": metric(19.5, "PSNR")}
    theirs["data"] |= {"spec": "UCF-101", "size": [17, 128, 128]}
    one, other = (Record.of(**plain) for plain in (ours, theirs))
    shown = " ".join(to_markdown(world([one], {one.name: other})).split())
    assert "| 20.00 | 19.50 | +0.50 |" in shown and "| 0.1234 | 0.1334 | -0.01 |" in shown
    assert "published: on UCF-101 at 17x128x128, by" in shown
