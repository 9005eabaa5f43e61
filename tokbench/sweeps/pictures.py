"""The pictures of a sweep: of each tokenizer, and of all of them side by side."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tokbench.clips import film, save_clip
from tokbench.data import open_split
from tokbench.data.maps import to_model, to_samples, visible
from tokbench.errors import TokbenchError, TokbenchWarning
from tokbench.models import Tokenizer
from tokbench.pictures import grid as picture_grid
from tokbench.pictures import save_picture
from tokbench.results.record import Record
from tokbench.results.sheets import COLUMNS, MOST, zoom
from tokbench.sweeps.grid import TokenizerCell

_FILMS, _FPS = 3, 8.0  # clips in the film of a comparison, shown slowly enough to see where they differ
_TOKENIZERS = 8  # in the comparison


@torch.no_grad()
def tokenizer_pictures(tokenizer: Tokenizer, images: Any, folder: Path) -> dict[str, Path]:
    """Grids of one layout: originals, reconstructions, and coarse to fine where parts of the codes decode."""
    samples, config = _samples(images), tokenizer.config
    device = next(tokenizer.parameters()).device
    codes = tokenizer.encode(to_model(samples.to(device), config.kind, config.channels))
    prefixes = tokenizer.prefixes()
    made = (to_samples(tokenizer.decode(prefix.of(codes)), config.kind).cpu() for prefix in prefixes)
    originals, *stages = (visible(shown, config.kind) for shown in (samples, *made))
    scale = zoom(originals.shape[-1])

    def rows(batch: Tensor) -> list[list[Tensor]]:
        return [list(batch[i : i + COLUMNS]) for i in range(0, len(batch), COLUMNS)]

    files = {
        "originals": save_picture(picture_grid(rows(originals), zoom=scale), folder / "originals.png"),
        "reconstructions": save_picture(picture_grid(rows(stages[-1]), zoom=scale), folder / "reconstructions.png"),
    }
    if len(prefixes) > 1:
        columns = ["original", *(prefix.name for prefix in prefixes)]
        coarse_to_fine = [[originals[i], *(stage[i] for stage in stages)] for i in range(len(originals))]
        files["depths"] = save_picture(picture_grid(coarse_to_fine, columns=columns, zoom=scale), folder / "depths.png")
    return files


@torch.no_grad()
def comparison_picture(cells: Sequence[TokenizerCell], records: Sequence[Record], out: Path) -> Path | None:
    """Held-out originals beside what each tokenizer makes of them, for cells on the same data."""
    newest = {record.cell: record for record in records if record.error is None and "tokenizer" in record.artifacts}
    newest = {key: record for key, record in newest.items() if (out / record.artifacts["tokenizer"]).is_dir()}
    shown = [cell for cell in cells if cell.key in newest][:_TOKENIZERS]
    if not shown or len({cell.recipe.data.model_dump_json() for cell in shown}) > 1:
        return None
    data = shown[0].recipe.data
    images = open_split(data, "eval")
    samples = _samples(images)
    originals = visible(samples, data.kind)
    columns, stacks = ["original"], [originals]
    for cell in shown:
        record = newest[cell.key]
        tokenizer = Tokenizer.from_pretrained(out / record.artifacts["tokenizer"])
        made = tokenizer.reconstruct(to_model(samples, data.kind, data.channels))
        stacks.append(visible(to_samples(made, data.kind), data.kind))
        psnr = record.metrics.get("psnr")
        value = f" {psnr.value:.1f} dB" if psnr is not None and psnr.value is not None else ""
        columns.append(f"{cell.label}{value}")
    rows = [list(images) for images in zip(*stacks, strict=True)]
    scale = max(1, 160 // originals.shape[-1])
    if originals.ndim == 5:
        moving = film(rows[:_FILMS], columns=columns, zoom=scale)
        for suffix in (".gif", ".mp4"):
            save_clip(moving, out / f"comparison{suffix}", fps=_FPS)
    return save_picture(picture_grid(rows, columns=columns, zoom=scale), out / "comparison.png")


def _samples(images: Any) -> Tensor:
    step = max(1, len(images) // MOST)
    return torch.stack([images[i]["image"] for i in range(0, len(images), step)][:MOST])


def with_pictures(record: Record, tokenizer: Tokenizer, images: Any, folder: Path) -> Record:
    """The record, naming pictures beneath ``folder`` of what was measured, as a cell of a sweep has them.

    Where they cannot be written the record stays as it is: the measurement is not lost over them.
    """
    home = Path("images") / record.id
    try:
        files = tokenizer_pictures(tokenizer, images, folder / home)
    except (TokbenchError, OSError) as error:
        warnings.warn(f"{error}; the record is kept without pictures", TokbenchWarning, stacklevel=2)
        return record
    return record.replace(artifacts=record.artifacts | {role: str(home / file.name) for role, file in files.items()})
