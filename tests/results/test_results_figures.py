"""Figures show the records' numbers, a quantizer always in its own colour."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from results_synthetic import by_position, folder, judged, metric, record, sweep

from tokbench.errors import TokbenchError
from tokbench.results.entries import gather
from tokbench.results.figures import FIGURES, draw, save
from tokbench.results.figures.base import legend, panels
from tokbench.results.figures.series import reading
from tokbench.results.record import Record
from tokbench.results.store import Store
from tokbench.results.styles import style


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("results"))


def lines(figure: Figure, colour: str) -> list[tuple[list[float], list[float], str]]:
    found = []
    for axis in figure.axes:
        for line in axis.get_lines():
            if to_hex(line.get_color()).lower() == colour.lower() and len(line.get_xdata()):
                found.append((list(line.get_xdata()), list(line.get_ydata()), line.get_linestyle()))
    return found


def read(*more: Any) -> Record:
    """A record of text at 8 and 16 pixels; ``more`` rows stand beside."""
    rows = [{"size": size, "n": 2, "cer_originals": 0.01, "cer": 4 / size} for size in (8, 16)]
    said = {"n": 4, "version": "tokbench-v1/text_accuracy-1", "label": "text accuracy", "direction": "higher"}
    return record("vq", 4096, metrics={"text_accuracy": {**said, "value": 62.5, "by_size": [*rows, *more]}})


def test_error_rates_stand_over_the_size_of_the_text_as_far_as_they_are_numbers() -> None:
    row = read({"size": 0, "cer": 1, "cer_originals": 1}, {"size": "32", "cer": 0, "cer_originals": 0}, 7, {"size": 9})
    panel = reading(gather([row, record("rq", 256, 4)]).entries, "text_accuracy")
    assert panel is not None
    own, originals = panel.series
    assert own.points == [(8, 0.5), (16, 0.25)] and originals.points == [(8, 0.01), (16, 0.01)]
    assert own.quantizer == "vq" and originals.quantizer is None


@pytest.mark.parametrize("kind", FIGURES)
def test_every_figure_draws_and_is_the_same_bytes_every_time(kind: str, home: Path, tmp_path: Path) -> None:
    records = [r for r in Store(home / "runs.jsonl").read() if kind != "usage" or r.quantizer["depth"] == 4]
    records += judged({1.0: 20.0, 0.5: 15.0}) if kind == "acceptance" else []
    records += [by_position(64, 1000)] if kind == "positions" else []
    records += [read()] if kind == "reading" else []
    both = []
    for number in range(2):
        path = tmp_path / f"{number}.svg"
        save(draw(kind, records, home), path)
        both.append(path.read_bytes())
    assert both[0] == both[1] and both[0].startswith(b"<?xml") and len(both[0]) > 5000


def test_positions_are_drawn_with_both_cliffs() -> None:
    """Of a model that knows nothing every position costs about log2 K: 7 bits, so that 1,000 images end after two."""
    (axis,) = draw("positions", [by_position(128, 1000), *sweep()]).axes
    line, *marks = axis.get_lines()
    assert list(line.get_xdata()) == list(range(1, 257)) and all(6 < bits < 8 for bits in line.get_ydata())
    assert [(float(mark.get_xdata()[0]), mark.get_fillstyle()) for mark in marks] == [(2.0, "full"), (2.0, "none")]
    assert axis.get_xlabel() == "position, as it is said" and axis.get_ylim()[0] == 0
    with pytest.raises(TokbenchError, match="no record has the NLL of each position"):
        draw("positions", sweep())


def test_the_name_says_the_format_and_the_same_bytes_come_every_time(tmp_path: Path) -> None:
    figure = draw("rate-distortion", sweep()[:6])
    for end, start in ((".pdf", b"%PDF"), (".png", b"\x89PNG"), (".SVG", b"<?xml")):
        for name in "ab":
            save(figure, tmp_path / f"{name}{end}")
        assert (tmp_path / f"a{end}").read_bytes().startswith(start)
        assert (tmp_path / f"a{end}").read_bytes() == (tmp_path / f"b{end}").read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_acceptance_draws_each_generator_and_judge_against_the_share_that_is_kept() -> None:
    """gFID is not monotone in it: the points are joined in the order of the share, whatever the records' order."""
    rows = [*judged({0.05: 5.9, 1.0: 15.8, 0.005: 6.6}), *judged({0.5: 9.0, 1.0: 15.8}, "timm:resnet50")]
    (axis,) = draw("acceptance", [*rows, *sweep()]).axes
    drawn = [(list(line.get_xdata()), list(line.get_ydata())) for line in axis.get_lines()]
    first, second = (next(points for points in drawn if len(points[0]) == n) for n in (3, 2))
    assert first == ([0.005, 0.05, 1.0], [6.6, 5.9, 15.8]) and second == ([0.5, 1.0], [9.0, 15.8])
    legend_of = [text.get_text() for text in axis.get_legend().get_texts()]
    assert [text.rpartition(" by ")[2] for text in legend_of] == ["efficientnet-lite0", "timm:resnet50"]
    assert axis.get_xlabel() == "acceptance rate" and "gFID" in axis.get_ylabel()
    with pytest.raises(TokbenchError, match="do not say what goes on the other axis"):
        draw("acceptance", sweep())


