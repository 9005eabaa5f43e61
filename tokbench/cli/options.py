"""Options that several commands share, and lists given as ``--x 1,2 --x 3``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tokbench.errors import TokbenchError

if TYPE_CHECKING:
    from tokbench.config.grid import Size
    from tokbench.models import Tokenizer

TOKENIZER = "A tokenizer's folder, a published model's name (tokbench models), or a model hub id."
"""The help of arguments that take one."""

Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a recipe key; may be given often.")
]
Data = Annotated[str, typer.Option("--data", help="Which images: photos, folder:PATH, parquet:FILES, hub:NAME.")]
Split = Annotated[str, typer.Option("--split", help="eval or train.")]
Metrics = Annotated[
    list[str] | None, typer.Option("--metrics", help="Names, e.g. psnr,ssim,rfid; default all that work here.")
]
Protocol = Annotated[
    str, typer.Option("--protocol", help="How images are made square: tokbench-v1, adm, llamagen, taming.")
]
Limit = Annotated[int | None, typer.Option("--limit", help="At most so many images, spread evenly.")]
Workers = Annotated[int, typer.Option("--workers", min=0, help="Processes that decode images.")]
_RECORDS = "The records: a runs.jsonl, or the folder that holds one."
Results = Annotated[Path, typer.Option("--results", help=_RECORDS)]
Records = Annotated[Path, typer.Option("--out", "--results", help=_RECORDS)]
"""Of commands that append and write nothing else."""


def _image_folder(value: Path) -> Path:
    """Not an image's or a video's name, of which a folder would be made."""
    from tokbench.data.media import IMAGES, VIDEOS

    if value.suffix.lower() in IMAGES.suffixes | VIDEOS.suffixes and not value.is_dir():
        raise typer.BadParameter(
            f"{value} would be a folder of that name: give a folder for the files, such as {value.stem}"
        )
    return value


ImageFolder = Annotated[Path, typer.Option("--out", callback=_image_folder, help="Where the images go.")]
Cpu = Annotated[bool, typer.Option("--cpu", help="Stay on the CPU where there is a GPU.")]


def size_of(tokenizer: Tokenizer, given: str | None, option: str, *, single: bool = False) -> Size:
    """The size that was typed for a tokenizer, else its own; see ``chosen_size``."""
    from tokbench.config.grid import parse_size
    from tokbench.models.tokenizer import chosen_size

    return chosen_size(tokenizer, parse_size(given, option) if given else None, option, single=single)


def words(given: Sequence[str] | None) -> list[str]:
    """``["vq,rq", "lfq"]`` -> ``["vq", "rq", "lfq"]``."""
    from tokbench.config import lists

    return lists.words(given or [])


def numbers(option: str, given: Sequence[str] | None) -> list[int]:
    """Whole numbers, ``2^16`` and ``2**16`` included. Raises TokbenchError naming the option."""
    from tokbench.config import lists

    try:
        return lists.numbers(given or [])
    except ValueError as error:
        raise TokbenchError(f"{option}: {error}") from None


def device(cpu: bool) -> str:
    """``cuda`` where there is a GPU and it is wanted, else ``cpu``."""
    import torch

    return "cuda" if torch.cuda.is_available() and not cpu else "cpu"


def smaller_batch(size: int, *others: str) -> tuple[str, ...]:
    """What to change where memory ran out with so many images at a time."""
    from tokbench.memory import ELSEWHERE

    fewer = (f"--batch-size {size // 2}",) if size > 1 else ()
    return (*fewer, *others, *ELSEWHERE)
