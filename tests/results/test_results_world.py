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


def test_what_has_no_value_in_any_row_is_a_line_and_not_a_column() -> None:
    plain = record().plain()
    plain["metrics"] = {
        "psnr": metric(20.0, "PSNR"),
        "rfid": metric(None, "rFID", note="rFID needs at least 2049 images"),
        "rfid_64": metric(None, "rFD-Inception64", note="no weights"),
    }
    ours = Record.of(**plain)
    shown = to_markdown(world([ours], {}))
    assert "| rFID" not in shown and "| PSNR" in shown
    assert "- No column: rFID needs at least 2049 images.\n- No column: rFD-Inception64: no weights." in shown
    theirs = Record.of(**{**plain, "metrics": {"rfid": metric(2.19, "rFID")}})
    assert "| 2.19 |" in " ".join(to_markdown(world([ours], {ours.name: theirs})).split())
