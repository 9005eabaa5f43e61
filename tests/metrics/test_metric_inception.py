"""The Inception path against torch-fidelity end to end, and the features of photographs with the true weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch_fidelity
from metric_fakes import GreyTokenizer, Pictures
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from tokbench import weights
from tokbench.metrics import evaluate_images, evaluate_tokenizer, extractors, inception
from tokbench.metrics.inception import InceptionFID


class _Images(torch.utils.data.Dataset):
    def __init__(self, pictures: Pictures) -> None:
        self.images = pictures.batch()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.images[index]


@pytest.fixture(scope="module")
def random_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network with random weights as a file for torch-fidelity."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        torch.save({}, folder / "none.pth")
        state = FeatureExtractorInceptionV3(
            "inception-v3-compat", ["64"], feature_extractor_weights_path=folder / "none.pth"
        ).state_dict()
    torch.save(state, folder / "random.pth")
    return folder / "random.pth"


@pytest.fixture
def random_weights(random_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """They stand in place of the true ones."""
    state = torch.load(random_file)
    monkeypatch.setattr(weights, "load", lambda name: state)
    monkeypatch.setattr(weights, "digest", lambda name: "random")
    monkeypatch.setattr(weights, "find", lambda name: tmp_path)
    return random_file


def _torch_fidelitys(ours: Pictures, theirs: Pictures, layer: int, file: Path) -> float:
    return torch_fidelity.calculate_metrics(
        input1=_Images(ours), input2=_Images(theirs), fid=True, feature_extractor="inception-v3-compat",
        feature_layer_fid=str(layer), feature_extractor_weights_path=str(file), cuda=False, cache=False, batch_size=32,
        verbose=False, save_cpu_ram=True,
    )["frechet_inception_distance"]  # fmt: skip


@pytest.mark.slow  # by default each layer alone is theirs, below, and the distance is, in test_metric_distribution
@pytest.mark.parametrize("layer, counts", [(64, (75, 70)), (192, (205, 200))])
def test_our_pass_is_torch_fidelitys(random_weights: Path, layer: int, counts: tuple[int, int]) -> None:
    """Their whole program and ours, from images to distance, on random weights."""
    ours, theirs = (Pictures(count, size=32, seed=seed) for seed, count in enumerate(counts))
    # Alike they would be at a distance of rounding errors: the difference of two sums that agree to six digits.
    theirs.arrays, theirs.seed = [array // 3 for array in theirs.arrays], 3
    expected = _torch_fidelitys(ours, theirs, layer, random_weights)
    found = evaluate_images(ours, reference=theirs, metrics=[f"gfid_{layer}"], batch_size=20).metrics[f"gfid_{layer}"]
    assert found.value == pytest.approx(expected, rel=1e-6)
    assert found.label == f"gFD-Inception{layer}" and found.n == counts[0]


@pytest.fixture(scope="module")
def theirs(random_file: Path) -> dict[int, torch.Tensor]:
    """torch-fidelity's features of two images, by layer."""
    layers = [64, 192, 768, 2048]
    extractor = FeatureExtractorInceptionV3("x", list(map(str, layers)), feature_extractor_weights_path=random_file)
    return dict(zip(layers, extractor(Pictures(2, size=32).batch()), strict=True))


@pytest.mark.parametrize("layer", [64, 192, 768, 2048])
def test_each_layer_is_torch_fidelitys(random_weights: Path, theirs: dict[int, torch.Tensor], layer: int) -> None:
    images, expected = Pictures(2, size=32).batch(), theirs[layer]
    extractor = extractors.load_extractor(inception.NAME if layer == 2048 else f"{inception.NAME}-{layer}")
    found = extractor(images)
    assert extractor.dim == layer and found.shape == (2, layer) and found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6 * float(expected.abs().max()) + 1e-12)


def test_a_pass_stops_at_the_layer_asked_for(random_weights: Path) -> None:
    """By arithmetic: 192 features cost less than a quarter of FID's 2048."""
    from torch.utils.flop_counter import FlopCounterMode

    images, cost = Pictures(1, size=32).batch(), {}
    for name in ("inception-fid-192", "inception-fid"):
        extractor = extractors.load_extractor(name)
        with FlopCounterMode(display=False) as counter:
            extractor(images)
        cost[name] = counter.get_total_flops()
    assert cost["inception-fid-192"] < cost["inception-fid"] / 4