def test_rate_distortion_shows_bits_per_pixel_and_means_and_tells_rates_apart() -> None:
    figure = draw("rate-distortion", sweep())
    rows = {e.bits_per_pixel(): e.metric("psnr") for e in gather(sweep()).entries if e.first.quantizer["name"] == "vq"}
    drawn = lines(figure, style("vq").colour)
    solid = next(points for points in drawn if points[2] == "-")
    assert solid[0] == sorted(rows) and solid[1] == pytest.approx([rows[bpp].mean for bpp in sorted(rows)])  # type: ignore[union-attr, type-var]
    dashed = next(points for points in drawn if points[2] == "--")
    assert dashed[0] == pytest.approx([0.85 * bpp for bpp in solid[0]])
    texts = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert texts == ["lfq", "rq", "vq", "fixed-length", "entropy-coded", "first codes of one model"]


def test_rate_distortion_of_one_residual_model_is_a_curve() -> None:
    """Its first codes are points of their own, at their own rate, and join the whole."""
    (whole,) = gather([record("rq", depth=4, seed=seed) for seed in (0, 1)]).entries
    drawn = lines(draw("rate-distortion", [*whole.records]), style("rq").colour)
    curve = next(points for points in drawn if len(points[0]) > 1)
    assert curve[0] == pytest.approx([0.5, 1.0, 1.5, 2.0]) and curve[2] == "-."
    values = [part.metric("psnr") for part in [*whole.prefixes(), whole]]
    assert curve[1] == pytest.approx([value.mean for value in values if value is not None])
    alone = draw("rate-distortion", [record("rq", depth=4)], metric="usage")  # of each depth alone: no curve
    assert all(len(points[0]) == 1 for points in lines(alone, style("rq").colour))


def test_codebook_tells_ar_from_mlm() -> None:
    figure = draw("codebook", sweep())
    drawn = {line: x for x, _, line in lines(figure, style("lfq").colour)}
    assert drawn["-"] == drawn["--"] == [64, 256, 1024, 4096]
    assert [t.get_text() for t in figure.axes[0].get_legend().get_texts()] == ["lfq AR", "lfq MLM"]


def test_depth_rises_over_the_prefixes() -> None:
    deepest = max(lines(draw("depth", sweep()), style("rq").colour), key=lambda points: len(points[0]))
    assert deepest[0] == [1, 2, 3, 4] and deepest[1] == sorted(deepest[1])


def test_what_cannot_be_drawn_says_what_could(tmp_path: Path) -> None:
    rows = [record("vq")]
    for kind, metric_name, says in (
        ("rate-distortion", "psrn", "did you mean 'psnr'"),
        ("depth", "psnr", "depth"),
        ("usage", None, "histogram"),
        ("training", None, "log"),
        ("codebook", "gfid", "gfid"),
    ):
        with pytest.raises(TokbenchError, match=says):
            draw(kind, rows, tmp_path, metric_name)
    with pytest.raises(TokbenchError, match="did you mean 'depth'"):
        draw("dpeth", rows)
    with pytest.raises(TokbenchError, match="no finished records"):
        draw("depth", [])
    with pytest.raises(TokbenchError, match=r"\.svg, \.pdf, \.png"):
        save(draw("rate-distortion", rows), tmp_path / "figure.bmp")


def test_sections_are_panels() -> None:
    data = {"spec": "cifar10", "split": "test", "n": 10, "size": 32, "protocol": "tokbench-v1"}
    figure = draw("rate-distortion", [record("vq"), record("vq", 64, data=data)])
    titles = [axis.get_title(loc="left") for axis in figure.axes]
    assert len(titles) == 2 and titles[0] != titles[1]


def test_a_distance_draws_its_lower_front() -> None:
    values = {4: 9.0, 16: 5.0}
    rows = [record("vq", size, metrics={"rfid": metric(rfid, "rFID", "lower")}) for size, rfid in values.items()]
    (points,) = [p for p in lines(draw("rate-distortion", rows, metric="rfid"), style("vq").colour) if p[2] == "-"]
    assert points[1] == [9.0, 5.0]


@pytest.mark.parametrize("count", [3, 5])
def test_the_legend_takes_the_place_that_is_to_spare(count: int) -> None:
    figure, axes = panels(count)
    for axis in axes:
        axis.plot([0, 1], [0, 1], label="vq")
    legend(axes)
    holder = next(axis for axis in figure.axes if axis.get_legend() is not None)
    assert (holder in axes) == (count == 3) and holder.get_visible()
    assert [text.get_text() for text in holder.get_legend().get_texts()] == ["vq"]
