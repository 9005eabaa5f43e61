"""An image through a tokenizer, its codes looked at and changed: what the page of explore shows, without the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small_tokenizers import make, size_of
from tiny_tokenizer import make_tokenizer

from tokbench.config.grid import axes
from tokbench.errors import TokbenchError
from tokbench.explore.code_map import cell_side, code_map, place_text, places, position_at, position_of
from tokbench.explore.seen import Seen, error_map, read, steps_of
from tokbench.models import Tokenizer
from tokbench.reconstruction import reconstruct_image


def an_image(path: Path, size: tuple[int, int] = (19, 14)) -> Path:
    Image.effect_noise(size, 60).convert("RGB").save(path)
    return path


@pytest.mark.parametrize("architecture", ["vqgan", "pixels", "titok", "magvit2-video", "cosmos-dv"])
def test_every_kind_of_grid_is_seen_at_every_step(architecture: str) -> None:
    """Of images, of rows of tokens and of clips; the codes put back as they were give the same."""
    tokenizer = make(architecture).eval()
    size = size_of(architecture)
    original = torch.randint(0, 256, (3, *axes(size)), dtype=torch.uint8)
    seen = Seen(tokenizer, original)
    names, refines = steps_of(tokenizer)
    assert refines == (len(tokenizer.prefixes()) > 1) and len(names) >= 1
    views = [seen.view(step + 1, frame=seen.frames - 1) for step in range(len(names))]
    assert all(min(view.image.size) >= 300 and "bits" in view.caption for view in views)
    bits = [int(view.caption.partition(" ")[0].replace(",", "")) for view in views]
    assert bits == sorted(bits) and bits[-1] == round(tokenizer.rate(size)["bits_per_image"])
    before, at = seen.view(len(names)), seen.at
    seen.change(", ".join(str(15 - int(code)) for code in at.split(", ")))
    assert "1 position changed" in seen.view(len(names)).caption
    seen.restore()
    after = seen.view(len(names))
    assert after.image == before.image and after.caption == before.caption and seen.at == at


def test_a_position_has_the_codes_that_are_there() -> None:
    """Of a codebook that grows along the row: in what is counted, and in what may be typed."""
    tokenizer = make("titok", {"name": "vcq", "codebook_size": 16}, tail_drop=0.5).eval()
    seen = Seen(tokenizer, torch.randint(0, 256, (3, 16, 16), dtype=torch.uint8))
    whole = tokenizer.rate()["bits_per_image"]
    bits = [int(seen.view(step + 1).caption.partition(" ")[0]) for step in range(2)]
    assert bits == [sum(size.bit_length() - 1 for size in tokenizer.quantizer.position_sizes((12,))[:8]), whole]
    with pytest.raises(TokbenchError, match="codes '2': give 1 whole number, below 2"):
        seen.change("2")


def test_it_is_the_reconstruction_of_the_command(rq_tokenizer: Tokenizer, tmp_path: Path) -> None:
    """Of an image of odd sides: its pixels at each depth, its figures, its bits."""
    path = an_image(tmp_path / "a.png")
    original = read(path, rq_tokenizer)
    made = reconstruct_image(rq_tokenizer, original)
    seen = Seen(rq_tokenizer, original)
    for step, stage in enumerate(made.stages, 1):
        view = seen.view(step)
        times = view.image.width // 19
        shown = np.asarray(view.image)[times // 2 :: times, times // 2 :: times]
        assert np.array_equal(shown, stage.permute(1, 2, 0).numpy())
        assert f"{made.bits_per_pixel * step / 2:.3f} bpp" in view.caption
    assert f"PSNR {made.psnr:.2f} dB" in view.caption


def test_another_code_changes_the_image_around_its_position(rq_tokenizer: Tokenizer) -> None:
    original = torch.randint(0, 256, (3, 16, 16), dtype=torch.uint8)
    seen = Seen(rq_tokenizer, original)
    before = np.asarray(seen.view(2).image).astype(int)
    seen.mark("1, 2")
    codes = [int(code) for code in seen.at.split(", ")]
    seen.change(f"{(codes[0] + 7) % 16} {codes[1]}")
    after = np.asarray(seen.view(2).image).astype(int)
    assert (before != after).any()
    assert seen.at == f"{(codes[0] + 7) % 16}, {codes[1]}"
    assert (seen.codes != seen.encoded).sum() == 1 and int((seen.codes != seen.encoded)[0, 1, 2, 0]) == 1


@pytest.mark.parametrize(
    ("change", "text", "said"),
    [
        ("change", "16, 3", "codes '16, 3': give 2 whole numbers, below 16"),
        ("change", "3", "give 2 whole numbers"),
        ("change", "a, b", "give 2 whole numbers"),
        ("change", "-1, 2", "give 2 whole numbers"),
        ("mark", "4, 0", "position '4, 0': give row and column, from 0, within 4x4"),
        ("mark", "", "give row and column"),
    ],
)
def test_what_is_typed_wrongly_is_one_line_and_changes_nothing(
    rq_tokenizer: Tokenizer, change: str, text: str, said: str
) -> None:
    seen = Seen(rq_tokenizer, torch.zeros(3, 16, 16, dtype=torch.uint8))
    with pytest.raises(TokbenchError, match=said):
        getattr(seen, change)(text)
    assert seen.position == 0 and torch.equal(seen.codes, seen.encoded)


def test_the_error_is_black_where_there_is_none() -> None:
    one = torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8)
    other = one.clone()
    other[:, 2, 3] = one[:, 2, 3] ^ 0x80
    shown = np.asarray(error_map(one, other, "image")).astype(int).sum(-1)
    side = shown.shape[0] // 8
    assert shown[2 * side, 3 * side] > 500 and (shown > 10).sum() == side * side


@pytest.mark.parametrize("grid", [(3, 5), (2, 3, 4), (12,), (31,)])
def test_every_position_is_found_where_it_is_drawn(grid: tuple[int, ...]) -> None:
    where = places(grid)
    count = int(np.prod(grid))
    assert sorted(where[where >= 0].tolist()) == list(range(count))
    side, image = cell_side(where), code_map(torch.arange(count), where, marked=count - 1)
    for position in range(count):
        row, column = (int(n) for n in (where == position).nonzero()[0])
        x, y = column * side + side // 2, row * side + side // 2
        assert x < image.width and y < image.height and position_at(x, y, where) == position
        assert position_of(place_text(position, grid), grid) == position
    assert position_at(image.width, 0, where) is None


def test_the_scales_of_a_pyramid_stand_side_by_side() -> None:
    tokenizer = make_tokenizer({"name": "ms-rq", "codebook_size": 16, "scales": [1, 2, 4]})
    where = places(tokenizer.grid(), tokenizer.quantizer)
    assert where.shape == (4, 1 + 1 + 2 + 1 + 4) and where[0].tolist() == [0, -1, 1, 2, -1, 5, 6, 7, 8]
    seen = Seen(tokenizer, torch.zeros(3, 16, 16, dtype=torch.uint8))
    assert steps_of(tokenizer) == (["1 code", "5 codes", "21 codes"], True)
    grey = (128, 128, 128)  # of scales that are not decoded
    side = cell_side(where)
    at: Any = lambda step, column: seen.view(step).codes.getpixel((column * side + side // 2, side // 2))  # noqa: E731
    assert at(2, 5) == grey and at(3, 5) != grey


def test_a_video_is_read_by_what_takes_clips_alone(tmp_path: Path) -> None:
    """As many frames as its clips have; a tokenizer of images says so in a line, and so does what is neither."""
    pytest.importorskip("av")
    from tokbench.clips import save_clip

    video = save_clip(torch.randint(0, 256, (3, 9, 16, 20), dtype=torch.uint8), tmp_path / "a.mp4")
    tokenizer = make("magvit2-video").eval()
    clip = read(video, tokenizer)
    assert clip.shape == (3, 5, 16, 20)
    seen = Seen(tokenizer, clip)
    assert seen.frames == 5 and seen.view(1, frame=4).image != seen.view(1, frame=0).image
    with pytest.raises(TokbenchError, match="a.mp4: this is a video, and the tokenizer's vqgan takes images"):
        read(video, make("vqgan"))
    (tmp_path / "b.png").write_bytes(b"no image")
    with pytest.raises(TokbenchError, match="b.png: cannot be read as an image"):
        read(tmp_path / "b.png", tokenizer)
    with pytest.raises(TokbenchError, match="resize"):
        Seen(make("titok").eval(), torch.zeros(3, 40, 40, dtype=torch.uint8))


def test_grey_and_maps_are_seen_as_they_are(tmp_path: Path) -> None:
    grey = make("vqgan", image_channels=1).eval()
    view = Seen(grey, read(an_image(tmp_path / "a.png"), grey)).view(3)
    assert view.image.mode == "L" and "PSNR" in view.caption
    Image.fromarray((np.arange(20 * 24).reshape(20, 24) % 5).astype(np.uint8)).save(tmp_path / "labels.png")
    for kind, channels, figure in (("labels", 5, "pixel accuracy"), ("depth", 1, "RMSE")):
        config = make("vqgan", image_channels=channels).config.model_copy(update={"kind": kind})
        tokenizer = Tokenizer(config).eval()
        seen = Seen(tokenizer, read(tmp_path / "labels.png", tokenizer))
        assert figure in seen.view(3).caption and seen.view(1, error=True).image.size == seen.shown_original().size


def test_an_image_of_five_pixels_is_seen_too(rq_tokenizer: Tokenizer, tmp_path: Path) -> None:
    """Its bits are those of the codes that its padding takes: 2 x 1 positions of 8 bits for 5 pixels."""
    seen = Seen(rq_tokenizer, read(an_image(tmp_path / "a.png", (1, 5)), rq_tokenizer))
    view = seen.view(2, error=True)
    assert view.image.size == (77, 385) and view.caption.startswith("16 bits (depth 2) · 3.200 bpp")
