"""What an import did with every key of the file."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from tokbench.errors import printable


@dataclass
class ImportReport:
    """Every key accounted for: loaded, left aside on purpose, or left over."""

    source: str
    weights: str  # the entry they came from, and whether live or EMA
    loaded: int = 0
    ignored: dict[str, list[str]] = field(default_factory=dict)  # reason -> official names
    left_over: list[str] = field(default_factory=list)  # of no known purpose; listed, and not used
    entries: list[str] = field(default_factory=list)  # what else the file holds beside the weights used
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ignored = {reason: names for reason, names in self.ignored.items() if names}

    def lines(self) -> list[str]:
        """The report for a terminal."""
        lines = [f"source: {self.source}", f"weights: {self.weights}", f"loaded: {self.loaded} tensors"]
        for reason, names in self.ignored.items():
            groups = Counter(".".join(name.split(".")[:2]) for name in names)
            shown = [f"{group} ({count})" for group, count in groups.items()]
            lines.append(f"not used, {reason}: {len(names)} ({_few(shown)})")
        if self.entries:
            lines.append(f"not used, other entries of the file: {_few(self.entries)}")
        if self.left_over:
            lines.append(f"left over, of no known purpose: {len(self.left_over)} ({_few(self.left_over)})")
        return lines + [f"note: {note}" for note in self.notes]


def _few(names: list[str]) -> str:
    return ", ".join(printable(name, 60) for name in names[:6]) + (", ..." if len(names) > 6 else "")
