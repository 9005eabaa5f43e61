"""Bjontegaard's difference and the looks of quantizers."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from results_synthetic import sweep

from tokbench.results.curves import bd_rate, curves, front, labels
from tokbench.results.entries import gather
from tokbench.results.styles import _KNOWN, style

CURVE = [(0.1, 20.0), (0.2, 23.0), (0.4, 25.5), (0.8, 27.5)]


@settings(max_examples=30, deadline=None)
@given(st.floats(0.05, 20))
def test_a_curve_at_a_multiple_of_the_rate_has_exactly_that_difference(factor: float) -> None:
    scaled = [(rate * factor, value) for rate, value in CURVE]
    assert bd_rate(CURVE, scaled) == pytest.approx((factor - 1) * 100, rel=1e-9, abs=1e-9)
    there, back = bd_rate(CURVE, scaled) / 100, bd_rate(scaled, CURVE) / 100
    assert (1 + there) * (1 + back) == pytest.approx(1)


def test_it_is_the_mean_log_rate_difference_over_the_common_quality() -> None:
    from scipy.interpolate import PchipInterpolator

    other = [(0.12, 21.0), (0.3, 24.9), (0.5, 26.0), (1.1, 29.0)]
    quality = np.linspace(21.0, 27.5, 200_001)
    logs = [PchipInterpolator([v for _, v in c], np.log([r for r, _ in c]))(quality) for c in (CURVE, other)]
    expected = (np.exp(np.mean(logs[1] - logs[0])) - 1) * 100
    assert bd_rate(CURVE, other) == pytest.approx(float(expected), abs=1e-3)


def test_lower_is_better_is_the_same_with_signs_turned() -> None:
    distances = [(rate, -value) for rate, value in CURVE]
    better = [(rate / 2, value) for rate, value in distances]
    assert bd_rate(distances, better, higher_is_better=False) == pytest.approx(-50)


def test_what_has_no_answer_is_an_error() -> None:
    with pytest.raises(ValueError, match="two points"):
        bd_rate(CURVE, CURVE[:1])
    with pytest.raises(ValueError, match="two points"):
        bd_rate(CURVE, [(0.1, 20.0), (0.2, 19.0)])  # more bits and worse: one useful point
    with pytest.raises(ValueError, match="no range"):
        bd_rate(CURVE, [(0.1, 40.0), (0.2, 41.0)])


def test_front_keeps_only_points_worth_their_bits() -> None:
    assert front([(1, 5), (2, 4), (2, 6), (3, 6), (4, 7)]) == [(1, 5), (2, 6), (4, 7)]
    assert front([(1, 5), (2, 4), (3, 6)], higher_is_better=False) == [(1, 5), (2, 4)]


def test_curves_by_kind_of_rate() -> None:
    entries = [entry for entry in gather(sweep()).entries if entry.first.kind == "tokenizer"]
    fixed, coded = curves(entries, "psnr"), curves(entries, "psnr", "entropy")
    assert [key.quantizer for key in fixed] == ["lfq", "rq", "vq"] == list(labels(list(fixed)).values())
    for key, points in fixed.items():
        assert [p.bpp for p in points] == sorted(p.bpp for p in points)
        assert [p.bpp * 0.85 for p in points] == pytest.approx([p.bpp for p in coded[key]])
    assert curves(entries, "psnr", "model") == {}


def test_known_quantizers_differ_in_colour_or_marker_and_names_keep_theirs_everywhere() -> None:
    looks = [(look.colour, look.marker) for look in map(style, _KNOWN)]
    assert len(set(looks)) == len(looks)
    code = "from tokbench.results.styles import style; print(style('a-new-one'))"
    command = [sys.executable, "-c", code]
    seen = {subprocess.check_output(command, env={"PYTHONHASHSEED": seed}, text=True) for seed in "12"}
    assert seen == {f"{style('a-new-one')}\n"}