def _counted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, tuple[int, ...]]]:
    """(images, layers) of every pass through the network from now on."""
    seen: list[tuple[int, tuple[int, ...]]] = []
    original = inception.Inception.__call__

    def counted(self: inception.Inception, images: torch.Tensor, layers: list[int]) -> tuple[torch.Tensor, ...]:
        seen.append((len(images), tuple(layers)))
        return original(self, images, layers)

    monkeypatch.setattr(inception.Inception, "__call__", counted)
    return seen


def test_several_layers_take_one_pass(random_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = _counted(monkeypatch)
    pictures = Pictures(66)
    spaces = {name: extractors.load_extractor(name) for name in ("inception-fid-64", "inception-fid-192")}
    both = extractors.extract(spaces, pictures.batch()[:3])
    assert seen == [(3, (64, 192))]
    assert [features.shape for features in both.values()] == [(3, 64), (3, 192)]
    assert torch.equal(both["inception-fid-64"], spaces["inception-fid-64"](pictures.batch()[:3]))


def test_a_layer_too_wide_for_so_few_images_is_not_looked_at(
    random_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, tuple[int, ...]]] = []

    def coarse(self: inception.Inception, images: torch.Tensor, layers: list[int]) -> tuple[torch.Tensor, ...]:
        """Sums over patches in the place of the network's features: 66 images of each would take it seconds."""
        seen.append((len(images), tuple(layers)))
        patches = torch.nn.functional.adaptive_avg_pool2d(images.float(), 8).flatten(1)
        return tuple(patches[:, :layer] for layer in layers)

    monkeypatch.setattr(inception.Inception, "__call__", coarse)
    metrics = ["rfid_64", "rfid_192"]
    together = evaluate_tokenizer(GreyTokenizer(), Pictures(66), metrics=metrics, by_depth=False, batch_size=66)
    assert seen == [(66, (64,)), (66, (64,))]  # reconstructions and originals, once each
    alone = evaluate_tokenizer(GreyTokenizer(), Pictures(66), metrics=["rfid_64"], by_depth=False)
    assert seen[2:] == [(64, (64,)), (2, (64,))]  # the originals are remembered
    assert together.metrics["rfid_64"].value == pytest.approx(alone.metrics["rfid_64"].value, rel=1e-6)
    refused = together.metrics["rfid_192"]
    assert refused.value is None and "at least 193 images" in (refused.note or "")
    assert refused.version != together.metrics["rfid_64"].version


def test_photographs_have_the_known_features(users_cache: None) -> None:
    """Sums over the 2048 features of 128 x 128 cuts of three photographs, measured once on a CPU."""
    if weights.find(inception.NAME) is None:
        pytest.skip("no weights inception-fid: run `tokbench weights get inception-fid`")
    from skimage import data

    photographs = (data.astronaut(), data.chelsea(), data.coffee())
    cuts = [np.ascontiguousarray(image[100:228, 150:278]) for image in photographs]
    features = InceptionFID(torch.device("cpu"))(torch.from_numpy(np.stack(cuts)).permute(0, 3, 1, 2)).double()
    assert features.sum(1).tolist() == pytest.approx([761.149867, 538.311350, 358.869686], rel=1e-5)
    assert features.square().sum(1).tolist() == pytest.approx([526.730201, 332.693940, 172.277615], rel=1e-5)


def test_inception_score_without_a_classifier_says_what_it_needs(users_cache: None) -> None:
    if weights.find(inception.NAME) is None:
        pytest.skip("no weights inception-fid: run `tokbench weights get inception-fid`")
    if "fc.weight" in weights.tensor_names(inception.NAME):
        pytest.skip("these are the publisher's weights, which have the classifier")
    found = evaluate_images(Pictures(20), reference=Pictures(20), metrics=["is"]).metrics["is"]
    assert found.value is None and "have no classifier" in (found.note or "")


def test_a_tokenizer_of_a_generator_metric_is_named() -> None:
    from tokbench.errors import TokbenchError

    with pytest.raises(TokbenchError, match="'gfid' measures generated images"):
        evaluate_tokenizer(GreyTokenizer(), Pictures(3), metrics=["gfid"])
