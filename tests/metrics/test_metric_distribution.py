"""Metrics of whole sets of images: parity with torch-fidelity through our running sums, refusals, and the cache."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from metric_fakes import FakeSpace, GreyTokenizer, Pictures
from torch import Tensor
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from tokbench import weights
from tokbench.data.pixels import to_float, to_uint8
from tokbench.errors import TokbenchError
from tokbench.metrics import evaluate_images, evaluate_tokenizer
from tokbench.metrics.feature_statistics import FeatureStatistics
from tokbench.metrics.fid_infinity import fid_infinity
from tokbench.metrics.frechet import frechet_distance, jackknife_stderr
from tokbench.metrics.generated import save_statistics
from tokbench.metrics.inception_score import ClassStatistics


def _fid(x: Tensor, y: Tensor) -> float:
    found = fid_statistics_to_metric(fid_features_to_statistics(x), fid_features_to_statistics(y), False)
    return float(next(iter(found.values())))


def _reconstructed(pictures: Pictures, depth: int) -> Tensor:
    tokenizer = GreyTokenizer()
    return to_uint8(tokenizer.decode(tokenizer.encode(to_float(pictures.batch()))[..., :depth]))


@pytest.mark.parametrize("batch_size", [7, 64])
def test_rfid_is_torch_fidelitys_at_every_depth(space: FakeSpace, batch_size: int) -> None:
    pictures = Pictures(60)
    result = evaluate_tokenizer(GreyTokenizer(), pictures, metrics=["rfid"], batch_size=batch_size)
    expected = [_fid(space(_reconstructed(pictures, d)), space(pictures.batch())) for d in (1, 2)]
    assert result.metrics["rfid"].by_depth == pytest.approx(expected, rel=1e-6)
    assert result.metrics["rfid"].value == pytest.approx(expected[-1], rel=1e-6)
    assert result.metrics["rfid"].n == 60
    assert "only 60 images" in (result.metrics["rfid"].note or "")
    assert result.warnings


def test_kid_precision_and_recall_are_torch_fidelitys(space: FakeSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokbench.metrics.kid.SUBSETS", 3)
    pictures, others = Pictures(1100), Pictures(1050, seed=1)
    result = evaluate_images(others, reference=pictures, metrics=["kid", "precision", "recall"], batch_size=128)
    fake, real = space(others.batch()), space(pictures.batch())
    kid = kid_features_to_metric(fake, real, kid_subsets=3, kid_subset_size=1000, rng_seed=2020, verbose=False)
    prc = prc_features_to_metric(
        fake, real, prc_neighborhood=3, prc_batch_size=10_000, save_cpu_ram=False, verbose=False
    )
    assert result.metrics["kid"].value == pytest.approx(kid["kernel_inception_distance_mean"], rel=1e-6)
    assert result.metrics["precision"].value == pytest.approx(prc["precision"], abs=1e-9)
    assert result.metrics["recall"].value == pytest.approx(prc["recall"], abs=1e-9)


def test_inception_score_is_torch_fidelitys() -> None:
    generator = torch.Generator().manual_seed(0)
    features, classifier = torch.randn(137, 32, generator=generator), torch.randn(1008, 32, generator=generator)
    statistics = ClassStatistics(classifier, 137)
    for part in torch.arange(137).split(10):
        statistics.update(features[part], part)
    expected = isc_features_to_metric(features @ classifier.T)
    assert float(statistics.scores().mean()) == pytest.approx(expected["inception_score_mean"], rel=1e-6)
    assert float(statistics.scores().std(correction=0)) == pytest.approx(expected["inception_score_std"], rel=1e-6)


def test_too_few_images_for_a_full_covariance_give_no_number(space: FakeSpace, tokenizer: GreyTokenizer) -> None:
    for count, refused in ((space.dim, True), (space.dim + 1, False)):
        value = evaluate_tokenizer(tokenizer, Pictures(count), metrics=["rfid"]).metrics["rfid"]
        assert (value.value is None) == refused
        if refused:
            assert f"at least {space.dim + 1}" in (value.note or "") and f"there are {count}" in (value.note or "")


def test_images_that_no_metric_can_use_are_not_drawn(space: FakeSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn() -> Iterator[Tensor]:
        raise AssertionError("an image was drawn")
        yield

    few = space.dim  # one short of a full rank
    for reference, count in ((Pictures(40), few), (Pictures(few), 40)):
        found = evaluate_images(drawn(), reference=reference, metrics=["gfid", "kid"], count=count)
        assert found.metrics["gfid"].value is None and found.metrics["kid"].value is None
        assert f"at least {few + 1} images" in (found.metrics["gfid"].note or "")
        assert found.n == 0 and space.seen == 0
    monkeypatch.setattr(weights, "find", lambda name: None)
    missing = evaluate_images(drawn(), reference=Pictures(40), metrics=["gfid"], count=40).metrics["gfid"]
    assert missing.value is None and "tokbench weights get inception-fid" in (missing.note or "")


def test_rfid_against_training_images_is_another_metric(space: FakeSpace, tokenizer: GreyTokenizer) -> None:
    pictures, training = Pictures(40), Pictures(50, seed=3)
    names = ["rfid", "rfid_train"]
    alone = evaluate_tokenizer(tokenizer, pictures, metrics=names)
    assert alone.metrics["rfid_train"].value is None and "none were given" in (alone.metrics["rfid_train"].note or "")
    both = evaluate_tokenizer(tokenizer, pictures, metrics=names, train_dataset=training)
    expected = _fid(space(_reconstructed(pictures, 2)), space(training.batch()))
    assert both.metrics["rfid_train"].value == pytest.approx(expected, rel=1e-6)
    assert both.metrics["rfid_train"].version != both.metrics["rfid"].version


def test_originals_are_looked_at_once_and_then_remembered(space: FakeSpace, tokenizer: GreyTokenizer) -> None:
    first = evaluate_tokenizer(tokenizer, Pictures(40), metrics=["rfid"], by_depth=False)
    assert space.seen == 80
    again = evaluate_tokenizer(tokenizer, Pictures(40), metrics=["rfid"], by_depth=False)
    assert space.seen == 80 + 40
    assert again.metrics["rfid"] == first.metrics["rfid"]
    evaluate_tokenizer(tokenizer, Pictures(40, seed=5), metrics=["rfid"], by_depth=False)  # other images
    assert space.seen == 120 + 80


def test_a_damaged_memory_is_made_again(space: FakeSpace, tokenizer: GreyTokenizer, own_cache: Path) -> None:
    first = evaluate_tokenizer(tokenizer, Pictures(40), metrics=["rfid"])
    (file,) = (own_cache / "statistics").iterdir()
    whole = file.read_bytes()
    for damage in (whole[: len(whole) // 2], b"", whole[:200] + bytes(80) + whole[280:]):
        file.write_bytes(damage)
        assert evaluate_tokenizer(tokenizer, Pictures(40), metrics=["rfid"]).metrics == first.metrics
        assert file.read_bytes() == whole


def test_other_weights_never_use_the_same_memory(space: FakeSpace, tokenizer: GreyTokenizer) -> None:
    evaluate_tokenizer(tokenizer, Pictures(40), metrics=["rfid"], by_depth=False)
    space.digest = "another"
    evaluate_tokenizer(tokenizer, Pictures(40), metrics=["rfid"], by_depth=False)
    assert space.seen == 160


def test_gfid_against_a_statistics_file(space: FakeSpace, tmp_path: Path) -> None:
    pictures, generated = Pictures(60), Pictures(50, seed=1)
    statistics = FeatureStatistics(space.dim)
    statistics.update(space(pictures.batch()), torch.arange(60))
    save_statistics(tmp_path / "reference.npz", statistics)
    direct = evaluate_images(generated, reference=pictures, metrics=["gfid"]).metrics["gfid"]
    batches = evaluate_images(
        generated.batch().split(8),
        count=50,
        reference=tmp_path / "reference.npz",
        metrics=["gfid", "kid"],
        protocol="adm",
    ).metrics
    assert batches["gfid"].value == pytest.approx(direct.value, rel=1e-9)
    assert batches["gfid"].version == "adm/gfid-1"
    assert batches["kid"].value is None and "needs the reference's features" in (batches["kid"].note or "")


def test_what_is_no_statistics_file_is_refused(space: FakeSpace, tmp_path: Path) -> None:
    generated, file = Pictures(20), tmp_path / "reference.npz"

    def refused(match: str) -> None:
        with pytest.raises(TokbenchError, match=match):
            evaluate_images(generated, reference=file, metrics=["gfid"])

    refused("cannot be read as statistics")
    np.savez(file, mean=np.zeros(space.dim))
    refused("mu and sigma")
    np.savez(file, mu=np.zeros(2048), sigma=np.eye(2048))
    refused(rf"these features have {space.dim} dimensions")
    np.savez(file, mu=np.zeros(space.dim), sigma=np.full((space.dim, space.dim), np.nan))
    refused("not finite")


def test_generated_images_are_checked(space: FakeSpace) -> None:
    with pytest.raises(TokbenchError, match="must be uint8"):
        evaluate_images([torch.rand(4, 3, 16, 16)], count=40, reference=Pictures(20), metrics=["gfid"])
    with pytest.raises(TokbenchError, match="images are 20x20 and the reference 16x16"):
        evaluate_images(Pictures(40, size=20), reference=Pictures(40), metrics=["gfid"])
    with pytest.raises(TokbenchError, match="need count="):
        evaluate_images([], reference=Pictures(20), metrics=["gfid"])
    with pytest.raises(TokbenchError, match="'psnr' does not measure generated images"):
        evaluate_images(Pictures(4), reference=Pictures(20), metrics=["psnr"])


def _statistics(features: Tensor, capacity: int = 10_000) -> FeatureStatistics:
    statistics = FeatureStatistics(features.shape[1], capacity=capacity)
    statistics.update(features, torch.arange(len(features)))
    return statistics


def test_the_kept_sample_does_not_depend_on_order_or_parts() -> None:
    features = torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
    whole = _statistics(features, capacity=50)
    shuffled, left, right = (FeatureStatistics(3, capacity=50) for _ in range(3))
    order = torch.randperm(500, generator=torch.Generator().manual_seed(1))
    for part in order.split(33):
        shuffled.update(features[part], part)
    left.update(features[order[:100]], order[:100])
    right.update(features[order[100:]], order[100:])
    left.merge(right)
    for other in (shuffled, left):
        assert len(other.kept) == 50 and other.n == 500
        assert torch.equal(other.features(), whole.features())
        torch.testing.assert_close(other.covariance, whole.covariance, rtol=1e-12, atol=1e-12)
    assert 100 < float(whole.positions.double().mean()) < 400  # from all over the set


def test_covariance_is_exact_far_from_zero() -> None:
    features = torch.randn(300, 4, generator=torch.Generator().manual_seed(0)).double() * 1e-2 + 1e3
    statistics = FeatureStatistics(4)
    statistics.update(features, torch.arange(300))
    torch.testing.assert_close(statistics.covariance, torch.cov(features.T), rtol=1e-4, atol=1e-8)


def test_the_distance_of_two_known_gaussians() -> None:
    zero, one = torch.zeros(3, dtype=torch.float64), torch.eye(3, dtype=torch.float64)
    assert frechet_distance(zero, one, zero + 2, 4 * one) == pytest.approx(3 * 4 + 3 * 1)
    assert frechet_distance(zero, one, zero, one) == pytest.approx(0, abs=1e-9)


def test_the_jackknife_gives_the_spread_over_new_draws() -> None:
    generator = torch.Generator().manual_seed(0)
    reference = _statistics(torch.randn(4000, 3, generator=generator))
    draws = [_statistics(torch.randn(400, 3, generator=generator) + 0.5) for _ in range(40)]
    values = [frechet_distance(d.mean, d.covariance, reference.mean, reference.covariance) for d in draws]
    guesses = [jackknife_stderr(reference, d, paired=False) for d in draws[:10]]
    guess = sum(g for g in guesses if g is not None) / 10
    assert 0.6 < guess / float(np.std(values)) < 1.6


def test_a_jackknife_of_pairs_leaves_out_both() -> None:
    """A reconstruction that is its original has distance 0 whichever images were drawn."""
    features = torch.randn(400, 3, generator=torch.Generator().manual_seed(0))
    same = _statistics(features)
    assert jackknife_stderr(same, _statistics(features), paired=True) == pytest.approx(0, abs=1e-7)
    assert (jackknife_stderr(same, _statistics(features), paired=False) or 0) > 1e-4


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_distance_of_two_equal_sets_is_not_below_zero(scale: float) -> None:
    for seed in range(8):
        features = scale * torch.randn(96, 24, generator=torch.Generator().manual_seed(seed))
        d = _statistics(features)
        assert 0 <= frechet_distance(d.mean, d.covariance, d.mean, d.covariance) <= 1e-6 * scale**2
        assert fid_infinity(d, d) >= 0
    nothing = torch.full((3,), torch.nan, dtype=torch.float64)
    assert math.isnan(frechet_distance(nothing, torch.eye(3).double(), nothing, torch.eye(3).double()))


def test_fid_infinity_takes_the_bias_away() -> None:
    generator = torch.Generator().manual_seed(0)
    reference = _statistics(torch.randn(10_000, 16, generator=generator))
    sample = _statistics(torch.randn(600, 16, generator=generator))
    biased = frechet_distance(sample.mean, sample.covariance, reference.mean, reference.covariance)
    assert abs(fid_infinity(reference, sample)) < biased / 2
    with pytest.raises(TokbenchError, match="well over 32 images"):
        fid_infinity(reference, _statistics(torch.randn(20, 16, generator=generator)))


def test_dinov2_runs_through_torch_fidelity(
    tmp_path: Path, tokenizer: GreyTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Tiny(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(1))

        def forward(self, x: Tensor) -> Tensor:
            return x.mean(1).flatten(1)[:, ::49] * self.scale  # (B, 1024) of 224 x 224

    def note() -> str:
        value = evaluate_tokenizer(tokenizer, Pictures(3), metrics=["fd_dinov2"]).metrics["fd_dinov2"]
        assert value.value is None
        return value.note or ""

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "load", lambda *_: Tiny())
    assert "no DINOv2 weights" in note() and "torch.hub.load('facebookresearch/dinov2'" in note()
    (tmp_path / "checkpoints").mkdir()
    file = tmp_path / "checkpoints" / "dinov2_vitl14_pretrain.pth"
    torch.save(Tiny().state_dict(), file)
    assert "no DINOv2 code" in note()
    (tmp_path / "facebookresearch_dinov2_main").mkdir()
    (tmp_path / "facebookresearch_dinov2_main" / "hubconf.py").touch()
    assert "1025 images" in note()
    # The publisher's loader would leave what it does not find as it was: random.
    for wrong in ({"other": torch.ones(1)}, {"scale": torch.zeros(1)}):
        torch.save(wrong, file)
        with pytest.raises(TokbenchError, match="not the weights of DINOv2 ViT-L/14 .scale"):
            evaluate_tokenizer(tokenizer, Pictures(3), metrics=["fd_dinov2"])
