"""tokbench compress"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tokbench.cli.options import Cpu

Generator = Annotated[str | None, typer.Option("--generator", help="Code under this ar generator.")]
Histogram = Annotated[
    Path | None, typer.Option("--histogram", help="Code under the frequencies in this code cache (tokbench encode).")
]
TokenizerOption = Annotated[
    str | None, typer.Option("--tokenizer", help="With --generator: where its tokenizer lies now; else required.")
]


def compress(
    image: Annotated[Path, typer.Argument(help="An image of any size, or a video for a tokenizer of clips.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The .tokb file.")],
    generator: Generator = None,
    histogram: Histogram = None,
    tokenizer: TokenizerOption = None,
    label: Annotated[int, typer.Option("--class", help="The image's class, for a generator that has classes.")] = -1,
    cpu: Cpu = False,
) -> None:
    """Write an image or a clip as entropy-coded codes: lossless for the codes, lossy for the pixels.

    The generator's probabilities are computed in float64 on the CPU, in both directions alike.
    """
    from tokbench.cli.options import device
    from tokbench.data.film import Film
    from tokbench.data.video import Video
    from tokbench.errors import size_text
    from tokbench.generators.compression import open_codec, read_picture
    from tokbench.memory import IMAGE_TOO_LARGE, explained
    from tokbench.printing import terminal
    from tokbench.results.targets import check_target

    codec = open_codec(generator, histogram, tokenizer, device(cpu))
    check_target(out, [image, generator, histogram, tokenizer, codec.tokenizer.home])
    if codec.of_clips:
        with Video(image, name=str(image)) as video:
            film = Film(video)
            with explained(f"compressing {image} ({size_text(film.size)})", *IMAGE_TOO_LARGE):
                made = codec.write(film, out, label, video.rate)
    else:
        picture = read_picture(image, codec.tokenizer.config.channels)
        with explained(f"compressing {image} ({size_text(picture.shape[2:])})", *IMAGE_TOO_LARGE):
            made = codec.write(picture, out, label)
    console = terminal()
    for name, bits in (
        ("file", made.file_bits),
        ("coded", made.payload_bits),
        ("predicted by the model", made.predicted_bits),
        ("order-0 entropy", made.entropy_bits),
        ("fixed length", made.fixed_bits),
    ):
        console.print(f"{name:>22}: {bits / 8:>10.1f} bytes  {bits / made.pixels:.4f} bits per pixel")
