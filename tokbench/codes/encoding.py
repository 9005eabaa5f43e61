"""Images to codes: a split of images encoded into a code cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from tokbench import threads
from tokbench.codes.cache import CodeCache
from tokbench.codes.header import HEADER, CodeHeader, read_header
from tokbench.codes.writer import CodeWriter
from tokbench.config.condition import CodesConfig
from tokbench.data import loader
from tokbench.data.base import ImageDataset, digest
from tokbench.data.loader import Loader
from tokbench.data.maps import to_model
from tokbench.errors import TokbenchError
from tokbench.models import Tokenizer
from tokbench.secrets import redacted


def code_header(
    tokenizer: Tokenizer,
    images: ImageDataset,
    *,
    source: str,
    passes: int = 1,
    latents: bool = False,
    condition: CodesConfig | None = None,
    captions: bool = False,
) -> CodeHeader:
    """What the cache that ``write_codes`` makes of the same will say of itself, less how many images there are."""
    shape = tokenizer.grid(images.image_size)
    quantizer: Any = tokenizer.quantizer
    return CodeHeader(
        tokenizer=source,
        tokenizer_sha256=tokenizer.sha256(),
        codebook_sizes=tuple(int(k) for k in quantizer.codebook_sizes),
        shape=(*shape, int(quantizer.num_codebooks)),
        image_size=images.image_size,
        source=redacted(images.source),
        split=images.split,
        preprocessing=images.view.describe(),
        fingerprint=_fingerprint(images, passes),
        passes=passes,
        classes=tuple(images.classes),
        latent_channels=int(quantizer.dim) if latents else None,
        latent_grid=quantizer.latent_grid if latents else None,
        condition=condition,
        captions=captions,
        stride=getattr(images.view, "stride", None),
        fps=getattr(images.view, "fps", None),
    )


def _fingerprint(images: ImageDataset, passes: int) -> str:
    return digest(images.fingerprint, str(passes))


def is_of(folder: Path, images: ImageDataset, passes: int) -> bool:
    """Whether the split's cache in ``folder`` holds codes of these images as they are now."""
    try:
        return read_header(folder).fingerprint == _fingerprint(images, passes)
    except TokbenchError:
        return False


def already_written(tokenizer: Tokenizer, images: ImageDataset, out: Path, **asked: Any) -> int:
    """How many images the cache of this split in ``out`` has; 0 where there is none.

    Raises TokbenchError where what lies there is something else.
    """
    folder = out / images.split
    if not folder.exists():
        return 0
    if not (folder / HEADER).exists():
        raise TokbenchError(f"{folder}: exists already and is not a code cache; choose another --out")
    found = CodeCache(out, images.split).header
    wanted = code_header(tokenizer, images, **asked)
    if found.stride is None:  # not noted: of clips the preprocessing and the fingerprint have both
        wanted = wanted.model_copy(update={"stride": None, "fps": None})
    if found.model_copy(update={"count": 0, "shards": ()}) != wanted:
        raise TokbenchError(
            f"{folder}: exists already, of other settings, images or another tokenizer; delete it or choose "
            "another --out"
        )
    return found.count


@torch.no_grad()
def write_codes(
    tokenizer: Tokenizer,
    images: ImageDataset,
    folder: Path,
    *,
    source: str,
    batch_size: int = 64,
    passes: int = 1,
    latents: bool = False,
    condition: CodesConfig | None = None,
    captions: bool = False,
    partners: Callable[[Tensor], Tensor] | None = None,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Encode every image of a split into a code cache; how many there are.

    Where an earlier call was killed or interrupted, this one continues after its last batch: the cache is the same.

    Args:
        folder: the split's folder in the cache; it must not exist yet.
        source: where the tokenizer was read from.
        passes: over the images, each with other random crops and flips.
        latents: keep the latents too (float16), for soft targets and stochastic codes.
        captions: keep them too; the images were asked for theirs.
        condition, partners: of pairs: what the codes of the other half are, and what makes them of a batch of it.
        progress: called with the images done and to do.
    """
    asked: Any = {"passes": passes, "latents": latents, "condition": condition, "captions": captions}
    header = code_header(tokenizer, images, source=source, **asked)
    config = tokenizer.config
    device, quantizer = next(tokenizer.parameters()).device, cast(Any, tokenizer.quantizer)
    with CodeWriter(folder, header, batch_size=batch_size) as writer:
        first, start = writer.position or (0, 0)
        done = sum(writer.shards)
        batches = loader(images, batch_size=batch_size, shuffle=False, seed=0, workers=workers)
        for number in range(first, passes):
            batches.set_epoch(number)
            batches.start_batch, skipped = start, len(images.skipped)
            for index, batch in enumerate(batches, start + 1):
                threads.adapt()
                z = tokenizer.latents(to_model(batch["image"].to(device), config.kind, config.channels))
                kept = z.movedim(1, -1).half() if latents else None
                # A batch without a readable image is left out by the loader, and then the count of batches is off.
                counted = len(images.skipped) == skipped or (isinstance(batches, Loader) and images.split == "train")
                whole: Any = batch
                beside = partners(whole["partner"]) if partners is not None else None
                position, texts = (number, index) if counted else None, whole.get("text", ())
                writer.add(quantizer.encode(z), batch["label"], kept, position, beside, texts)
                done += len(z)
                if progress is not None:
                    progress(done, len(images) * passes)
            start = 0
        if not done:
            raise TokbenchError(f"{images.source} ({images.split}): no image could be encoded")
    return done
