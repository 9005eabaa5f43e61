"""tokbench reconstruct"""

from __future__ import annotations

from math import isnan
from pathlib import Path
from typing import Annotated

import typer

from tokbench.cli.options import TOKENIZER, Cpu, ImageFolder


def reconstruct(
    tokenizer: Annotated[str, typer.Argument(help=TOKENIZER)],
    images: Annotated[list[Path], typer.Argument(help="Your images or videos, of any size; folders are searched.")],
    out: ImageFolder = Path("reconstructions"),
    depths: Annotated[
        bool, typer.Option("--depths", help="Coarse to fine: a column for each depth of the codes.")
    ] = False,
    frames: Annotated[
        int | None, typer.Option("--frames", min=1, help="Most frames of a video, from its first on; default 97.")
    ] = None,
    cpu: Cpu = False,
) -> None:
    """Put your own images, or videos, through a tokenizer and look at what comes back."""
    from tokbench.cli.options import device
    from tokbench.data.media import IMAGES, VIDEOS
    from tokbench.metrics.registry import get
    from tokbench.models import Tokenizer
    from tokbench.printing import print_numbers, terminal
    from tokbench.reconstruction import MOST_FRAMES, reconstruct_files

    model = Tokenizer.from_pretrained(tokenizer).to(device(cpu)).eval()
    console = terminal()
    rows, skipped = reconstruct_files(model, images, out, depths=depths, frames=frames or MOST_FRAMES)
    scores = [get(name).label for name in rows[0].scores] or ["PSNR dB", "SSIM"]
    table = []
    for row in rows:
        count = f", {row.frames} frame{'' if row.frames == '1' else 's'}" if row.frames else ""
        codes = "x".join(str(n) for n in row.codes)
        similarity = "–" if isnan(row.ssim) else f"{row.ssim:.3f}"  # smaller than SSIM's window
        values = [f"{value:.4f}" for value in row.scores.values()] or [f"{row.psnr:.2f}", similarity]
        table.append([row.name + count, f"{row.width}x{row.height}", codes, f"{row.bits_per_pixel:.3f}", *values])
    media = VIDEOS if any(row.frames for row in rows) else IMAGES
    print_numbers(console, [media.one, "size", "codes", "bits per pixel", *scores], table, ["size", "codes"])
    for _, reason in skipped:
        console.print(f"skipped {reason}")
    console.print(f"{media.many} in {out} (side by side: {out / 'side-by-side'})")
