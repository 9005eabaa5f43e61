"""Which cheap measure orders tokenizers as the gFID of one generator on their codes does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tokbench.claims.evidence import Evidence
from tokbench.claims.findings import Finding, Verdict, described
from tokbench.claims.numbers import spread_text, table_of
from tokbench.claims.panels import Panel, Series
from tokbench.claims.ranks import Correlation, correlation, difference
from tokbench.results.entries import Entry, Spread
from tokbench.results.figures.positions import nll_by_position

TARGETS = ("gfid", "gfid_192")
PUBLISHED = ("pfid", "ifid")  # of which it is claimed
BASE = "rfid"
OF_TOKENIZER = (BASE, *PUBLISHED, "psnr", "ssim", "lpips", "usage", "perplexity", "entropy_bpp")
OF_GENERATOR = ("nll_bits_per_code", "model_bpp", "chd", "entropy_cliff")
OF_PROBES = ("linear_top1", "ar_top1")
PER_PIXEL = "fixed_bpp"
UNIT = "rank correlation"
NOTE = (
    "Active codes are usage times vocabulary, the mean over depths; the share that the AR needs is the model-coded "
    "rate over that of fixed length. pFID: half of the codes become one of the eight nearest of their codebook; iFID: "
    "halfway between two latents. NLL, model-coded rate, CHD, t* and the AR's probe are known when the generator is."
)
RULE = (
    "Tokenizers are the sample: each has one value of a measure and one gFID, means over its seeds. The effect is "
    "Spearman's rank correlation between the two, positive where what the measure calls better has the lower gFID (of "
    "measures without a better direction: where less of it has). Its interval is the middle 95 % of 2,000 bootstrap "
    "resamples of the tokenizers. A statement **holds** when the interval lies above 0, **does not hold** when it lies "
    "below 0, and is **undecided** otherwise. Two measures are compared on the same resamples. Statements marked "
    "*informational* do not count for the verdict."
)


@dataclass(frozen=True)
class Pair:
    """A tokenizer, and the generator on its codes."""

    tokenizer: Entry
    generator: Entry
    probes: Sequence[Entry] = ()

    def metric(self, name: str) -> Spread | None:
        """Over seeds, by the generator where it measured that."""
        spreads = (entry.metric(name) for entry in (self.generator, self.tokenizer, *self.probes))
        return next((spread for spread in spreads if spread is not None), None)

    def value(self, metric: str) -> float | None:
        """Mean over seeds."""
        spread = self.metric(metric)
        return spread.mean if spread is not None else None


@dataclass(frozen=True)
class Measure:
    """What is held against gFID, positive where it is better."""

    label: str
    of: Callable[[Pair], float | None]


def judge(evidence: Evidence) -> list[Finding]:
    """The measures of which it is claimed, and whether they do better than rFID; then all others, to inform."""
    pairs, target = _pairs(evidence), _target(evidence)
    measures = _measures(evidence)
    findings = []
    for name in PUBLISHED:
        own, base = (measures.get(_in_layer(evidence, key)) for key in (name, BASE))
        label, other = (m.label if m else key for m, key in ((own, name), (base, BASE)))
        findings.append(_finding(f"{label} orders tokenizers as {target.label} does", _against(pairs, target, own)))
        findings.append(_finding(f"{label} orders them better than {other}", _against(pairs, target, own, base)))
    published = {_in_layer(evidence, name) for name in PUBLISHED}
    for name, measure in measures.items():
        if name not in published:
            statement = f"{measure.label} orders tokenizers as {target.label} does"
            findings.append(_finding(statement, _against(pairs, target, measure), informational=True))
    return findings


def panels(evidence: Evidence) -> list[Panel]:
    """The correlation of every measure, and gFID over the measures that most is claimed of."""
    pairs, target, measures = _pairs(evidence), _target(evidence), _measures(evidence)
    found = [(m.label, _against(pairs, target, m)) for m in measures.values()]
    bars = sorted(((label, c) for label, c in found if c is not None), key=lambda bar: -bar[1].rho)
    points = [(label, Spread(c.rho, c.deviation)) for label, c in bars]
    shown = [Panel("", f"rank correlation with {target.label}", [Series(points, "simvq")], bars=True, width=4.2)]
    for name in (*(_in_layer(evidence, key) for key in (BASE, *PUBLISHED)), "model_bpp"):
        if name in measures:
            shown.append(Panel(evidence.heading(name), target.label, _scatter(pairs, name, target), width=4.2))
    nll = [(pair.tokenizer.quantizer, bits) for pair in pairs if (bits := nll_by_position(pair.generator.first))]
    lines = [
        Series([(t, Spread(value, None)) for t, value in enumerate(bits, 1)], quantizer, marker=False)
        for quantizer, bits in nll
    ]
    return [*shown, Panel("position", "NLL (bits per position)", lines, width=4.2)]


def table(evidence: Evidence) -> str:
    """The correlations, then the tokenizers in order of gFID."""
    pairs, target, measures = _pairs(evidence), _target(evidence), _measures(evidence)
    found = [(m.label, c) for m in measures.values() if (c := _against(pairs, target, m)) is not None]
    correlations = table_of(
        sorted(found, key=lambda row: -row[1].rho),
        {
            "measure": lambda row: row[0],
            f"rank correlation with {target.label}": lambda row: f"{row[1].rho:.2f}",
            "95 % interval": lambda row: f"{row[1].low:.2f} to {row[1].high:.2f}",
            "tokenizers": lambda row: str(row[1].n),
        },
    )
    columns: dict[str, Callable[[Pair], str]] = {"tokenizer": lambda pair: _label(evidence, pair.tokenizer)}
    columns["bits/image"] = lambda pair: f"{pair.tokenizer.bits() or 0:,.0f}"
    for name in (*_measured(evidence), *evidence.measured(*TARGETS)[:1]):
        columns[evidence.heading(name)] = lambda pair, name=name: spread_text(pair.metric(name))  # type: ignore[misc]
    columns["seeds"] = lambda pair: str(len(pair.generator.records))
    ordered = sorted(pairs, key=lambda pair: -(target.of(pair) or 0.0))
    return f"{correlations}\n{NOTE}\n\n{table_of(ordered, columns)}"


def _pairs(evidence: Evidence) -> list[Pair]:
    """Every tokenizer whose generator was measured, with it."""
    of = {record.weights.sha256: entry for entry in evidence.rows() for record in entry.records}
    probes = evidence.rows(None, "benchmark")
    found = []
    for entry in evidence.rows(None, "generator"):
        tokenizer = of.get(entry.first.weights.tokenizer_sha256)
        if tokenizer is not None:
            own = {record.weights.sha256 for record in tokenizer.records}
            found.append(Pair(tokenizer, entry, [probe for probe in probes if probe.first.weights.sha256 in own]))
    return found


def _target(evidence: Evidence) -> Measure:
    return _measure(evidence, _target_name(evidence))


def _target_name(evidence: Evidence) -> str:
    return next(iter(evidence.measured(*TARGETS)), TARGETS[0])


def _in_layer(evidence: Evidence, name: str) -> str:
    """The distance of that name in the features that the target is measured in."""
    layer = _target_name(evidence).removeprefix(TARGETS[0])
    return name + layer if name in (BASE, *PUBLISHED) else name


def _measured(evidence: Evidence) -> list[str]:
    """The metrics that are held against the target."""
    return evidence.measured(*(_in_layer(evidence, key) for key in OF_TOKENIZER), *OF_GENERATOR, *OF_PROBES)


def _measures(evidence: Evidence) -> dict[str, Measure]:
    found = {name: _measure(evidence, name) for name in _measured(evidence)}
    if "usage" in found:
        found["active"] = Measure("active codes", _active)
    if evidence.measured("model_bpp", PER_PIXEL):
        found["share"] = Measure("share that the AR needs", _share)
    found["bits"] = Measure("bits of an image", lambda pair: -(pair.tokenizer.bits() or 0.0))
    return found


def _measure(evidence: Evidence, name: str) -> Measure:
    rows = [entry for kind in ("tokenizer", "generator", "benchmark") for entry in evidence.rows(None, kind)]
    value = described(name, *rows)
    sign = 1 if value is not None and value.direction == "higher" else -1

    def of(pair: Pair) -> float | None:
        found = pair.value(name)
        return None if found is None else sign * found

    return Measure(evidence.label(name), of)


def _active(pair: Pair) -> float | None:
    """Codes that occur, the mean over depths."""
    usage, sizes = pair.tokenizer.metric("usage"), pair.tokenizer.codebook_sizes()
    return usage.mean * sum(sizes) / len(sizes) if usage is not None and sizes else None


def _share(pair: Pair) -> float | None:
    coded, fixed = pair.value("model_bpp"), pair.value(PER_PIXEL)
    return -coded / fixed if coded is not None and fixed else None


def _common(pairs: Sequence[Pair], *measures: Measure) -> list[list[float]]:
    """The values of each measure on the tokenizers that have all of them."""
    rows = [[measure.of(pair) for measure in measures] for pair in pairs]
    whole = [[value for value in row if value is not None] for row in rows]
    kept = [row for row in whole if len(row) == len(measures)]
    return [list(column) for column in zip(*kept, strict=True)] if kept else [[] for _ in measures]


def _against(pairs: Sequence[Pair], target: Measure, *measures: Measure | None) -> Correlation | None:
    """Of one measure with the target; of two, by how much more the first has of it. None where one is not there."""
    there = [measure for measure in measures if measure is not None]
    if len(there) < len(measures):
        return None
    return (correlation if len(there) == 1 else difference)(*_common(pairs, *there, target))


def _finding(statement: str, found: Correlation | None, *, informational: bool = False) -> Finding:
    if found is None:
        return Finding(statement, Verdict.missing, unit=UNIT, informational=informational)
    verdict = Verdict.holds if found.low > 0 else Verdict.fails if found.high < 0 else Verdict.undecided
    return Finding(statement, verdict, found.rho, None, 1, UNIT, found.text, informational)


def _scatter(pairs: Sequence[Pair], name: str, target: Measure) -> list[Series]:
    found: dict[str, list[tuple[float | str, Spread | None]]] = {}
    for pair in pairs:
        x, y = pair.value(name), target.of(pair)
        if x is not None and y is not None:
            found.setdefault(pair.tokenizer.quantizer, []).append((x, Spread(abs(y), None)))
    return [Series(points, quantizer, quantizer, line="") for quantizer, points in found.items()]


def _label(evidence: Evidence, entry: Entry) -> str:
    """``lfq K=256, entropy weight 0``: with what the claim changes beside quantizer, vocabulary and depth."""
    quantizer = entry.first.quantizer
    more = {
        "penalty": f", entropy weight {quantizer.get('entropy_weight')}",
        "channels": f", {entry.first.model.get('code_channels')} channels",
        "collapse": ", no restarts",
    }
    return entry.label + evidence.part_of(entry.first, more)
