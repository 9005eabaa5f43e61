"""What each image scored: so that two tokenizers can be compared image by image, not by their means alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

from tokbench.metrics.statistics import union_over_processes


class PerImage:
    """One line an image: its position in the data set, and a number of each metric that has one for every image.

    A clip's number is the mean of its frames'.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = list(names)
        self._seen: dict[int, tuple[float, ...]] = {}

    def update(self, positions: Tensor, values: Mapping[str, Tensor]) -> None:
        """positions: int64 (B,); values: (B,), or (B, T) of clips, by name, of every one of ``names``."""
        each = [values[name].detach().double().reshape(len(positions), -1) for name in self.names]
        columns = [value.mean(1).tolist() for value in each]
        for position, *row in zip(positions.tolist(), *columns, strict=True):
            self._seen[position] = tuple(row)

    def all_reduce(self) -> None:
        """Afterwards every process holds the lines of all of them. Call once, at the end."""
        self._seen = dict(union_over_processes(self._seen.items()))

    def csv(self) -> str:
        """With a header, in the order of positions; numbers to seven digits. Empty where there is nothing to say."""
        if not self.names or not self._seen:
            return ""
        lines = [",".join(["image", *self.names])]
        lines += [",".join([str(at), *(f"{value:.7g}" for value in self._seen[at])]) for at in sorted(self._seen)]
        return "\n".join(lines) + "\n"
