"""The columns that say what a row is, by name: attributes, none of which is a metric; and which were asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tokbench.errors import TokbenchError, did_you_mean, noun_of
from tokbench.results.columns import Attribute, Column, Value, as_text, lookup
from tokbench.results.definitions import in_order
from tokbench.results.entries import Entry, Spread
from tokbench.results.record import Record, is_shown


def _sizes(entry: Entry) -> Value:
    sizes = entry.codebook_sizes()
    if not sizes:
        return None
    return sizes[0] if len(sizes) == 1 or len(set(sizes)) == 1 else "·".join(str(size) for size in sizes)


def _codes(entry: Entry) -> Value:
    rate = entry.first.rate
    if rate is None:
        return None
    *grid, depth = rate.tokens
    if entry.lengths and entry.prefix is not None:
        return f"{entry.lengths[entry.prefix - 1]}×{depth}"
    return "×".join(map(str, [*grid, entry.prefix or depth]))


def _depth(entry: Entry) -> Value:
    return entry.depth if entry.prefix is None or entry.lengths else entry.prefix


def _kilobits(entry: Entry) -> Value:
    """A second of clips: the bits of one over the time that its frames are shown."""
    data, bits = entry.first.data, entry.bits()
    if data is None or bits is None or not data.frame_rate or noun_of(data.size) != "clip":
        return None
    frames: int = data.size[0]  # type: ignore[index]
    return bits * data.frame_rate / frames / 1000 if frames else None


def _psnr_of(part: str) -> Callable[[Entry], Spread | None]:
    """The PSNR of the ``first_frame`` or the ``later_frames``, which the records of clips have beside the whole."""

    def value(entry: Entry) -> Spread | None:
        data = entry.first.data
        if data is None or noun_of(data.size) != "clip" or entry.prefix is not None:
            return None
        found = [record.said_of("psnr").get(part) for record in entry.records]
        return Spread.over(x if type(x) in (int, float) and is_shown(x) else None for x in found)

    return value


def _milliseconds(part: str) -> Callable[[Entry], Value]:
    """An image's share of a batch, without the first batch."""

    def value(entry: Entry) -> Value:
        speed = lookup(entry.first, f"timing.{part}_images_per_second")
        return 1000 / speed if type(speed) in (int, float) and speed > 0 else None

    return value


def _whole(value: float | None) -> Value:
    return int(value) if value is not None and float(value).is_integer() else value


def _quantizer(entry: Entry) -> Value:
    name = entry.first.quantizer.name
    if name is None and entry.first.kind == "benchmark":
        return entry.first.name  # what stands beside tokenizers, such as pixels
    if entry.prefix is None or name is None:
        return name
    if entry.lengths:
        return f"{name}, first {entry.lengths[entry.prefix - 1]} of {entry.lengths[-1]} codes"
    return f"{name}, first {entry.prefix} of {entry.depth}"


def _scaled(block: str, key: str, unit: float) -> Callable[[Entry], Spread | None]:
    """A number of a block of the records, in units of 1 / ``unit``."""

    def value(entry: Entry) -> Spread | None:
        found = [getattr(getattr(record, block), key) for record in entry.records]
        return Spread.over(x * unit for x in found if x is not None)

    return value


def _tuning(record: Record) -> dict[str, Any]:
    """What the record says of how its settings were chosen; empty where nobody chose them, or it is not readable."""
    tuning = record.training.get("tuning")
    return tuning if isinstance(tuning, dict) else {}


def _trials(entry: Entry) -> Value:
    found = _tuning(entry.first).get("trials")
    return found if type(found) is int else None


def _chosen(entry: Entry) -> Value:
    found = _tuning(entry.first).get("chosen")
    if not isinstance(found, dict):
        return None
    return " ".join(f"{name}={value}" for name, value in found.items()) or "the default"


def _gain(entry: Entry) -> Spread | None:
    """By how much it is better than the default settings with the same seed, in the metric it was tuned by."""
    differences: list[float | None] = []
    for record in entry.records:
        usual, name = (_tuning(record).get(key) for key in ("default", "metric"))
        metric = record.metrics.get(name) if isinstance(name, str) else None
        if metric is None or metric.value is None or not isinstance(usual, int | float) or not is_shown(usual):
            continue
        differences.append((usual - metric.value) if metric.direction == "lower" else (metric.value - usual))
    return Spread.over(differences)


def _source(entry: Entry) -> Value:
    record = entry.first
    return f"published, {record.provenance}" if entry.published else "measured"


def _revision(entry: Entry) -> Value:
    git = entry.first.git
    return None if git is None or git.revision is None else git.revision[:10] + ("+changes" if git.dirty else "")


def _number(
    key: str, label: str, value: Callable[[Entry], Value | Spread], digits: int | None = None, unit: str = ""
) -> Attribute:
    return Attribute(Column(key, label, digits=digits, unit=unit), value)


def _text(key: str, label: str, value: Callable[[Entry], Value | Spread]) -> Attribute:
    return Attribute(Column(key, label, numeric=False), value)


