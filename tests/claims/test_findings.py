"""The rule: when a statement holds, when it does not, and when nobody can say."""

from __future__ import annotations

import pytest
from claims_tiny import row

from tokbench.claims.findings import Finding, Verdict, better, judged, overall, rising, weakest
from tokbench.claims.numbers import SeedValues, by_seed
from tokbench.results.entries import Entry


@pytest.mark.parametrize(
    ("differences", "margin", "verdict"),
    [
        ([1.0, 1.1, 0.9], 0.1, Verdict.holds),
        ([-1.0, -1.1, -0.9], 0.1, Verdict.fails),  # the opposite is true
        ([0.01, 0.012, 0.009], 0.1, Verdict.fails),  # clear, but no difference worth the name
        ([0.01, 0.012, 0.009], 0.0, Verdict.holds),
        ([1.0, 3.0, -0.5], 0.1, Verdict.undecided),  # one seed says otherwise
        ([0.1, 2.0, 0.1], 0.0, Verdict.undecided),  # the sign is right, the mean within two standard errors
        ([0.05, -0.3, 0.3], 0.1, Verdict.undecided),  # too noisy to call it nothing
        ([5.0], 0.1, Verdict.undecided),  # a single seed has no spread
        ([], 0.1, Verdict.missing),
    ],
)
def test_better(differences: list[float], margin: float, verdict: Verdict) -> None:
    assert judged("it is", SeedValues(enumerate(differences)), margin=margin).verdict is verdict


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ([0.0, 0.01, -0.01], Verdict.holds),
        ([-0.05, -0.06, -0.05], Verdict.holds),  # worse, but within the margin
        ([-0.5, -0.6, -0.4], Verdict.fails),
        ([-0.1, 0.3, -0.4], Verdict.undecided),
        ([0.4], Verdict.undecided),
    ],
)
def test_equal_or_better(differences: list[float], verdict: Verdict) -> None:
    assert judged("no worse", SeedValues(enumerate(differences)), margin=0.1, equal_or_better=True).verdict is verdict


def entry(name: str, **by_seed: list[float]) -> Entry:
    """An entry of three seeds; metric: its values."""
    return Entry(tuple(row(name, 16, seed=s, **{k: v[s] for k, v in by_seed.items()}) for s in range(3)))


def test_pairs_are_of_one_seed_and_the_direction_is_the_records() -> None:
    a, b = (
        entry("rq", psnr=[20.0, 25.0, 30.0], rfid=[5.0, 6.0, 7.0]),
        entry("vq", psnr=[19.0, 24.1, 28.9], rfid=[6, 7, 8]),
    )
    found = better("rq is better", a, b, "psnr")
    # Between seeds PSNR differs by ten, between the two of a seed always by one.
    assert found.verdict is Verdict.holds and found.effect == pytest.approx(1.0) and found.spread == pytest.approx(0.1)
    assert better("rq is better", a, b, "rfid").effect == pytest.approx(1.0)  # lower is better
    assert better("rq is better", a, Entry(b.records[1:2]), "psnr").seeds == 1
    assert better("rq is better", a, None, "psnr").verdict is Verdict.missing


def test_what_was_measured_apart_is_not_compared() -> None:
    a, b = entry("rq", psnr=[20.0, 25.0, 30.0]), entry("vq", psnr=[19.0, 24.0, 29.0])
    assert a.first.data is not None
    elsewhere = {**a.first.plain()["data"], "n": 12}
    other = Entry(tuple(record.replace(data=elsewhere) for record in b.records))
    found = better("rq is better", a, other, "psnr")
    assert found.verdict is Verdict.missing and "same images" in found.detail
    changed = {"psnr": {**b.first.plain()["metrics"]["psnr"], "version": "tokbench-v2/1"}}
    other = Entry(tuple(record.replace(metrics=changed) for record in b.records))
    assert better("rq is better", a, other, "psnr").detail == "not computed in the same way"


def test_a_prefix_is_measured_by_depth() -> None:
    whole = Entry(tuple(row("rq", 16, 3, seed=s, psnr=[10.0 + s, 12.0, 13.0]) for s in range(2)))
    first, second = whole.prefixes()
    assert by_seed(first, "psnr") == {0: 10.0, 1: 11.0} and by_seed(whole, "psnr") == {0: 13.0, 1: 13.0}
    assert by_seed(second, "usage") == {}


def test_a_chain_is_as_strong_as_its_weakest_link() -> None:
    entries = [entry("rq", psnr=[base, base + 0.1, base + 0.05]) for base in (20.0, 22.0, 22.01)]
    found = rising("it rises", entries, "psnr")
    assert found.verdict is Verdict.fails and found.effect == pytest.approx(0.01)
    assert rising("it rises", entries[:2], "psnr").verdict is Verdict.holds
    assert rising("it rises", entries[:1], "psnr").verdict is Verdict.missing
    assert weakest("all", [Finding("", Verdict.missing), Finding("", Verdict.holds, 1.0)]).verdict is Verdict.missing


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        ([Verdict.holds, Verdict.holds], "holds"),
        ([Verdict.holds, Verdict.fails], "holds in part"),
        ([Verdict.holds, Verdict.missing], "holds in part"),
        ([Verdict.fails, Verdict.undecided], "does not hold"),
        ([Verdict.undecided, Verdict.missing], "undecided"),
        ([Verdict.missing], "not measured"),
        ([], "not measured"),
    ],
)
def test_overall(verdicts: list[Verdict], said: str) -> None:
    beside = Finding("it also is", Verdict.fails, informational=True)
    assert overall([*(Finding("it is", verdict) for verdict in verdicts), beside]) == said
