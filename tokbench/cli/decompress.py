"""tokbench decompress"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tokbench.cli.compress import Generator, Histogram, TokenizerOption
from tokbench.cli.options import Cpu


def decompress(
    file: Annotated[Path, typer.Argument(help="A .tokb file.")],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="The PNG; of a clip .mp4, .gif, .png (a strip) or a folder of frames.")
    ],
    generator: Generator = None,
    histogram: Histogram = None,
    tokenizer: TokenizerOption = None,
    cpu: Cpu = False,
) -> None:
    """Turn a .tokb file back into an image or a clip.

    Needs the tokenizer and generator (or histogram) it was written with.
    """
    from tokbench.cli.options import device
    from tokbench.clips import check_format, save_clip
    from tokbench.data import to_uint8
    from tokbench.generators.compression import open_codec
    from tokbench.generators.tokb import Tokb
    from tokbench.memory import IMAGE_TOO_LARGE, explained
    from tokbench.pictures import save_picture, to_pil
    from tokbench.results.targets import check_target

    codec = open_codec(generator, histogram, tokenizer, device(cpu))
    check_target(out, [file, generator, histogram, tokenizer, codec.tokenizer.home])
    if codec.of_clips and out.suffix:
        check_format(out)
    with explained(f"decompressing {file}", *IMAGE_TOO_LARGE):
        made, fps = codec.read(file), float(Tokb.read(file).fps)
        if not codec.of_clips:
            save_picture(to_pil(to_uint8(made)[0]), out)
        elif out.suffix:
            save_clip(to_uint8(made)[0], out, fps=fps if 0 < fps < 1000 else 25.0)
        else:
            for number, frame in enumerate(to_uint8(made)[0].unbind(1)):
                save_picture(to_pil(frame), out / f"{number:06d}.png")
