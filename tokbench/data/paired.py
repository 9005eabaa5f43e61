"""Images with something beside each: a depth map, a map of labels or another image, cropped and mirrored alike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from tokbench.config.condition import Partner
from tokbench.data.crops import View
from tokbench.data.decode import UnreadableImage
from tokbench.data.media import IMAGES
from tokbench.data.partner import load_partner, partner_tensor
from tokbench.data.whole import WholePictures
from tokbench.errors import TokbenchError, size_text


class Paired(WholePictures):
    """Images whose samples have a ``partner`` (``tokbench.data.partner``). Subclasses give ``partner``."""

    pairs_with: Partner
    label_count: int | None = None  # of masks: how many there may be, where somebody knows

    def partner(self, position: int) -> tuple[bytes | Path, str]:
        """What goes with one image: its file or the file's bytes, and what it is called."""
        raise NotImplementedError

    def paired(self, positions: Sequence[int], there: Sequence[int]) -> list[int]:
        """Those of the positions that something goes with, which are ``there``; the others are skipped and named."""
        missing = sorted(set(positions) - set(there))
        self.skipped.extend((self.name(position), f"no {self.pairs_with} for it") for position in missing)
        if missing:
            self.notes = [*self.notes, f"images without {self.pairs_with}: {len(missing)}"]
        return list(there)

    def goes_with(self, loaded: Any, index: int, epoch: int) -> dict[str, Tensor]:
        """``partner``. Raises UnreadableImage where it is damaged or of another size."""
        position = int(self.kept[index])
        name, (encoded, called) = self.name(position), self.partner(position)
        partner = load_partner(encoded, self.pairs_with, None if isinstance(encoded, Path) else called)
        if partner.size != loaded.size:
            sizes = f"{size_text(partner.size[::-1])}, the image {size_text(loaded.size[::-1])}"
            raise UnreadableImage(name, f"{called} is {sizes} (height x width)")
        values = partner_tensor(self.view(partner, epoch, index), self.pairs_with)
        most = self.label_count
        if self.pairs_with == "masks" and most and not 0 <= int(values.min()) <= int(values.max()) < most:
            raise UnreadableImage(name, f"{called} has labels beyond the {most} that there are")
        return {"partner": values}


def check_pairs(source: str, kind: Partner, view: View) -> None:
    """TokbenchError for a view that does not take two images alike."""
    if view.media is not IMAGES or view.crop == "taming":
        raise TokbenchError(f"{source}: {kind}= goes with images, and with any crop but taming's")
