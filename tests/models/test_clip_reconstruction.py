"""Videos through tokenizers of clips: any sides and length, in pieces or at once, and as films on disk."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from small_tokenizers import make

from tokbench.clip_reconstruction import Piece, reconstruct_pieces
from tokbench.clips import film, save_clip
from tokbench.data.pixels import to_float, to_uint8
from tokbench.data.video import Video
from tokbench.errors import TokbenchError
from tokbench.models import Tokenizer
from tokbench.models.streaming import pieces, takes_pieces
from tokbench.reconstruction import reconstruct_files


def noise(frames: int, height: int, width: int) -> torch.Tensor:
    return torch.randint(0, 256, (3, frames, height, width), generator=torch.Generator().manual_seed(0)).byte()


def through(tokenizer: Tokenizer, clip: torch.Tensor) -> Piece:
    """All pieces as one; of a causal tokenizer none is asked for before the last one came back."""
    made, asked = list[Piece](), list[torch.Tensor]()

    def given() -> Iterator[torch.Tensor]:
        for piece in pieces(clip[None], tokenizer.config.model.factors[0]):
            asked.append(piece)
            yield piece[0]

    for piece in reconstruct_pieces(tokenizer, given(), tuple(clip.shape[1:])):
        made.append(piece)
        assert len(asked) == len(made) or not takes_pieces(tokenizer)
    assert torch.equal(torch.cat([piece.original for piece in made], 1), clip)
    return Piece(clip, torch.cat([piece.made for piece in made], 1), torch.cat([piece.codes for piece in made]))


@pytest.mark.parametrize("name", ["magvit2-video", "vidtok", "cosmos-dv"])
def test_what_a_tokenizer_does_not_divide_is_padded_and_cropped(name: str) -> None:
    tokenizer = make(name).eval()
    stride, down, across = tokenizer.config.model.factors
    clip = noise(2 * stride, 4 * down - 1, 4 * across - 1)
    made = through(tokenizer, clip)
    assert made.made.shape == clip.shape and made.made.dtype == torch.uint8
    assert made.codes.shape == (3, 4, 4, tokenizer.quantizer.num_codebooks)


def test_pieces_give_what_the_clip_gives_at_once() -> None:
    tokenizer = make("magvit2-video").eval()
    stride, down, across = tokenizer.config.model.factors
    clip = noise(1 + 40 // stride * stride, 2 * down, 2 * across)
    made = through(tokenizer, clip)
    codes = tokenizer.encode(to_float(clip[None]))
    assert torch.equal(made.codes, codes[0])
    with torch.no_grad():
        whole = to_uint8(tokenizer.decode(codes))[0]
    assert (made.made.int() - whole.int()).abs().max() <= 1


def test_videos_and_images_lie_side_by_side(tmp_path: Path) -> None:
    pytest.importorskip("av")
    save_clip(noise(24, 26, 30).repeat_interleave(2, -1), tmp_path / "in" / "a.mp4", fps=10)
    (tmp_path / "in" / "cut.mp4").write_bytes((tmp_path / "in" / "a.mp4").read_bytes()[:200])
    rows, skipped = reconstruct_files(make("magvit2-video").eval(), [tmp_path / "in"], tmp_path / "out", frames=20)
    assert [(row.name, row.frames, row.codes) for row in rows] == [("a.mp4", "20 of 24", (11, 13, 30, 3))]
    assert (rows[0].width, rows[0].height) == (60, 26) and math.isfinite(rows[0].psnr + rows[0].ssim)
    assert len(skipped) == 1 and "cut.mp4" in skipped[0][1]
    for film_of in (tmp_path / "out", tmp_path / "out" / "side-by-side"):
        with Video(film_of / "a.mp4", name="a.mp4") as video:  # in two pieces
            assert (len(video), video.rate) == (20, 10)
    with pytest.raises(TokbenchError, match="this is a video, and the tokenizer's vqgan takes images"):
        reconstruct_files(make("vqgan").eval(), [tmp_path / "in" / "a.mp4"], tmp_path / "out")


def test_a_film_has_every_frame_of_every_clip() -> None:
    clips = [noise(5, 16, 16), noise(5, 16, 16).flip(1)]
    made = film([clips], zoom=1)
    assert made.shape[:2] == (3, 5) and torch.equal(made[:, :, :16, :16], clips[0])
    assert torch.equal(made[:, 0, :16, -16:], made[:, 4, :16, :16])
