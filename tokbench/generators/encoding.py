"""Images to codes: batches as a generator sees them, and the code cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from tokbench import threads
from tokbench.data import loader, to_float
from tokbench.data.base import ImageDataset, digest
from tokbench.data.code_header import HEADER, CodeHeader, read_header
from tokbench.data.code_writer import CodeWriter
from tokbench.data.codes import CodeCache
from tokbench.data.loader import Loader
from tokbench.errors import TokbenchError
from tokbench.models import Tokenizer
from tokbench.secrets import redacted


def code_header(
    tokenizer: Tokenizer, images: ImageDataset, *, source: str, passes: int = 1, latents: bool = False
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
    if found.model_copy(update={"count": 0, "shards": ()}) != code_header(tokenizer, images, **asked):
        raise TokbenchError(
            f"{folder}: exists already, of other settings, pictures or another tokenizer; delete it or choose "
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
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Encode every image of a split into a code cache; how many there are.

    Where an earlier call was killed or interrupted, this one goes on after its last batch: the cache is the same.

    Args:
        folder: the split's folder in the cache; it must not exist yet.
        source: where the tokenizer was read from.
        passes: over the images, each with other random crops and flips.
        latents: keep the latents too (float16), for soft targets and stochastic codes.
        progress: called with the images done and to do.
    """
    header = code_header(tokenizer, images, source=source, passes=passes, latents=latents)
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
                z = tokenizer.latents(to_float(batch["image"].to(device)))
                kept = z.movedim(1, -1).half() if latents else None
                # A batch without a readable picture is left out by the loader, and then the count of batches is off.
                counted = len(images.skipped) == skipped or (isinstance(batches, Loader) and images.split == "train")
                writer.add(quantizer.encode(z), batch["label"], kept, (number, index) if counted else None)
                done += len(z)
                if progress is not None:
                    progress(done, len(images) * passes)
            start = 0
        if not done:
            raise TokbenchError(f"{images.source} ({images.split}): no image could be encoded")
    return done


class SoftCodes:
    """Training codes and targets of RQ-Transformer's section 3.2.3: soft targets, stochastic codes, or both.

    Args:
        soft: temperature of the targets, None for hard ones.
        stochastic: temperature at which codes are drawn, None for the nearest ones.
    """

    def __init__(self, tokenizer: Tokenizer, soft: float | None, stochastic: float | None) -> None:
        self.quantizer: Any = tokenizer.quantizer
        self.soft, self.stochastic = soft, stochastic
        name = type(self.quantizer).__name__
        for wanted, key, method in ((soft, "soft_targets", "soft_targets"), (stochastic, "stochastic_codes", "sample")):
            if wanted is not None and not hasattr(self.quantizer, method):
                raise TokbenchError(f"generator.{key}: {name} has no code vectors to take distances to")
        self.path = soft is not None and stochastic is not None and self.quantizer.num_codebooks > 1
        # In the space where the quantizer compares: with codebook_dim that of its own linear map of the latents.
        self.tables = compared_vectors(self.quantizer) if self.path else []

    @property
    def wanted(self) -> bool:
        """Whether latents are needed at all."""
        return self.soft is not None or self.stochastic is not None

    @torch.no_grad()
    def __call__(
        self, latents: Tensor, codes: Tensor | None = None, keys: Sequence[int] | None = None
    ) -> tuple[Tensor, list[Tensor] | None]:
        """Latents in the quantizer's layout -> codes (B, *grid, D) and targets (B, T, K_d) of each depth, or None.

        Codes that are known (from a cache) are not computed again, unless they are to be drawn: each image's from its
        own of the B ``keys``, in whatever batch it is, or all from torch's own generator.
        """
        q = self.quantizer
        if self.stochastic is not None and keys is not None:
            noise = [torch.Generator(latents.device).manual_seed(key) for key in keys]
            rows = zip(latents.split(1), noise, strict=True)
            codes = torch.cat([q.sample(row, self.stochastic, generator) for row, generator in rows])
        elif self.stochastic is not None:
            codes = q.sample(latents, self.stochastic)
        elif codes is None:
            codes = q.encode(latents)
        if self.soft is None:
            return codes, None
        if self.path:
            flat = (latents.movedim(1, -1) if q.channel_first else latents).flatten(1, -2)
            compared = flat if q.project_in is None else q.project_in(flat)
            return codes, targets_along(self.tables, compared, codes.flatten(1, -2), self.soft)
        soft = q.soft_targets(latents, self.soft).flatten(1, -3)
        return codes, list(soft.unbind(-2))


def compared_vectors(quantizer: Any) -> list[Tensor]:
    """The code vectors (K, d) of each depth as a residual quantizer compares them with its (mapped) latents."""
    book: Tensor = quantizer.codebook.detach().float()
    return list(book) if book.dim() == 3 else [book] * int(quantizer.num_codebooks)


def targets_along(tables: Sequence[Tensor], latents: Tensor, codes: Tensor, temperature: float) -> list[Tensor]:
    """softmax over k of -|r_{d-1} - e_k|^2 / temperature with the residuals of the *given* codes.

    Args:
        tables: code vectors (K_d, dim) of each depth.
        latents: (B, T, dim), in the space of the tables.
        codes: (B, T, D).
    """
    residual, found = latents.float(), []
    for depth, table in enumerate(tables):
        table = table.to(residual.device)
        found.append(((2 * residual @ table.T - table.square().sum(1)) / temperature).softmax(-1))
        residual = residual - table[codes[..., depth]]
    return found
