"""What was found: one statement each, judged by one rule from differences paired by seed. Torch-free."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from tokbench.claims.numbers import SeedValues, against, by_seed
from tokbench.results.entries import Context, Entry, Spread
from tokbench.results.record import MetricValue

RULE = (
    "Differences are paired by seed. A statement **holds** when the difference has the sign it claims in every seed, "
    "its mean is more than two standard errors from zero and at least the margin named beside it. It **does not "
    "hold** when the same is true of the opposite sign, or when mean and two standard errors both lie within the "
    "margin (no difference worth the name). Everything else, and anything seen with a single seed, is **undecided**. "
    "Three seeds make this a screening, not a proof. "
    "What is claimed to be *equal or better* holds when mean minus two standard errors stays above minus the margin. "
    "Statements marked *informational* do not count for the verdict."
)

# Below these a difference is none: about the least that is visible in a table of this kind.
MARGINS = {"psnr": 0.1, "ssim": 0.005, "lpips": 0.005, "lpips_vgg": 0.005, "usage": 0.02}


class Verdict(str, Enum):
    """Of one statement."""

    holds = "holds"
    fails = "does not hold"
    undecided = "undecided"
    missing = "not measured"


@dataclass(frozen=True)
class Finding:
    """One statement and what the records say about it.

    ``effect`` is the mean over seeds of the difference, positive in the direction that the statement claims;
    ``spread`` its sample standard deviation over the seeds (None for one).
    """

    statement: str
    verdict: Verdict
    effect: float | None = None
    spread: float | None = None
    seeds: int = 0
    unit: str = ""
    detail: str = ""
    informational: bool = False  # informs, and does not count for the verdict

    @property
    def size(self) -> str:
        """``+1.24 ± 0.05 dB``; ``-`` where nothing was measured."""
        if self.effect is None:
            return "-"
        spread = "" if self.spread is None else f" ± {self.spread:.2g}"
        return f"{self.effect:+.3g}{spread} {self.unit}".rstrip()


def judged(
    statement: str,
    differences: SeedValues | None = None,
    *,
    margin: float = 0.0,
    unit: str = "",
    detail: str = "",
    equal_or_better: bool = False,
    informational: bool = False,
) -> Finding:
    """The rule of this module on differences that are positive where the statement is right; None: not measured.

    Args:
        margin: below it a difference counts as none.
        equal_or_better: the statement claims no more than "not worse by the margin".
    """
    spread = differences.spread if differences is not None else None
    text = f"{detail}; margin {margin:g}" if detail and margin else detail or (f"margin {margin:g}" if margin else "")
    if differences is None or spread is None:
        return Finding(statement, Verdict.missing, unit=unit, detail=text, informational=informational)
    verdict = _verdict(list(differences.values()), spread, margin, equal_or_better)
    return Finding(statement, verdict, spread.mean, spread.deviation, len(differences), unit, text, informational)


def _verdict(differences: Sequence[float], spread: Spread, margin: float, equal_or_better: bool) -> Verdict:
    if spread.deviation is None:
        return Verdict.undecided
    mean, error = spread.mean, 2 * spread.deviation / math.sqrt(len(differences))
    if equal_or_better:
        if mean - error > -margin:
            return Verdict.holds
        return Verdict.fails if mean + error < -margin else Verdict.undecided
    clear = abs(mean) > error and abs(mean) >= margin
    if clear and all(difference > 0 for difference in differences):
        return Verdict.holds
    none = abs(mean) + error < margin
    return Verdict.fails if none or (clear and all(difference < 0 for difference in differences)) else Verdict.undecided


def described(metric: str, *entries: Entry | None) -> MetricValue | None:
    """A value of the metric, for the direction, unit and label that it carries; None where there is none."""
    values = (entry.measured(metric) for entry in entries if entry is not None)
    return next((value for value in values if value is not None), None)


def unit_of(metric: str, *entries: Entry | None) -> str:
    """``dB``, or the metric's label where it has no unit."""
    found = described(metric, *entries)
    return found.unit or found.label if found is not None else ""


