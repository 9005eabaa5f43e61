"""Clips: drawn from given frames and beyond a window, written as films, compressed and read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_clips import make_clip_tokenizer

from tokbench.cli.generating import Settings, generate_files
from tokbench.clips import save_clip
from tokbench.config.generator import ARConfig, MLMConfig
from tokbench.data.film import Film
from tokbench.data.pixels import to_float
from tokbench.data.video import Video
from tokbench.errors import TokbenchError
from tokbench.generators import Generator, Sampling, for_tokenizer
from tokbench.generators.compression import Codec
from tokbench.generators.films import Films, usual_kept
from tokbench.generators.pipeline import Pipeline
from tokbench.generators.tokb import Tokb

pytest.importorskip("av")


def pair_of(kind: type[ARConfig] | type[MLMConfig], frames: int = 0, source: str = "here") -> Pipeline:
    tokenizer = make_clip_tokenizer()
    torch.manual_seed(0)
    settings = kind(width=16, heads=2, layers=1, input="learned", frames=frames)
    generator = for_tokenizer(settings, tokenizer, source=source, image_size=(9, 16, 16))
    return Pipeline(generator.eval(), tokenizer)


@pytest.mark.parametrize("frames", [0, 5])
@pytest.mark.parametrize("kind", [ARConfig, MLMConfig])
def test_a_film_goes_on_from_the_end_of_every_window(kind: type[ARConfig] | type[MLMConfig], frames: int) -> None:
    pair = pair_of(kind, frames)
    assert usual_kept(pair) == (frames or 1)
    given = torch.randint(0, 256, (3, 5, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    sampling = Sampling(steps=3)
    short = Films(pair, 9, 5, given).draw(0, 2, seed=1, sampling=sampling)
    long = Films(pair, 15, 5, given).draw(0, 2, seed=1, sampling=sampling)
    assert short.shape == (2, 3, 9, 16, 16) and long.shape == (2, 3, 15, 16, 16) and long.dtype == torch.uint8
    assert torch.equal(long[:, :, :9], short)
    decoded = pair.tokenizer.decode(pair.tokenizer.encode(to_float(given[None])))
    torch.testing.assert_close(to_float(short[:1, :, :5]), decoded.clamp(-1, 1), atol=0.02, rtol=0)  # exact: causal
    assert not torch.equal(long[0], long[1])


def test_what_cannot_be_given_is_one_line() -> None:
    with pytest.raises(TokbenchError, match="trained to continue 5|continues 5"):
        Films(pair_of(MLMConfig, 5), 9, 1)
    with pytest.raises(TokbenchError, match="--given-frames: 4x16x16 is not a multiple"):
        Films(pair_of(MLMConfig), 9, 4)
    with pytest.raises(TokbenchError, match="between 1 and 8"):
        Films(pair_of(MLMConfig), 9, 9)


def test_generate_writes_films_and_goes_on(tmp_path: Path) -> None:
    tokenizer = tmp_path / "tokenizer"
    pair = pair_of(MLMConfig, 5, str(tokenizer))
    pair.tokenizer.save_pretrained(tokenizer)
    pair.generator.save_pretrained(tmp_path / "generator")
    clip = torch.randint(0, 256, (3, 9, 20, 24), dtype=torch.uint8)
    given = save_clip(clip, tmp_path / "given.mp4")

    def settings(**changes: object) -> Settings:
        asked = {"given": given, "frames": 12, "film": "gif", **changes}
        return Settings(str(tmp_path / "generator"), None, (), 0, Sampling(steps=2), None, "top:0.5", "fp32", **asked)  # type: ignore[arg-type]

    out = tmp_path / "out"
    assert generate_files(settings(), 1, out) == 1
    first = (out / "000000.gif").read_bytes()
    assert generate_files(settings(), 2, out) == 1 and (out / "000000.gif").read_bytes() == first
    assert {p.name for p in out.iterdir()} >= {"000001.gif", "000001.png", "grid.png"}
    with pytest.raises(TokbenchError, match="frames differ"):
        generate_files(settings(frames=13), 2, out)
    assert generate_files(settings(given_stride=2), 1, tmp_path / "every second") == 1
    assert (tmp_path / "every second" / "000000.gif").read_bytes() != first
    for changes, line in (({"given": None}, "none were given"), ({"film": "avi"}, "mp4 or gif"), ({"fps": 0.0}, "fps")):
        with pytest.raises(TokbenchError, match=line):
            generate_files(settings(**changes), 1, tmp_path / "none")
    assert not (tmp_path / "none").exists() or not list((tmp_path / "none").glob("*.png"))


@pytest.mark.parametrize("coded_under", ["generator", "histogram"])
def test_a_compressed_clip_comes_back(tmp_path: Path, coded_under: str) -> None:
    pair = pair_of(ARConfig)
    generator: Generator | None = pair.generator if coded_under == "generator" else None
    codec = Codec(pair.tokenizer, generator, None if generator else [np.ones(16, np.int64)])
    torch.manual_seed(1)
    clip, path = torch.rand(1, 3, 20, 37, 50) * 2 - 1, tmp_path / "x.tokb"
    made = codec.write(clip, path)
    codes, size = codec.read_codes(path)
    assert torch.equal(codes, codec.encode(clip)) and size == (20, 37, 50) and len(codes) == 3
    back = codec.read(path)
    assert back.shape == clip.shape and made.pixels == 20 * 37 * 50 and path.read_bytes()[4] == 2
    whole = clip[:, :, :9, :32, :48]  # nothing to pad: the first window is what the tokenizer makes of it
    codec.write(whole, path)
    torch.testing.assert_close(codec.read(path), pair.tokenizer.reconstruct(whole))
    content = path.read_bytes()
    for position in range(5, len(content), 7):
        path.write_bytes(content[:position] + bytes([content[position] ^ 4]) + content[position + 1 :])
        with pytest.raises(TokbenchError, match="damaged"):
            codec.read(path)
    with pytest.raises(TokbenchError, match="takes clips"):
        codec.write(clip[:, :, 0], path)


def test_a_video_file_is_compressed_window_by_window(tmp_path: Path) -> None:
    pair = pair_of(ARConfig)
    codec = Codec(pair.tokenizer, None, [np.ones(16, np.int64)])
    path = save_clip(torch.randint(0, 256, (3, 20, 16, 24), dtype=torch.uint8), tmp_path / "x.mp4", fps=10.0)
    with Video(path, name="x.mp4") as video:
        film, frames = Film(video), video.frames(range(20))
        assert [piece.shape[1] for piece in film.pieces(9, 9)] == [9, 9, 2] and film.size == (20, 16, 24)
        made = codec.write(film, tmp_path / "x.tokb", fps=video.rate)
    clip = to_float(torch.from_numpy(frames).permute(3, 0, 1, 2).contiguous())[None]
    assert torch.equal(codec.read_codes(tmp_path / "x.tokb")[0], codec.encode(clip)) and made.pixels == 20 * 16 * 24
    assert [window.shape[2] for window in codec.read_windows(tmp_path / "x.tokb")] == [9, 9, 2]
    assert Tokb.read(tmp_path / "x.tokb").fps == 10
