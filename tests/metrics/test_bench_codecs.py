"""Codecs beside tokenizers: what is counted as a rate, both footings, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from tokbench.bench import codecs as codecs_module
from tokbench.bench.bitstream import picture_bytes
from tokbench.bench.codecs import CODECS, chosen, code
from tokbench.bench.rate_distortion import NOTE, bench_codecs
from tokbench.bench.token_rates import contender, token_points
from tokbench.config.generator import ARConfig, GeneratorConfig, MLMConfig
from tokbench.config.model import TokenizerConfig
from tokbench.errors import TokbenchError
from tokbench.generators import Generator, build
from tokbench.metrics.psnr import psnr
from tokbench.models import Tokenizer
from tokbench.results.figures.codecs import coded_as, draw_codecs


@pytest.fixture(scope="module")
def video() -> Tensor:
    """A smooth pattern that moves: uint8 (3, 20, 64, 96)."""
    t, y, x = torch.meshgrid(torch.arange(20.0), torch.arange(64.0), torch.arange(96.0), indexing="ij")
    waves = [torch.sin((x + 2 * t) / 9 + k) + torch.cos((y - t) / (7 + k)) for k in range(3)]
    return (torch.stack(waves) * 60 + 128).round().to(torch.uint8)


def _tokenizer(architecture: str, size: int | None = None) -> Tokenizer:
    torch.manual_seed(0)
    of_clips = architecture == "magvit2-video"
    model = {"architecture": architecture, "channels": 8, "multipliers": [1, 2], "blocks": 1}
    model |= {"halve_frames": [True]} if of_clips else {}
    size = size or ([5, 64, 96] if of_clips else [64, 96])  # type: ignore[assignment]
    quantizer = {"name": "rq", "codebook_size": 16, "depth": 2}
    return Tokenizer(TokenizerConfig.model_validate({"image_size": size, "model": model, "quantizer": quantizer}))


@pytest.mark.parametrize("name", CODECS)
def test_every_codec_gives_back_the_clip_and_a_worse_one_for_fewer_bits(video: Tensor, name: str) -> None:
    codec = CODECS[name]
    good, bad = (code(video[:, :5], codec, quality, 32) for quality in (codec.qualities[0], codec.qualities[-1]))
    assert good.decoded.shape == bad.decoded.shape == (3, 5, 64, 96)
    assert 0 < bad.picture_bytes < good.picture_bytes < good.stream_bytes
    quality = [float(psnr(video[:, :5].transpose(0, 1), c.decoded.transpose(0, 1)).mean()) for c in (good, bad)]
    assert quality[0] > quality[1] and quality[0] > 34


def test_bits_of_pictures_leave_out_what_says_how_to_read_them() -> None:
    slice_, start = b"\x65" + bytes(range(1, 40)), b"\x00\x00\x00\x01"
    stream = start + b"\x67\x42\x00\x1e" + start + b"\x68\xce" + b"\x00\x00\x01" + b"\x06\x05\x10" + start + slice_
    assert picture_bytes(stream, "h264") == 40
    hevc = start + b"\x40\x01\x0c" + start + b"\x42\x01\x01" + start + b"\x26\x01" + bytes([7] * 30)
    assert picture_bytes(hevc, "hevc") == 32
    vvc = start + b"\x00\x79\x01" + start + b"\x00\x89\x05" + start + b"\x00\x41" + bytes([7] * 30)
    assert picture_bytes(vvc, "vvc") == 3 + 32  # the parameters are left out, the filters of a picture are its own
    av1 = b"\x12\x00" + b"\x0a\x03abc" + b"\x32\x83\x01" + bytes(131)
    assert picture_bytes(av1, "obu") == 3 + 131


@pytest.mark.parametrize(
    "stream, kind",
    [(b"", "h264"), (b"no stream at all", "hevc"), (b"\x32\x7f\x00", "obu"), (b"\x30\x00", "obu"), (b"\x32", "obu")],
)
def test_what_is_no_stream_is_one_line(stream: bytes, kind: str) -> None:
    with pytest.raises(TokbenchError):
        picture_bytes(stream, kind)


def test_both_footings_code_the_same_frames(video: Tensor) -> None:
    result = bench_codecs([video, video[:, :3]], chosen(["x264"]), frames=5)
    assert result["frames"] == 20 and result["videos"] == 1 and result["videos_too_short"] == 1
    assert result["note"] == NOTE and "0.0703" in NOTE and result["size"] == [64, 96] and result["ffmpeg"]
    rows = result["rows"]
    assert [row["footing"] for row in rows] == ["clips"] * 5 + ["random access"] * 5
    for alone, uncut in zip(rows[:5], rows[5:], strict=True):
        assert alone["quality"] == uncut["quality"] and alone["bpp"] > uncut["bpp"]  # four intra frames against one
        assert alone["bpp"] < alone["bpp_stream"] and alone["metrics"]["psnr"] > 20
    assert "ms_ssim" not in rows[0]["metrics"] and "161 pixels" in result["unavailable"]["ms_ssim"]


def test_a_codecs_rate_is_its_bits_over_pixels_and_frames(video: Tensor) -> None:
    rows = bench_codecs([video], chosen(["x264"]), frames=20)["rows"]
    assert {row["footing"] for row in rows} == {"clips"}  # uncut it would be the same
    row = rows[0]
    coded = code(video, CODECS["x264"], 22, 32)
    assert row["bpp"] == pytest.approx(8 * coded.picture_bytes / (20 * 64 * 96))
    assert row["metrics"]["psnr"] == pytest.approx(
        float(psnr(video.transpose(0, 1), coded.decoded.transpose(0, 1)).mean())
    )


@pytest.mark.parametrize("architecture, positions", [("magvit2-video", 3 * 32 * 48), ("magvit2", 5 * 32 * 48)])
def test_tokenizers_stand_beside_at_each_of_their_rates(video: Tensor, architecture: str, positions: int) -> None:
    tokenizer = _tokenizer(architecture)
    result = bench_codecs([video], [], frames=5, beside=[contender("mine", tokenizer)])
    fixed, entropy = result["rows"][-2:]
    assert (fixed["name"], fixed["rate"], entropy["rate"]) == ("mine", "fixed", "entropy")
    assert fixed["bpp"] == pytest.approx(positions * 2 * math.log2(16) / (5 * 64 * 96))
    assert 0 < entropy["bpp"] <= fixed["bpp"] and entropy["metrics"] == fixed["metrics"]
    assert fixed["footing"] == "clips" and fixed["bpp_stream"] is None


def test_a_generator_that_is_given_frames_has_no_rate_of_clips(video: Tensor) -> None:
    settings = ARConfig(width=8, heads=2, layers=1, input="learned", frames=1)
    config = GeneratorConfig(generator=settings, shape=(3, 32, 48, 2), vocabulary=(16, 16), given=1)
    generator = build(config)
    with pytest.raises(TokbenchError, match="given the first 1 positions in time has no rate of whole clips"):
        token_points("mine", _tokenizer("magvit2-video"), [video], 5, generator)


def test_a_tokenizer_of_other_clips_is_one_line_before_any_codec_runs(video: Tensor) -> None:
    with pytest.raises(TokbenchError, match="^mine: .*6x64x96 is not a multiple of the downsampling"):
        bench_codecs([video], [], frames=6, beside=[contender("mine", _tokenizer("magvit2-video"))])


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"frames": 21}, "no video has the 21 frames of a clip; the longest of 1 has 20"),
        ({"period": 48}, "a multiple of 32"),
        ({"frames": 0}, "clips of 0 frames"),
    ],
)
def test_mistakes_are_one_line(video: Tensor, arguments: dict[str, int], words: str) -> None:
    with pytest.raises(TokbenchError, match=words):
        bench_codecs([video], chosen(["x264"]), **arguments)


@pytest.mark.parametrize("height, width", [(63, 96), (36, 96), (24, 96)])
def test_sides_that_not_all_codecs_take_are_refused(video: Tensor, height: int, width: int) -> None:
    with pytest.raises(TokbenchError, match=f"multiples of 8, from 32 on, not {height}x{width}"):
        code(video[:, :5, :height, :width], CODECS["x264"], 22, 32)


@pytest.mark.parametrize("name", CODECS)
def test_the_smallest_clip_is_taken(video: Tensor, name: str) -> None:
    coded = code(video[:, :1, :32, :40], CODECS[name], CODECS[name].qualities[2], 32)
    assert coded.decoded.shape == (3, 1, 32, 40) and coded.picture_bytes > 0


def test_unknown_codecs_are_named() -> None:
    with pytest.raises(TokbenchError, match="no codec 'x256'.*x26"):
        chosen(["x256"])


def test_an_encoder_that_refuses_says_why_in_one_line(video: Tensor) -> None:
    broken = dataclasses.replace(CODECS["x264"], settings=lambda quality, period: ["-c:v", "libx264", "-preset", "no"])
    with pytest.raises(TokbenchError, match="^x264: ") as refusal:
        code(video[:, :5], broken, 22, 32)
    assert "\n" not in str(refusal.value) and "0x" not in str(refusal.value)


def test_what_one_codec_refuses_is_left_out_by_name(video: Tensor) -> None:
    """At one of its qualities, and nothing of the others is lost; a codec that refuses all is told by an error."""
    x264 = dataclasses.replace(CODECS["x264"], qualities=(42,))
    refuses = dataclasses.replace(
        x264,
        name="fake",
        qualities=(0, 1, 42),
        settings=lambda quality, period: x264.settings(quality, period) if quality == 42 else ["-c:v", "none"],
    )
    result = bench_codecs([video], [refuses, x264], frames=5)
    assert [row["name"] for row in result["rows"]] == ["fake", "fake", "x264", "x264"]
    assert [row["quality"] for row in result["rows"]] == [42] * 4
    told = [(each["name"], each["footing"], each["quality"]) for each in result["refused"]]
    assert told == [("fake", footing, quality) for footing in ("clips", "random access") for quality in (0, 1)]
    assert all(each["why"].startswith("fake: ") for each in result["refused"])
    with pytest.raises(TokbenchError, match="^fake: "):
        bench_codecs([video], [dataclasses.replace(refuses, qualities=(0, 1))], frames=5)


def test_a_program_that_is_not_there_is_one_line(video: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/nowhere/ffmpeg")
    with pytest.raises(TokbenchError, match="/nowhere/ffmpeg: cannot be run: No such file"):
        code(video[:, :5], CODECS["x264"], 22, 32)


def test_without_the_extra_the_line_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "imageio_ffmpeg", None)
    with pytest.raises(TokbenchError, match=r"pip install 'tokbench\[video\]'"):
        codecs_module.ffmpeg()


def test_the_command_prints_keeps_and_draws(tmp_path: Path) -> None:
    from tokbench.cli.app import app

    line = "bench codecs --data clips --size 5x32x32 --frames 5 --codecs x264 --limit 1 --cpu"
    arguments = [*line.split(), "--out", f"{tmp_path}/found.json", "--figure", f"{tmp_path}/rd.svg"]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0 and "x264" in done.output and "0.0384 bpp" in done.output
    said = " ".join(done.output.split())
    assert not done.output.startswith("\n") and "MS-SSIM needs images of at least" in said
    assert "5 frames coded alone, the first intra" in said and "without parameter sets" in said
    assert "random access" not in said  # of one clip it is the same, and has no row
    kept = json.loads((tmp_path / "found.json").read_text())
    assert kept["data"] == "clips" and kept["protocol"] == "tokbench-v1-all" and len(kept["rows"]) == 5
    assert (tmp_path / "rd.svg").read_text().count("<svg") == 1


def test_the_command_says_what_it_left_out_and_keeps_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tokbench.cli.app import app

    good = dataclasses.replace(CODECS["x264"], qualities=(42,))
    bad = dataclasses.replace(good, name="fake", qualities=(0, 1), settings=lambda quality, period: ["-c:v", "none"])
    monkeypatch.setattr(codecs_module, "CODECS", {"x264": good, "fake": bad})
    line = f"bench codecs --data clips --size 5x32x32 --frames 5 --limit 1 --cpu --out {tmp_path}/found.json"
    done = CliRunner().invoke(app, line.split(), catch_exceptions=False)
    assert done.exit_code == 0 and "left out, 2 rows: fake: " in done.output
    kept = json.loads((tmp_path / "found.json").read_text())
    assert [row["name"] for row in kept["rows"]] == ["x264"] and len(kept["refused"]) == 2


def test_tokenizers_go_by_their_quantizer_or_where_two_share_it_by_their_folders(tmp_path: Path) -> None:
    from tokbench.cli.app import app

    _tokenizer("magvit2", size=32).save_pretrained(tmp_path / "one" / "tokenizer")
    _tokenizer("magvit2", size=32).save_pretrained(tmp_path / "two" / "tokenizer")
    line = "bench codecs --data clips --size 5x32x32 --frames 5 --codecs x264 --limit 1 --cpu"
    folders = [f"--tokenizer={tmp_path / name / 'tokenizer'}" for name in ("one", "two")]
    called = []
    for given in (folders[:1], folders):
        out = tmp_path / f"{len(given)}.json"
        done = CliRunner().invoke(app, [*line.split(), *given, "--out", str(out)], catch_exceptions=False)
        assert done.exit_code == 0 and "coded as" in done.output.split("left out for lack of space")[0]
        called.append(list(dict.fromkeys(row["name"] for row in json.loads(out.read_text())["rows"])))
    assert called == [["x264", "rq"], ["x264", "one", "two"]]


@pytest.mark.parametrize(
    "options, words",
    [
        (["--size", "64x64"], "FRAMESxHEIGHTxWIDTH"),
        (["--codecs", "x265,h266"], "no codec 'h266'"),
        (["--figure", "rd.gif"], "a figure's name ends in"),
        (["--generator", "x"], "--generator goes with one --tokenizer"),
    ],
)
def test_the_commands_mistakes_are_found_before_any_work(options: list[str], words: str) -> None:
    from tokbench.cli.app import app

    done = CliRunner().invoke(app, ["bench", "codecs", "--data", "clips", *options])
    assert isinstance(done.exception, TokbenchError) and words in str(done.exception)


def test_ticks_of_low_rates_stand_apart() -> None:
    shared = {"name": "x264", "rate": "pictures", "footing": "random access"}
    rows = [{**shared, "bpp": 2.0**-power, "metrics": {"psnr": 30.0}} for power in range(2, 9)]
    counts = {"frames": 1, "videos": 1, "clip_frames": 1, "intra_period": 32, "note": "a note"}
    figure = draw_codecs({"rows": rows, **counts})
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()][:2] == ["0.00391", "0.00781"]
    assert "an intra frame at least every 32" in figure.get_supxlabel()


def _generator(shape: tuple[int, ...], vocabulary: tuple[int, ...]) -> Generator:
    settings = ARConfig(width=8, heads=2, layers=1, input="learned")
    return build(GeneratorConfig(generator=settings, shape=shape, vocabulary=vocabulary))


@pytest.mark.parametrize(
    "vocabulary, frames, words",
    [((8, 8), 5, "its codes have vocabularies"), ((16, 16), 9, "5x32x48 codes and the generator models 3x32x48")],
)
def test_a_generator_of_other_codes_is_one_line(
    video: Tensor, vocabulary: tuple[int, ...], frames: int, words: str
) -> None:
    with pytest.raises(TokbenchError, match=f"^mine: .*{words}"):
        token_points("mine", _tokenizer("magvit2-video"), [video], frames, _generator((3, 32, 48, 2), vocabulary))


def test_a_rate_without_an_exact_likelihood_is_said_to_be_a_bound(video: Tensor) -> None:
    settings = MLMConfig(width=8, heads=2, layers=1, input="learned")
    config = GeneratorConfig(generator=settings, shape=(3, 32, 48, 2), vocabulary=(16, 16))
    points = token_points("mine", _tokenizer("magvit2-video"), [video[:, :5]], 5, build(config))
    said = [coded_as(dataclasses.asdict(point)) for point in points]
    assert said == ["fixed-length", "entropy-coded", "model-coded (bound)"]


def test_a_large_vocabulary_is_modelled_as_several_small_ones() -> None:
    model = {"architecture": "magvit2-video", "channels": 8, "multipliers": [1], "blocks": 1, "halve_frames": []}
    quantizer = {"name": "lfq", "codebook_size": 2**18}
    of_clips = {"image_size": [1, 8, 8], "model": model, "quantizer": quantizer}
    tokenizer = Tokenizer(TokenizerConfig.model_validate(of_clips))
    sizes = tuple(int(size) for size in tokenizer.quantizer.subcode_sizes)
    generator = _generator((1, 8, 8, len(sizes)), sizes)
    *_, point = token_points("mine", tokenizer, [torch.zeros(3, 1, 8, 8, dtype=torch.uint8)], 1, generator)
    assert len(sizes) == 2 and point.rate == "model" and 0 < point.bpp < 36