ATTRIBUTES: dict[str, Attribute] = {
    attribute.column.key: attribute
    for attribute in (
        _text("quantizer", "quantizer", _quantizer),
        _text("generator", "generator", lambda e: e.generator),
        _text("name", "name", lambda e: e.first.name),
        _number("K", "K", _sizes),
        _number("D", "D", _depth),
        _text("codes", "codes", _codes),
        _number("bits", "bits/image", lambda e: _whole(e.bits())),
        _number("bpp", "bpp", lambda e: e.bits_per_pixel(), digits=3),
        _number("kbps", "kbit/s", _kilobits, digits=1),
        _number("psnr_first", "PSNR, first frame", _psnr_of("first_frame"), digits=2, unit="dB"),
        _number("psnr_later", "later frames", _psnr_of("later_frames"), digits=2, unit="dB"),
        _text("weights", "weights", lambda e: e.first.weights.which),
        _text("architecture", "architecture", lambda e: e.first.model.architecture),
        _number("downsampling", "f", lambda e: e.downsampling),
        _number("params", "params", lambda e: e.first.model.parameters),
        _number("batch", "batch", lambda e: e.first.timing.batch_size if e.first.kind == "benchmark" else None),
        _number("steps", "steps", lambda e: e.first.training.steps),
        _text("train_data", "trained on", lambda e: e.first.training.data),
        _number("train_time", "train", lambda e: Spread.over(r.training.seconds for r in e.records), 0, "s"),
        _number("train_flops", "train", _scaled("training", "flops", 1e-12), unit="TFLOP"),
        _number("train_memory", "training memory", _scaled("training", "peak_memory_bytes", 2**-20), 0, "MiB"),
        _number("memory", "evaluation memory", _scaled("timing", "peak_memory_bytes", 2**-20), 0, "MiB"),
        _number("time", "evaluation", lambda e: Spread.over(r.timing.seconds for r in e.records), 1, "s"),
        _number("encode_ms", "encode", _milliseconds("encode"), 1, "ms/image"),
        _number("decode_ms", "decode", _milliseconds("decode"), 1, "ms/image"),
        _number("trials", "tuning trials", _trials),
        _text("chosen", "chosen settings", _chosen),
        _number("gain", "gain over the default", _gain, digits=2),
        _number("seeds", "seeds", lambda e: None if e.published else len(e.records)),
        _text("source", "source", _source),
        _text("recipe_hash", "recipe hash", lambda e: e.first.recipe_hash),
        _text("revision", "revision", _revision),
        _text("created", "created", lambda e: e.first.created),
        _text("id", "id", lambda e: " ".join(record.id for record in e.records)),
    )
}

ALIASES = {
    "k": "K",
    "codebook_size": "K",
    "d": "D",
    "depth": "D",
    "bits_per_image": "bits",
    "bits_per_pixel": "bpp",
    "parameters": "params",
    "seed": "seeds",
    "f": "downsampling",
}

FAMILIES = {"compute": ("train_flops", "train_time", "train_memory", "encode_ms", "decode_ms", "memory")}

BLOCKS = ("quantizer", "model", "data", "weights", "rate", "training", "timing", "environment", "recipe")
BEFORE = ("quantizer", "generator", "K", "D", "codes", "bits", "bpp", "kbps")
FRAMES = ("psnr_first", "psnr_later")
AFTER = ("trials", "chosen", "gain", "params", "train_time", "seeds")
# Shown, where they differ, when the usual columns do not tell two rows apart.
TELLING = ("batch", "name", "weights", "architecture", "downsampling", "train_data", "steps", "revision", "created")


def attribute(key: str) -> Attribute:
    """The attribute of a key, or of a dotted path into the record (``recipe.training.steps``)."""
    return ATTRIBUTES[key] if key in ATTRIBUTES else _text(key, key, lambda entry: as_text(lookup(entry.first, key)))


class Values:
    """What attributes say of some entries, each found out once."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = entries
        self._known: dict[str, list[Value | Spread]] = {}

    def of(self, key: str) -> list[Value | Spread]:
        """In the order of the entries."""
        if key not in self._known:
            value = attribute(key).value
            self._known[key] = [value(entry) for entry in self._entries]
        return self._known[key]

    def any(self, key: str) -> bool:
        """Whether one of them has a value."""
        return any(value is not None for value in self.of(key))


def default_keys(usual: Iterable[str]) -> list[str]:
    """The default columns: identity and rate, the usual ones of the metrics, cost."""
    metrics = in_order(usual)
    if "psnr" in metrics:
        place = metrics.index("psnr") + 1
        metrics[place:place] = FRAMES
    return [*BEFORE, *metrics, *AFTER]


def resolve(keys: Sequence[str], metrics: Sequence[str]) -> list[str]:
    """Column names as typed to keys: aliases, any case, ``lpips`` for every LPIPS, dotted paths into the record.

    Raises:
        TokbenchError: a name that is neither.
    """
    resolved: list[str] = []
    for typed in keys:
        name = typed.strip()
        if name in ATTRIBUTES or name in metrics:
            found = [name]
        elif name.lower() in ALIASES:
            found = [ALIASES[name.lower()]]
        elif name.lower() in ATTRIBUTES or name.lower() in metrics:
            found = [name.lower()]
        elif name.lower() in FAMILIES:
            found = list(FAMILIES[name.lower()])
        elif family := [metric for metric in metrics if metric.startswith(f"{name.lower()}_")]:
            found = family
        elif name.partition(".")[0] in BLOCKS and "." in name:
            found = [name]
        else:
            raise TokbenchError(f"no column {name!r}{did_you_mean(name, [*ATTRIBUTES, *metrics])}")
        resolved.extend(key for key in found if key not in resolved)
    return resolved
