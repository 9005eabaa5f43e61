"""Tokenizers of videos as a whole: pieces, and beginning as a tokenizer of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tokbench.config.model import TokenizerConfig
from tokbench.data import open_images
from tokbench.errors import TokbenchError
from tokbench.metrics import evaluate_tokenizer
from tokbench.models import Tokenizer
from tokbench.models.inflation import inflate, start_from
from tokbench.models.one_frame import OneFrame
from tokbench.models.streaming import decode_pieces, encode_pieces, pieces
from tokbench.models.tokenizer import chosen_size

PYRAMID = {"channels": 8, "multipliers": [1, 2, 2], "blocks": 1, "norm_groups": 4}
LFQ = {"name": "lfq", "codebook_size": 64}


def made(size: Any, model: dict[str, Any], quantizer: dict[str, Any] = LFQ, seed: int = 0) -> Tokenizer:
    torch.manual_seed(seed)
    config = {"image_size": size, "model": {**PYRAMID, **model}, "quantizer": quantizer}
    return Tokenizer(TokenizerConfig.model_validate(config)).eval()


def image_tokenizer(**model: Any) -> Tokenizer:
    return made(16, {"architecture": "magvit2", **model}, seed=1)


def video_tokenizer(quantizer: dict[str, Any] = LFQ, **model: Any) -> Tokenizer:
    shape = {"architecture": "magvit2-video", "halve_frames": [False, True], "adaptive": "frame"}
    return made([5, 16, 16], {**shape, **model}, quantizer)


def clip(frames: int) -> torch.Tensor:
    return torch.rand(1, 3, frames, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_codes_and_frames_in_pieces_are_those_of_the_clip() -> None:
    tokenizer, x = video_tokenizer(), clip(23)
    codes = tokenizer.encode(x)
    parts = list(encode_pieces(tokenizer, pieces(x, stride=2, frames=5)))
    assert [part.shape[1] for part in parts] == [4, 3, 3, 2]
    assert torch.equal(torch.cat(parts, dim=1), codes)
    frames = torch.cat(list(decode_pieces(tokenizer, parts)), dim=2)
    assert torch.allclose(frames, tokenizer.decode(codes), atol=1e-5)


def test_pieces_of_other_lengths_are_refused() -> None:
    tokenizer, x = video_tokenizer(), clip(9)
    with pytest.raises(ValueError, match=r"the first piece has 4 frames; it must have 1, 3, 5 \.\.\."):
        list(encode_pieces(tokenizer, [x[:, :, :4]]))
    with pytest.raises(ValueError, match=r"a piece after the first has 3 frames; it must have 2, 4 \.\.\."):
        list(encode_pieces(tokenizer, [x[:, :, :1], x[:, :, 1:4]]))
    with pytest.raises(TokbenchError, match="takes images, which have no frames"):
        list(encode_pieces(image_tokenizer(), [x]))


@torch.no_grad()
def test_inflated_an_image_and_each_group_of_frames_are_the_image_tokenizers() -> None:
    image, video, x = image_tokenizer(), video_tokenizer(), clip(5)
    assert inflate(image, video) == []
    one = image.encode(x[:, :, 0])
    assert torch.equal(video.encode(x[:, :, :1])[:, 0], one)
    codes = video.encode(x)
    assert torch.equal(codes[:, 1], image.encode(x[:, :, 2])) and torch.equal(codes[:, 2], image.encode(x[:, :, 4]))
    frames = video.decode(codes)
    for frame, latent in enumerate((0, 1, 1, 2, 2)):
        assert torch.allclose(frames[:, :, frame], image.decode(codes[:, latent]), atol=1e-4), frame


@torch.no_grad()
def test_convolutions_of_one_frame_are_the_image_tokenizer_frame_by_frame() -> None:
    image, video, x = image_tokenizer(), video_tokenizer(kernel_frames=1, halve_frames=[False, False]), clip(4)
    assert inflate(image, video) == []
    codes = video.encode(x)
    assert codes.shape[1] == 4
    for frame, decoded in enumerate(video.decode(codes).unbind(2)):
        assert torch.equal(codes[:, frame], image.encode(x[:, :, frame])), frame
        assert torch.allclose(decoded, image.decode(codes[:, frame]), atol=1e-5), frame
    assert video.parameter_count < video_tokenizer(halve_frames=[False, False]).parameter_count / 2
    parts = list(encode_pieces(video, [x[:, :, :1], x[:, :, 1:]]))
    assert torch.equal(torch.cat(parts, dim=1), codes)
    with pytest.raises(ValueError, match="sees each frame alone, so no level may halve them: set halve_frames"):
        video_tokenizer(kernel_frames=1)


@torch.no_grad()
def test_images_are_measured_as_clips_of_one_frame() -> None:
    video, x = video_tokenizer(), clip(5)
    one = OneFrame(video)
    assert torch.equal(one.decode(one.encode(x[:, :, 0])), video.decode(video.encode(x[:, :, :1]))[:, :, 0])
    images: Any = open_images("photos", "eval", image_size=32, limit=2)
    found = evaluate_tokenizer(video, images, metrics=["psnr"])
    psnr = found.metrics["psnr"]
    assert psnr.n == 2 and psnr.value is not None and "first_frame" not in psnr.extra
    assert (found.data.size, found.rate.tokens, found.rate.bits_per_pixel) == (32, [1, 8, 8, 1], 64 * 6 / 32**2)
    assert chosen_size(video, 32, "--size", single=True) == 32
    with pytest.raises(TokbenchError, match=r"^--image-size 32x32 is of images; the tokenizer takes clips"):
        chosen_size(video, 32, "--image-size")


def test_adaptive_norms_of_another_form_start_anew_and_it_is_said() -> None:
    video = video_tokenizer(adaptive="position")
    before = video.decoder.adaptive[0].scale.weight.clone()  # type: ignore[index, union-attr]
    (note,) = inflate(image_tokenizer(), video)
    assert "start anew" in note
    assert torch.equal(video.decoder.adaptive[0].scale.weight, before)  # type: ignore[index, union-attr]


@pytest.mark.parametrize(
    ("model", "quantizer", "told"),
    [
        ({"channels": 16}, LFQ, "model.channels is 16, the image tokenizer's is 8: make them equal"),
        ({"blocks": 2}, LFQ, "model.blocks is 2"),
        ({"multipliers": [1, 2, 4]}, LFQ, r"model.multipliers is \(1, 2, 4\)"),
        ({}, {"name": "fsq", "levels": [8, 8]}, "is not the image tokenizer's lfq"),
    ],
)
def test_what_does_not_fit_is_named(model: dict[str, Any], quantizer: dict[str, Any], told: str) -> None:
    with pytest.raises(TokbenchError, match=told):
        inflate(image_tokenizer(), video_tokenizer(quantizer, **model))


def test_training_begins_from_a_folder(tmp_path: Path) -> None:
    image = image_tokenizer()
    image.save_pretrained(tmp_path / "image")
    video = video_tokenizer()
    assert start_from(video, tmp_path / "image") == []
    assert torch.equal(video.encoder.stem.weight[:, :, -1], image.encoder.stem.weight)  # type: ignore[index, union-attr]
    video.save_pretrained(tmp_path / "video")
    again = video_tokenizer()
    start_from(again, tmp_path / "video")
    assert again.sha256() == video.sha256()
    with pytest.raises(TokbenchError, match="a magvit2-video tokenizer cannot begin as a vqgan"):
        other = {"architecture": "vqgan", "channels": 8, "multipliers": [1, 2, 2], "blocks": 1, "norm_groups": 4}
        made(16, {**other, "latent_channels": 8}, {"name": "vq", "codebook_size": 8}).save_pretrained(
            tmp_path / "vqgan"
        )
        start_from(video, tmp_path / "vqgan")
