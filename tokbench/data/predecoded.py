"""``cached:SPEC``: the sized images of another source, decoded once and kept as bytes in the user's cache.

For images that are expensive to decode next to what a training step takes. The samples are exactly those of SPEC.
"""

from __future__ import annotations

import json
import shutil
from typing import Any

import numpy as np
import torch
from rich.progress import TaskID

from tokbench.config.crop import CHANCE
from tokbench.config.grid import axes
from tokbench.cores import available
from tokbench.data.base import ImageDataset, Sample, Split, digest
from tokbench.data.crops import View
from tokbench.data.draws import uniforms
from tokbench.data.loader import Loader
from tokbench.data.media import IMAGES
from tokbench.data.registry import register
from tokbench.data.waiting import progress
from tokbench.data.whole import WholePictures
from tokbench.errors import TokbenchError
from tokbench.results.files import written
from tokbench.weights import cache_dir


class PredecodedImages(ImageDataset):
    """Images in a memory-mapped file of uint8 (N, 3, H, W), with their labels and ids beside it."""

    def __init__(self, source: str, view: View, whole: WholePictures) -> None:
        super().__init__(source, whole.split, view)
        self.whole, self.classes, self.of = whole, whole.classes, whole.of
        kind = whole.source.partition(":")[0]
        self.share = whole.share.replace(f"{kind}:", f"cached:{kind}:")
        shape = (len(whole), 3, *axes(view.image_size))
        key = digest("squares 2", whole.store, whole.fingerprint)
        self.file = cache_dir() / "pictures" / f"{key}.u8"
        beside = self.file.with_suffix(".json")
        try:
            known = json.loads(beside.read_text("utf-8"))
            complete = self.file.stat().st_size == int(np.prod(shape)) and len(known["id"]) == len(whole)
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            complete = False
        if not complete:
            known = self._build(shape)
        self.labels: list[int] = known["label"]
        self.ids: list[str] = known["id"]
        self.skipped = [(path, reason) for path, reason in known["skipped"]]
        self.pixels = np.memmap(self.file, np.uint8, "r", shape=shape)

    def __len__(self) -> int:
        return len(self.ids)

    def sample(self, index: int, epoch: int = 0) -> Sample:
        """As the source's own: the flip is decided by the same draw."""
        pixels = self.pixels[index]
        if self.view.flip and uniforms(4, self.view.seed, epoch, index)[3] < 0.5:
            pixels = pixels[:, :, ::-1]
        image = self.view.seen(torch.from_numpy(np.array(pixels)))
        return {"image": image, "label": self.labels[index], "id": self.ids[index]}

    @property
    def content(self) -> str:
        return self.whole.content

    @property
    def fingerprint(self) -> str:
        """That of the source with the same preprocessing: the samples are equal."""
        return self.whole.fingerprint_with(self.view)

    def _build(self, shape: tuple[int, ...]) -> dict[str, list[Any]]:
        folder, needed = self.file.parent, int(np.prod(shape))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(folder).free
        except OSError as error:
            raise TokbenchError(f"{self.source}: {folder} cannot be written: {error.strerror}") from None
        if free < needed * 1.02 + 2**24:
            raise TokbenchError(
                f"{self.source}: its images take {needed / 1e9:.1f} GB and {folder} has {free / 1e9:.1f} GB left; "
                "set TOKBENCH_CACHE to a roomier place, or drop 'cached:'"
            )
        known: dict[str, list[Any]] = {"label": [], "id": [], "skipped": []}
        with written(self.file.with_suffix(".json")) as text, written(self.file, sync=True) as part:
            with part.open("wb") as out, progress(f"decoding {self.source}, once", shape[0]) as bar:
                for batch in Loader(self.whole, batch_size=64, shuffle=False, seed=0, workers=min(8, available() - 1)):
                    out.write(batch["image"].numpy().tobytes())
                    known["label"] += batch["label"].tolist()
                    known["id"] += batch["id"]
                    bar.advance(TaskID(0), len(batch["id"]))
            if len(known["id"]) != shape[0]:
                missing = shape[0] - len(known["id"])
                raise TokbenchError(f"{self.source}: {missing} images became unreadable while they were decoded")
            known["skipped"] = [list(entry) for entry in self.whole.skipped]
            text.write_text(json.dumps(known), "utf-8")
        return known


@register({"cached:SPEC": "any but photos and streams, decoded once and kept as bytes in the user's cache"}, (IMAGES,))
def open_predecoded(source: str, rest: str, split: Split, view: View, limit: int | None) -> PredecodedImages:
    """``cached:SPEC`` for a folder, Parquet, shards or the hub.

    Raises:
        TokbenchError: the crop is by chance, SPEC is not a set of whole images, or the disk has no room.
    """
    from tokbench.data.sources import open_images

    if view.crop in CHANCE:
        raise TokbenchError(
            f"{source}: a {view.crop} crop differs in every epoch and cannot be kept; set data.crop to adm"
        )
    whole = open_images(rest, split, image_size=view.image_size, crop=view.crop, seed=view.seed, limit=limit)
    if not isinstance(whole, WholePictures):
        raise TokbenchError(f"{source}: {rest.partition(':')[0]} has no whole images to keep; drop 'cached:'")
    return PredecodedImages(source, view, whole)
