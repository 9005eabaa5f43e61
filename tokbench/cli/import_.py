"""tokbench import"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def import_(
    source: Annotated[
        str, typer.Argument(help="taming, llamagen, rqvae, open-magvit2, or auto: by the weights' names.")
    ],
    checkpoint: Annotated[Path, typer.Argument(help="The published file.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the tokenizer.")],
    config: Annotated[
        Path | None, typer.Option("--config", help="Its YAML or JSON; without it settings are read off the weights.")
    ] = None,
    weights: Annotated[
        Literal["auto", "live", "ema"], typer.Option("--weights", help="Which, where a file has both.")
    ] = "auto",
) -> None:
    """Bring a published checkpoint in; the result evaluates, reconstructs and trains on like any tokenizer."""
    from rich.console import Console

    from tokbench.errors import TokbenchError
    from tokbench.pretrained import read

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise TokbenchError(f"--out {out}: already there and not empty; name a new folder")
    tokenizer, report = read(source, checkpoint, config, weights)
    tokenizer.save_pretrained(out)
    console = Console()
    for line in report.lines():
        console.print(line, markup=False, highlight=False)
    size, rate = tokenizer.config.image_size, tokenizer.rate()
    console.print(
        f"{out}: {tokenizer.config.model.architecture} f{tokenizer.downsampling}, {tokenizer.config.quantizer.name}, "
        f"{rate['bits_per_image']:g} bits an image of {size}x{size} ({rate['bits_per_pixel']:.4g} a pixel)",
        markup=False,
        highlight=False,
    )
