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
from tokbench.metrics import evaluate_images, extractors, inception
from tokbench.metrics.inception import InceptionFID


class _Images(torch.utils.data.Dataset):
    def __init__(self, pictures: Pictures) -> None:
        self.images = pictures.batch()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.images[index]


def test_our_pass_is_torch_fidelitys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their whole program and ours, random weights, the 64 features of the first layers (a full rank needs few)."""
    torch.manual_seed(0)
    monkeypatch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
    torch.save({}, tmp_path / "none.pth")
    state = FeatureExtractorInceptionV3(
        "inception-v3-compat", ["64"], feature_extractor_weights_path=tmp_path / "none.pth"
    ).state_dict()
    monkeypatch.undo()
    monkeypatch.setenv("TOKBENCH_CACHE", str(tmp_path / "cache"))
    torch.save(state, tmp_path / "random.pth")
    monkeypatch.setattr(weights, "load", lambda name: state)
    monkeypatch.setattr(weights, "digest", lambda name: "random")
    monkeypatch.setattr(weights, "find", lambda name: tmp_path)
    inception_64 = InceptionFID(torch.device("cpu"), 64)
    monkeypatch.setitem(extractors._FACTORIES, inception.NAME, lambda device: inception_64)
    ours, theirs = Pictures(75, size=32), Pictures(70, size=32, seed=1)
    expected = torch_fidelity.calculate_metrics(
        input1=_Images(ours), input2=_Images(theirs), fid=True, feature_extractor="inception-v3-compat",
        feature_layer_fid="64", feature_extractor_weights_path=str(tmp_path / "random.pth"), cuda=False, cache=False,
        batch_size=32, verbose=False, save_cpu_ram=True,
    )["frechet_inception_distance"]
    found = evaluate_images(ours, reference=theirs, metrics=["gfid"], batch_size=20).metrics["gfid"].value
    assert found == pytest.approx(expected, rel=1e-6)


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
    from tokbench.metrics import evaluate_tokenizer

    with pytest.raises(TokbenchError, match="'gfid' measures generated images"):
        evaluate_tokenizer(GreyTokenizer(), Pictures(3), metrics=["gfid"])
