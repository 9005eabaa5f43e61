"""Metrics of clips: frames through one fold, the first against the later ones, flicker, and FVD in a whole pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from metric_fakes import Pictures
from torch import Tensor

from tokbench import weights
from tokbench.config.model import TokenizerConfig
from tokbench.data import open_images
from tokbench.data.base import ImageDataset
from tokbench.data.pixels import frames, to_float, to_uint8
from tokbench.errors import TokbenchError
from tokbench.metrics import evaluate_images, evaluate_tokenizer, extractors
from tokbench.metrics.flicker import flicker
from tokbench.metrics.psnr import psnr
from tokbench.metrics.record import evaluation_record
from tokbench.metrics.registry import default_metrics
from tokbench.models import Tokenizer
from tokbench.results.table import comparison


class ClipSpace:
    """Four numbers of a clip instead of I3D's logits."""

    name, dim, digest = "i3d-k400-tf1", 4, "fake"

    def __call__(self, images: Tensor) -> Tensor:
        assert images.ndim == 5 and images.dtype == torch.uint8
        x = images.float() / 255
        parts = (
            x.mean((1, 2, 3, 4)),
            x.std((1, 2, 3, 4)),
            x[:, 0].mean((1, 2, 3)),
            x.diff(dim=2).abs().mean((1, 2, 3, 4)),
        )
        return torch.stack(parts, dim=1)


@pytest.fixture
def clip_space(monkeypatch: pytest.MonkeyPatch) -> None:
    for resize in ("tf1", "half-pixel"):
        monkeypatch.setitem(extractors._FACTORIES, f"i3d-k400-{resize}", lambda device: ClipSpace())
    monkeypatch.setattr(weights, "find", lambda name: name)


@pytest.fixture(scope="module")
def clips() -> ImageDataset:
    """Windows of nine frames of the video that is held out."""
    return open_images("clips", "eval", image_size=(9, 16, 16), limit=12)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    torch.manual_seed(0)
    model = {"architecture": "magvit2-video", "channels": 8, "multipliers": [1, 2], "blocks": 1, "halve_frames": [True]}
    quantizer = {"name": "rq", "codebook_size": 16, "depth": 2}
    return Tokenizer(
        TokenizerConfig.model_validate({"image_size": [9, 16, 16], "model": model, "quantizer": quantizer})
    )


def _decoded(tokenizer: Tokenizer, clips: ImageDataset) -> tuple[Tensor, Tensor]:
    originals = torch.stack([clips[index]["image"] for index in range(len(clips))])
    with torch.inference_mode():
        return originals, to_uint8(tokenizer.eval().decode(tokenizer.encode(to_float(originals))))


def test_a_clips_value_is_its_frames_mean_and_the_first_stands_alone(tokenizer: Tokenizer, clips: ImageDataset) -> None:
    found = evaluate_tokenizer(tokenizer, clips, metrics=["psnr", "ssim", "flicker"], batch_size=5).metrics
    originals, decoded = _decoded(tokenizer, clips)
    each = psnr(frames(originals), frames(decoded)).view(12, 9)
    assert found["psnr"].value == pytest.approx(float(each.mean()), rel=1e-6) and found["psnr"].n == 12
    assert found["psnr"].stderr == pytest.approx(float(each.mean(1).std() / 12**0.5), rel=1e-4)  # of batches of 5
    extra = found["psnr"].extra
    assert extra["first_frame"] == pytest.approx(float(each[:, 0].mean()), rel=1e-6)
    assert extra["later_frames"] == pytest.approx(float(each[:, 1:].mean()), rel=1e-6)
    assert found["flicker"].value == pytest.approx(float(flicker(originals, decoded).mean()), rel=1e-6)
    assert "first_frame" not in found["flicker"].extra and "first_frame" in found["ssim"].extra


def test_a_table_of_clips_counts_clips_and_seconds(tokenizer: Tokenizer, clips: ImageDataset) -> None:
    found = evaluate_tokenizer(tokenizer, clips, metrics=["psnr", "usage"], batch_size=12)
    made = evaluation_record(found, tokenizer, clips.fingerprint, by_depth=True, name="x", weights_which="saved")
    (section,) = comparison([made], by_depth=True).sections
    assert section.title == "Tokenizers · clips (eval) · 9×16×16 · 12 clips · protocol tokbench-v1-all"
    assert "bits/clip" in [column.label for column in section.columns]
    part, whole = ({c.key: cell for c, cell in zip(section.columns, row.cells, strict=True)} for row in section.rows)
    rate = found.data.frame_rate
    assert rate is not None and whole["kbps"].value == pytest.approx(found.rate.bits_per_image * rate / 9 / 1000)
    assert part["kbps"].value == pytest.approx(whole["kbps"].value / 2)
    extra = found.metrics["psnr"].extra
    assert (whole["psnr_first"].value, whole["psnr_later"].value) == (extra["first_frame"], extra["later_frames"])
    assert (part["psnr_first"].text, part["psnr_later"].text) == ("", "")
    unknown = made.replace(data={**made.plain()["data"], "frame_rate": None}, metrics={})
    keys = [column.key for column in comparison([unknown]).sections[0].columns]
    assert "bits" in keys and not {"kbps", "psnr_first", "psnr_later"} & set(keys)


