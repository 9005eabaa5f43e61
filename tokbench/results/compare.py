"""One run whole, or what differs between two."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tokbench.results.definitions import ARROWS
from tokbench.results.paired import Paired
from tokbench.results.record import MetricValue, Record, is_shown

_BLOCKS = ("quantizer", "model", "data", "weights", "rate", "recipe", "training", "timing", "environment", "git")
# Different in every two runs, and so not worth saying.
_ALWAYS = {"timing.seconds", "training.seconds"}


@dataclass(frozen=True)
class Difference:
    """One key with two values; ``change`` is the second less the first where both are numbers."""

    block: str
    key: str
    first: str
    second: str
    change: str = ""


def facts(record: Record) -> dict[str, dict[str, str]]:
    """Everything a record says, in blocks of ``key: text``, in reading order."""
    run = {key: getattr(record, key) for key in ("id", "cell", "name", "kind", "source", "created", "seed", "error")}
    run["source"] = record.provenance or record.source
    blocks = {"run": {key: text(value) for key, value in run.items() if value is not None}}
    blocks["metrics"] = {metric.label: metric_text(metric) for metric in record.metrics.values()}
    plain = record.plain()
    for name in _BLOCKS:
        blocks[name] = {key: text(value) for key, value in _flat(plain.get(name))}
    blocks["artifacts"] = dict(record.artifacts)
    return {name: block for name, block in blocks.items() if block}


def differences(first: Record, second: Record, pairs: Mapping[str, Paired] | None = None) -> list[Difference]:
    """What differs in metrics (of equal definition), recipe, data, model, environment and git.

    A metric of two definitions is listed with both versions and no change: the numbers do not compare.

    Args:
        pairs: by metric, the differences image by image (``tokbench.results.paired``): these bring an interval, and a
            verdict that says where it cannot tell.
    """
    found = list(_metric_differences(first, second, pairs or {}))
    whole = [record.plain() for record in (first, second)]
    asked = [dict(_flat(plain.get("recipe"))) for plain in whole]
    for block in _BLOCKS:
        one, two = (dict(_flat(plain.get(block))) for plain in whole)
        for key in dict.fromkeys([*one, *two]):
            left, right = one.get(key), two.get(key)
            name = f"{block}.{key}"
            if left == right or name in _ALWAYS:
                continue
            if [side.get(name) for side in asked] == [left, right]:
                continue  # the recipe's lines say it
            change = ""
            if _number(left) and _number(right):
                change = f"{right - left:+.6g}"  # type: ignore[operator]
            found.append(Difference(block, key, text(left), text(right), change))
    return found


def metric_text(metric: MetricValue) -> str:
    """``26.31 dB ± 0.12 ↑ (n=96, tokbench-v1/psnr-1)``."""
    if metric.value is None:
        return f"- ({metric.note or 'not measured'})"
    unit = f" {metric.unit}" if metric.unit else ""
    error = f" ± {metric.stderr:.2g}" if metric.stderr is not None else ""
    note = f"; {metric.note}" if metric.note else ""
    depths = f"; by depth {', '.join(f'{value:.4g}' for value in metric.by_depth)}" if metric.by_depth else ""
    arrow = f" {ARROWS[metric.direction]}".rstrip()
    return f"{metric.value:.6g}{error}{unit}{arrow} (n={metric.n:,}, {metric.version}{depths}{note})"


def text(value: Any) -> str:
    """A value in one line; ``-`` for one that is not there."""
    if value is None:
        return "-"
    if isinstance(value, list):
        return "[" + ", ".join(text(item) for item in value) + "]"
    return str(value)


def _metric_differences(first: Record, second: Record, pairs: Mapping[str, Paired]) -> Iterator[Difference]:
    for name in dict.fromkeys([*first.metrics, *second.metrics]):
        one, two = first.metrics.get(name), second.metrics.get(name)
        label = (one or two).label  # type: ignore[union-attr]
        same = first.data is not None and second.data is not None and _images(first) == _images(second)
        shown = [f"{m.value:.6g}" if m is not None and m.value is not None else "-" for m in (one, two)]
        if one is None or two is None or one.value is None or two.value is None:
            if shown[0] != shown[1]:
                yield Difference("metrics", label, shown[0], shown[1])
        elif one.version != two.version:
            yield Difference("metrics", label, f"{shown[0]} [{one.version}]", f"{shown[1]} [{two.version}]")
        elif one.value != two.value:
            by = two.value - one.value
            change = _change(one.direction, by, pairs.get(name)) if same else f"{by:+.4g} (other images)"
            yield Difference("metrics", label, shown[0], shown[1], change)


def _change(direction: str, by: float, pair: Paired | None) -> str:
    """On the same images: image by image where that is known."""
    if pair is not None:
        return f"{pair.difference:+.4g} [{pair.low:+.3g}, {pair.high:+.3g}] {pair.verdict(direction)}"
    better = {"higher": by > 0, "lower": by < 0}.get(direction)
    return f"{by:+.4g}" + {True: " better", False: " worse", None: ""}[better]


def _images(record: Record) -> tuple[Any, ...]:
    data = record.data
    return () if data is None else (data.spec, data.split, data.n, data.size, data.protocol)


def _flat(block: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(block, dict):
        if block is not None:
            yield prefix, block
        return
    for key, value in block.items():
        name = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, dict) and value:
            yield from _flat(value, name)
        else:
            yield name, value


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and is_shown(value)
