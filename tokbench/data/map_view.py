"""Label maps and depth as samples: cropped as images are, never mixed with their figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from tokbench.config.grid import Size
from tokbench.config.kind import SHOWN, Kind
from tokbench.data.crops import View
from tokbench.data.maps import load_map, map_tensor
from tokbench.data.media import MAPS
from tokbench.errors import TokbenchError


@dataclass(frozen=True)
class MapView(View):
    """Maps of one kind, see ``tokbench.data.maps``; ``channels`` of labels are their classes."""

    kind: Kind = "labels"

    media = MAPS

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crop == "taming":
            raise TokbenchError(f"crop taming is of images, not of {SHOWN[self.kind]}: choose another")

    def named(self, protocol: str) -> str:
        """The protocol's name with the kind."""
        return f"{protocol}-{self.kind}"

    def load(self, encoded: bytes | Path, name: str, start: int | None = None) -> Any:
        """A :class:`~tokbench.data.maps.Map`."""
        return load_map(encoded, self.kind, name=name, labels=self.channels)

    def take(self, loaded: Any, epoch: int, index: int) -> tuple[Tensor, str]:
        """(labels int64 or depth float (1, H, W), ""). Raises ValueError for a wrong size."""
        return map_tensor(self(loaded, epoch, index), self.kind), ""  # type: ignore[arg-type]

    @property
    def examines(self) -> str:
        """What ``examine`` depends on, beside the file."""
        return f"{self.kind} {self.channels} {super().examines}"

    @property
    def values(self) -> str:
        return f", {self.channels} labels" if self.kind == "labels" else ", depth"


def view_of(kind: Kind, image_size: Size, crop: str, flip: bool = False, seed: int = 0, channels: int = 3) -> View:
    """The view of images, or of maps."""
    settings = image_size, crop, flip, seed, channels
    return View(*settings) if kind == "image" else MapView(*settings, kind)