def test_flicker_is_of_what_comes_and_goes() -> None:
    still = torch.full((1, 3, 4, 8, 8), 100, dtype=torch.uint8)
    brighter, blinking = still + 51, still.clone()
    blinking[:, :, 1] += 51
    assert float(flicker(still, still)) == float(flicker(still, brighter)) == 0
    assert float(flicker(still, blinking)) == pytest.approx(2 * 0.2 / 3)  # two of three steps differ by a fifth
    mean, moving = still.float(), torch.randint(0, 256, still.shape, dtype=torch.uint8)
    assert float(flicker(moving, mean.byte())) == pytest.approx(float(moving.float().diff(dim=2).abs().mean() / 255))


@pytest.mark.parametrize("shape", [(1, 3, 1, 8, 8), (2, 3, 8, 8)])
def test_flicker_of_one_frame_is_refused(shape: tuple[int, ...]) -> None:
    images = torch.zeros(shape, dtype=torch.uint8)
    with pytest.raises(TokbenchError, match="clips"):
        flicker(images, images)


def test_metrics_of_images_refuse_clips_that_were_not_folded() -> None:
    images = torch.zeros(1, 3, 4, 8, 8, dtype=torch.uint8)
    with pytest.raises(TokbenchError, match=r"PSNR compares frames \(B, C, H, W\), got \(1, 3, 4, 8, 8\)"):
        psnr(images, images)


def test_rfvd_in_a_whole_pass(clip_space: None, tokenizer: Tokenizer, clips: ImageDataset) -> None:
    names = ["rfvd_tf1", "rfvd_tf1_biased", "rfvd_half_pixel", "rfid"]
    found = evaluate_tokenizer(tokenizer, clips, metrics=names, batch_size=5)
    again = evaluate_tokenizer(tokenizer, clips, metrics=names, batch_size=12)  # the reference from the cache
    unbiased, biased = found.metrics["rfvd_tf1"], found.metrics["rfvd_tf1_biased"]
    assert unbiased.value is not None and biased.value is not None and 0 < biased.value < unbiased.value
    assert unbiased.n == found.data.n == 12 and unbiased.extra["n_reference"] == 12
    assert list(found.data.size) == [9, 16, 16] and found.data.split == "eval"  # type: ignore[arg-type]
    assert found.metrics["rfid"].value is None and "compares images" in str(found.metrics["rfid"].note)
    assert "only 12 clips: biased" in str(unbiased.note)
    assert again.metrics["rfvd_tf1"].value == pytest.approx(unbiased.value, rel=1e-4)
    assert unbiased.version == "tokbench-v1-all/rfvd_tf1-1"


def test_rfvd_is_refused_under_the_rank_of_its_covariance(
    clip_space: None, tokenizer: Tokenizer, clips: ImageDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ClipSpace, "dim", 400)  # I3D's
    names = ["rfvd_tf1", "rfvd_tf1_biased", "rfvd_half_pixel", "rfvd_half_pixel_biased"]
    found = evaluate_tokenizer(tokenizer, clips, metrics=[*names, "psnr"]).metrics
    assert found["psnr"].value is not None
    for name in names:
        assert found[name].value is None and "needs at least 401 clips" in str(found[name].note), name
        assert "there are 12" in str(found[name].note)


def test_clips_of_equal_content_are_at_no_distance(clip_space: None, clips: ImageDataset) -> None:
    found = evaluate_images(clips, reference=clips, metrics=["gfvd_tf1", "gfvd_magvit"]).metrics
    assert found["gfvd_tf1"].value == pytest.approx(0, abs=1e-6)
    assert found["gfvd_magvit"].value is None and "16 frames of 128x128" in str(found["gfvd_magvit"].note)


def test_a_protocol_names_the_reference_it_wants(clip_space: None) -> None:
    held_out = open_images("clips", "eval", image_size=(16, 64, 64))
    assert len(held_out) == 17
    found = evaluate_images(held_out, reference=held_out, metrics=["gfvd_videogpt"]).metrics["gfvd_videogpt"]
    assert found.value is None and "random windows of the train split; these are all windows of eval" in str(found.note)
    trained = open_images("clips", "train", image_size=(16, 64, 64), crop="adm", limit=2)
    found = evaluate_images(held_out, reference=trained, metrics=["gfvd_videogpt"]).metrics["gfvd_videogpt"]
    assert found.value is None and "2,048 generated clips; there are 17" in str(found.note)


@pytest.mark.parametrize("task", ["reconstruction", "generation"])
def test_metrics_of_clips_do_not_appear_for_images(clip_space: None, task: str) -> None:
    of_clips = {"flicker"} | {name for name in default_metrics((17, 64, 64), task) if "fvd" in name}
    assert len(of_clips) == 2
    for size in (64, (64, 96), None):
        assert not of_clips & set(default_metrics(size, task))


def test_metrics_of_clips_have_no_value_for_images(clip_space: None) -> None:
    from metric_fakes import GreyTokenizer

    found = evaluate_tokenizer(GreyTokenizer(), Pictures(13), metrics=["flicker", "rfvd_tf1"]).metrics
    assert all(value.value is None and "compares clips" in str(value.note) for value in found.values())


def test_clips_of_one_frame_are_no_clips_to_compare(clip_space: None, tokenizer: Tokenizer) -> None:
    one: Any = open_images("clips", "eval", image_size=(1, 16, 16), limit=3)
    found = evaluate_tokenizer(tokenizer, one, metrics=["psnr", "flicker", "rfvd_tf1"]).metrics
    assert found["psnr"].value is not None and "first_frame" not in found["psnr"].extra
    assert "2 frames" in str(found["flicker"].note) and "9 frames" in str(found["rfvd_tf1"].note)
