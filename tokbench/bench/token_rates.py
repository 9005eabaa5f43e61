"""Tokenizers in the table of codecs: one quality, and three rates for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from tokbench.bench.rate_distortion import CLIPS, Distortion, Point, pieces
from tokbench.config.grid import plain
from tokbench.data.pixels import to_float, to_uint8
from tokbench.errors import TokbenchError, size_text


def contender(
    name: str, tokenizer: Any, generator: Any = None, device: torch.device | str = "cpu"
) -> Callable[[Sequence[Tensor], int], list[Point]]:
    """What ``bench_codecs`` takes beside codecs: (videos, frames) -> points at the fixed, entropy-coded and, with a
    ``generator``, model-coded rate. A tokenizer of images sees every frame alone."""
    return lambda videos, frames: token_points(name, tokenizer, videos, frames, generator, device)


@torch.inference_mode()
def token_points(
    name: str,
    tokenizer: Any,
    videos: Sequence[Tensor],
    frames: int,
    generator: Any = None,
    device: torch.device | str = "cpu",
) -> list[Point]:
    """The points of one tokenizer on ``videos`` (uint8 (3, T, H, W)) cut into clips of ``frames``.

    ``fixed`` is the code stack's own length, ``entropy`` the order-0 entropy of these very codes (plug-in: of few
    codes too low), ``model`` what ``generator`` says they cost.
    """
    from tokbench.generators.building import check_tokenizer
    from tokbench.generators.exact import Exact
    from tokbench.generators.rate import entropy_bits, fixed_bits, model_bits

    if generator is not None and (generator.settled or generator.config.conditioned_on is not None):
        given = generator.config.condition.describe()
        raise TokbenchError(f"{name}: a generator given {given} has no rate of whole clips: take one of clips alone")
    if generator is not None:
        check_tokenizer(generator, tokenizer, name)
    start = time.perf_counter()
    tokenizer.to(device).eval()
    of_images = len(tokenizer.config.model.factors) == 2
    distortion, pixels, seen = Distortion(plain(videos[0].shape[2:])), 0, []
    for clip in pieces(videos, frames):
        originals = clip.transpose(0, 1)
        shown = originals if of_images else clip[None]
        try:
            codes = tokenizer.encode(to_float(shown.to(device)))
        except ValueError as error:  # another number of frames or channels than its own
            raise TokbenchError(f"{name}: {error}") from None
        decoded = to_uint8(tokenizer.decode(codes)).cpu()
        if decoded.shape != shown.shape:
            raise TokbenchError(f"{name}: clips of {tuple(shown.shape[2:])} came back as {tuple(decoded.shape[2:])}")
        distortion.update(originals, decoded if of_images else decoded[0].transpose(0, 1))
        pixels += clip[0].numel()
        seen.append(codes.cpu())
    codes = torch.cat(seen)
    sizes = tuple(int(size) for size in tokenizer.quantizer.codebook_sizes)
    rates = {
        "fixed": len(codes) * fixed_bits(sizes, codes[0, ..., 0].numel()),
        "entropy": len(codes) * entropy_bits(codes),
    }
    if generator is not None:
        modelled = tokenizer.quantizer.subcodes(codes)  # large vocabularies are modelled as several small ones
        if (got := tuple(modelled.shape[1:-1])) != generator.grid:
            raise TokbenchError(
                f"{name}: these clips are {size_text(got)} codes and the generator models {size_text(generator.grid)}: "
                "choose its own size and frames"
            )
        rates["model"] = float(model_bits(generator.to(device), modelled).sum())
    seconds = round(time.perf_counter() - start, 3)
    return [
        Point(
            name,
            rate,
            CLIPS,
            bits / pixels,
            None,
            distortion.values(),
            seconds=seconds,
            bound=rate == "model" and not isinstance(generator, Exact),
        )
        for rate, bits in rates.items()
    ]
