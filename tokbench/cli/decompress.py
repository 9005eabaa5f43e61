"""tokbench decompress"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tokbench.cli.compress import Generator, Histogram, TokenizerOption
from tokbench.cli.options import Cpu


def decompress(
    file: Annotated[Path, typer.Argument(help="A .tokb file.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The PNG.")],
    generator: Generator = None,
    histogram: Histogram = None,
    tokenizer: TokenizerOption = None,
    cpu: Cpu = False,
) -> None:
    """Turn a .tokb file back into an image. Needs the tokenizer and generator (or histogram) it was written with."""
    from tokbench.cli.options import device
    from tokbench.data import to_uint8
    from tokbench.generators.compression import open_codec
    from tokbench.memory import IMAGE_TOO_LARGE, explained
    from tokbench.pictures import save_picture, to_pil
    from tokbench.results.targets import check_target

    codec = open_codec(generator, histogram, tokenizer, device(cpu))
    check_target(out, [file, generator, histogram, tokenizer, codec.tokenizer.home])
    with explained(f"decompressing {file}", *IMAGE_TOO_LARGE):
        save_picture(to_pil(to_uint8(codec.read(file))[0]), out)
