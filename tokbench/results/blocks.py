"""The open parts of a record: what tokbench reads of them has types, everything else in them is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, get_type_hints

MOST = 1e18  # larger than any count, rate or time; what is beyond does not survive arithmetic

_TYPES = {str: ((str,), "text"), int: ((int,), "a whole number"), float: ((int, float), "a number"),
          list: ((list,), "a list")}  # fmt: skip


def _get(name: str) -> Callable[[Block], Any]:
    return lambda block: block.get(name)


class Block(dict[str, Any]):
    """A JSON object within a record: keys that tokbench reads are attributes (None where they are missing), and the
    others (settings of one quantizer, keys of a newer tokbench) are kept beside them in the order of the line.

    A subclass lists the former by their types; numbers are at least 0 and at most ``MOST``, or what ``_most`` says.
    """

    _most: ClassVar[dict[str, float]] = {}
    _known: dict[str, tuple[tuple[type, ...], str]]

    def __init_subclass__(cls) -> None:
        cls._known = {}
        for name, hint in get_type_hints(cls).items():
            if not name.startswith("_"):
                kind = hint.__args__[0]  # of ``kind | None``
                cls._known[name] = _TYPES[getattr(kind, "__origin__", kind)]
                setattr(cls, name, property(_get(name)))

    @classmethod
    def most(cls, name: str) -> float:
        """The largest number that may stand under a known key."""
        return cls._most.get(name, MOST)

    def problem(self) -> str | None:
        """What is wrong with the first known key that has another type, or None."""
        for name, (types, what) in self._known.items():
            value = self.get(name)
            if value is None:
                continue
            if type(value) not in types:
                return f"{name}: is not {what}"
            if (int in types) and not 0 <= value <= self.most(name):
                return f"{name}: is out of range"
        return None


class Quantizer(Block):
    """Its settings, under the names of its constructor."""

    name: str | None
    codebook_size: int | None
    depth: int | None


class Model(Block):
    """The architecture and its settings; of a generator its own."""

    architecture: str | None
    generator: str | None  # "ar" or "mlm", where that is not the architecture
    kind: str | None  # the same in older lines
    parameters: int | None


class Weights(Block):
    """Which ones were measured: averaging moves rFID and PSNR in opposite directions."""

    which: str | None  # "ema", "live", "saved" or "published"
    sha256: str | None
    tokenizer_sha256: str | None  # beside a generator's


class Training(Block):
    """What the training says of itself."""

    _most = {"flops": 1e30}  # hours of one GPU are beyond 1e18

    data: str | None
    steps: int | None
    images: int | None
    batch_size: int | None
    seconds: float | None
    encoding_seconds: float | None
    flops: float | None  # two a multiply-add, of all its steps on all its devices
    peak_memory_bytes: int | None


class Timing(Block):
    """How long the measuring took, and on what; ``encode_images_per_second`` and others by what was timed."""

    seconds: float | None
    device: str | None
    precision: str | None
    batch_size: int | None
    processes: int | None
    peak_memory_bytes: int | None
    warmup: int | None


class Environment(Block):
    """Versions of packages by name, and the machine; no host name, user name or path."""

    python: str | None
    platform: str | None
    cpu: str | None
    cores: int | None
    gpus: list[str] | None