def best_of(entries: Iterable[Entry], metric: str) -> Entry | None:
    """The entry with the best mean over its seeds, by the direction the records give; None where none has one."""
    means = [(spread.mean, entry) for entry in entries if (spread := entry.metric(metric)) is not None]
    found = described(metric, *(entry for _, entry in means))
    pick = min if found is not None and found.direction == "lower" else max
    return pick(means, key=lambda pair: pair[0])[1] if means else None


def improvement(first: Entry | None, last: Entry | None, metric: str) -> SeedValues:
    """By how much ``last`` is better than ``first``, by the direction the records give the metric."""
    found = described(metric, last, first)
    difference = by_seed(last, metric) - by_seed(first, metric)
    return difference * -1 if found is not None and found.direction == "lower" else difference


def better(
    statement: str, a: Entry | None, b: Entry | None, metric: str, *, margin: float | None = None, **said: Any
) -> Finding:
    """That ``a`` is better than ``b`` in a metric (or not worse), by the direction the records give the metric.

    ``margin`` is that of ``MARGINS`` where none is given; ``said`` is ``equal_or_better`` and ``informational``.
    """
    if why := _apart(metric, a, b):
        return judged(statement, detail=why, **said)
    return judged(
        statement, improvement(b, a, metric), margin=MARGINS.get(metric, 0.0) if margin is None else margin,
        unit=unit_of(metric, a, b), detail=against(by_seed(a, metric), by_seed(b, metric)), **said,
    )  # fmt: skip


def faster(statement: str, fast: SeedValues, slow: SeedValues, **said: Any) -> Finding:
    """That seconds are fewer; the effect is by what part of the fewer ones the others are more."""
    return judged(statement, slow / fast - 1, unit="(ratio - 1)", detail=against(fast, slow, "s"), **said)


def gains_more(statement: str, one: tuple[Entry, Entry], other: tuple[Entry, Entry], metric: str) -> Finding:
    """That from the first to the last of ``one`` a metric improves by more than from the first to the last of
    ``other``."""
    more, less = improvement(*one, metric), improvement(*other, metric)
    return judged(
        statement, more - less, margin=MARGINS.get(metric, 0.0), unit=unit_of(metric, *one),
        detail=against(more, less, digits="+.3g"),
    )  # fmt: skip


def rising(statement: str, entries: Sequence[Entry], metric: str, *, margin: float | None = None) -> Finding:
    """That each entry is better than the one before. The effect is the smallest of the steps; so is the verdict."""
    steps = [better(statement, b, a, metric, margin=margin) for a, b in zip(entries, entries[1:], strict=False)]
    return weakest(statement, steps)


def weakest(statement: str, steps: Sequence[Finding]) -> Finding:
    """The finding of a chain: what holds for its weakest link. Effect and spread are that link's."""
    measured = [step for step in steps if step.effect is not None]
    if len(measured) < len(steps) or not steps:
        return Finding(statement, Verdict.missing, detail="some of its steps were not measured")
    order = (Verdict.fails, Verdict.undecided, Verdict.holds)
    worst = min(measured, key=lambda step: (order.index(step.verdict), step.effect or 0.0))
    details = "; ".join(f"{step.effect:+.3g}" for step in measured)
    return Finding(
        statement, worst.verdict, worst.effect, worst.spread, worst.seeds, worst.unit,
        f"the smallest of the steps {details}", worst.informational,
    )  # fmt: skip


def overall(findings: Sequence[Finding]) -> str:
    """The verdict on the whole claim: what all its statements say together."""
    verdicts = [finding.verdict for finding in findings if not finding.informational]
    if not verdicts or all(verdict is Verdict.missing for verdict in verdicts):
        return "not measured"
    if all(verdict is Verdict.holds for verdict in verdicts):
        return "holds"
    if Verdict.holds in verdicts:
        return "holds in part"
    return "does not hold" if Verdict.fails in verdicts else "undecided"


def _apart(metric: str, a: Entry | None, b: Entry | None) -> str:
    """Why the two must not be compared; empty where they may."""
    if a is None or b is None:
        return ""
    if Context.of(a.first) != Context.of(b.first):
        return "not measured on the same images"
    one, other = a.measured(metric), b.measured(metric)
    different = one is not None and other is not None and one.version != other.version
    return "not computed in the same way" if different else ""
