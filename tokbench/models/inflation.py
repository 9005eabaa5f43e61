"""A tokenizer that begins with the weights of another, and one of videos as one of images (arXiv:2310.05737, A.1).

A 2D kernel becomes the last slice in time of the causal 3D one. So at first an image, and each frame that a latent is
taken at (0, 4, 8 ... where the frames are halved twice), is encoded as the image tokenizer does it, and decoded to that
frame and those since the latent before.
"""

from __future__ import annotations

from os import PathLike

import torch
from torch import Tensor

from tokbench.config.model import TokenizerConfig
from tokbench.errors import TokbenchError

from .fitting import load_exactly, read_weights
from .folder import WEIGHTS, find_folder, read_config
from .tokenizer import Tokenizer


def start_from(tokenizer: Tokenizer, source: str | PathLike[str]) -> list[str]:
    """Fill ``tokenizer`` with the weights of another of the same shape, or of the image tokenizer that a tokenizer of
    videos grows out of; what to tell about it. TokbenchError names what does not fit."""
    folder = find_folder(source)
    found, wanted = read_config(folder, TokenizerConfig).model.architecture, tokenizer.config.model.architecture
    if wanted == "magvit2-video" != found:
        return inflate(Tokenizer.from_pretrained(folder), tokenizer)
    load_exactly(tokenizer, read_weights(folder / WEIGHTS), str(folder / WEIGHTS))
    return []


@torch.no_grad()
def inflate(image: Tokenizer, video: Tokenizer) -> list[str]:
    """Give ``video`` (architecture ``magvit2-video``) the weights of ``image`` (``magvit2``); what to tell about it.

    The quantizer's are taken too, where both have the same.

    Raises:
        TokbenchError: other architectures, levels, channels, blocks or codes: what differs is named.
    """
    given, wanted = image.config.model, video.config.model
    if given.architecture != "magvit2" or wanted.architecture != "magvit2-video":
        raise TokbenchError(
            f"a {wanted.architecture} tokenizer cannot begin as a {given.architecture}: only magvit2-video grows out "
            "of an image tokenizer, and only out of magvit2"
        )
    for key in ("multipliers", "channels", "blocks", "norm_groups"):
        if getattr(given, key) != getattr(wanted, key):
            ours, theirs = getattr(wanted, key), getattr(given, key)
            raise TokbenchError(f"model.{key} is {ours}, the image tokenizer's is {theirs}: make them equal")
    if image.config.quantizer != video.config.quantizer or image.quantizer.dim != video.quantizer.dim:
        raise TokbenchError(
            f"quantizer {video.config.quantizer.name} {video.config.quantizer.options} is not the image tokenizer's "
            f"{image.config.quantizer.name} {image.config.quantizer.options}: make them equal"
        )
    state, notes = image.state_dict(), []
    if wanted.adaptive != "frame":  # type: ignore[attr-defined]
        state = {name: tensor for name, tensor in state.items() if not name.startswith("decoder.adaptive.")}
        notes.append(
            f"the decoder's adaptive norms are driven by the {wanted.adaptive} here and by a frame in the image "  # type: ignore[attr-defined]
            "tokenizer: they start anew (model.adaptive=frame takes them over)"
        )
    shapes = video.state_dict()
    grown = {name: grow(tensor, tuple(shapes[name].shape)) for name, tensor in state.items() if name in shapes}
    if left := sorted(set(state) - set(grown)):
        raise TokbenchError(f"the image tokenizer has weights that this one has no place for: {', '.join(left[:4])}")
    if "encoder.stem.bias" in shapes:  # which the image tokenizer has not
        grown["encoder.stem.bias"] = torch.zeros_like(shapes["encoder.stem.bias"])
    video.load_state_dict(grown, strict=False)
    return notes


def grow(weight: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A 2D convolution's weight or bias as that of a causal 3D one: zero but for the last slice in time.

    Where an upsampling makes several frames, each gets the same weights.
    """
    if shape[:1] != weight.shape[:1]:
        weight = weight.repeat(shape[0] // weight.shape[0], *(1 for _ in weight.shape[1:]))
    if weight.shape == shape:
        return weight
    grown = weight.new_zeros(shape)
    grown[:, :, -1] = weight
    return grown
