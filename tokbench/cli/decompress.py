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
    import itertools

    import torch

    from tokbench.cli.options import device
    from tokbench.clips import check_format, growing_mp4, playable, save_clip
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
        rate = playable(float(Tokb.read(file).fps))
        windows = (to_uint8(made)[0] for made in codec.read_windows(file))
        if not codec.of_clips:
            save_picture(to_pil(next(windows)), out)
        elif out.suffix.lower() == ".mp4":
            with growing_mp4(out, rate) as add:
                for frames in windows:
                    add(frames)
        elif out.suffix:
            save_clip(torch.cat(list(windows), 1), out, fps=rate)
        else:
            every = itertools.chain.from_iterable(frames.unbind(1) for frames in windows)
            for number, frame in enumerate(every):
                save_picture(to_pil(frame), out / f"{number:06d}.png")
