"""A classifier's logits as a loss: by hand, with its gradient, its weights from the weights room or a file."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import timm
import torch
from torch.nn import functional as F

from tokbench.config.loading import load_recipe
from tokbench.config.loss import LossConfig
from tokbench.config.recipe import TokenizerRecipe
from tokbench.errors import TokbenchError
from tokbench.losses import ReconstructionLoss
from tokbench.losses.logits import LogitDifference
from tokbench.training.checks import check_weights
from tokbench.training.flops import train_step_flops
from tokbench.weights import catalogue, content_hash
from tokbench.weights.convert import convert
from tokbench.weights.fetch import add


def test_it_is_resnets_mean_squared_difference_of_frames(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = timm.create_model("test_resnet", num_classes=7).eval()  # as resnet50, and tiny
    file = tmp_path / "resnet.pth"
    torch.save(network.state_dict(), file)
    config = LossConfig(l1=1.0, l2=0.0, logits={"net": f"timm:test_resnet={file}", "weight": 2.0, "size": 32})
    loss = ReconstructionLoss(config).train()
    x, y = torch.rand(2, 3, 3, 16, 16) * 2 - 1, (torch.rand(2, 3, 3, 16, 16) * 2 - 1).requires_grad_()
    before = [buffer.clone() for buffer in loss.buffers()]
    nll, terms = loss(y, x)

    mean, dev = (torch.tensor(network.pretrained_cfg[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        first, second = (
            network((F.interpolate(clip.movedim(2, 1).flatten(0, 1), (32, 32), mode="bilinear") / 2 + 0.5 - mean) / dev)
            for clip in (x, y)
        )
    assert terms["logits"].item() == pytest.approx(F.mse_loss(first, second).item(), rel=1e-4)
    assert nll.item() == pytest.approx(terms["l1"].item() + 2 * terms["logits"].item(), rel=1e-5)
    nll.backward()
    assert y.grad is not None and all(bool(frame.abs().sum() > 0) for frame in y.grad.movedim(2, 0))
    assert all(parameter.grad is None for parameter in loss.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, loss.buffers(), strict=True))  # of BatchNorm too
    grey = torch.rand(1, 1, 16, 16)
    assert loss(grey, grey)[0].item() == 0


def test_its_weights_come_from_the_weights_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKBENCH_CACHE", str(tmp_path / "cache"))
    with pytest.raises(TokbenchError, match="tokbench weights get efficientnet-lite0"):
        check_weights(load_recipe("base", ["loss.logits={}"]))
    torch.manual_seed(0)
    network = timm.create_model("tf_efficientnet_lite0").eval()
    file, entry = tmp_path / "lite.pth", catalogue.entry("efficientnet-lite0")
    torch.save({f"_layer{k}": tensor for k, tensor in enumerate(network.state_dict().values())}, file)
    content = content_hash(convert(entry, file))
    monkeypatch.setitem(catalogue.ENTRIES, entry.name, dataclasses.replace(entry, content=content))
    add(entry.name, file)
    recipe = load_recipe("base", ["loss.logits.size=64"])
    check_weights(recipe)
    plain = train_step_flops(load_recipe("base"))
    assert isinstance(recipe, TokenizerRecipe)
    module = ReconstructionLoss(recipe.loss).logits
    images = torch.rand(1, 3, 64, 64) * 2 - 1
    assert isinstance(module, LogitDifference)
    with torch.no_grad():
        scaled = (images / 2 + 0.5 - 127 / 255) / (128 / 255)
        torch.testing.assert_close(module.logits(images), network(scaled), rtol=1e-4, atol=1e-5)
    changes = ([], ["loss.perceptual.net=vgg"], ["loss.logits.size=64"])
    pixels, lpips, logits = (train_step_flops(load_recipe("demo-video", change)) for change in changes)
    assert lpips > pixels and logits - pixels == pytest.approx(9 * (train_step_flops(recipe) - plain))
    for net, line in (("timm:nothing", "loss.logits.net timm:nothing: timm has no model"),
                      ("inception-fid", "loss.logits.net inception-fid: gFID"),
                      ("timm:test_resnet=none.pth", "none.pth: no such file")):  # fmt: skip
        with pytest.raises(TokbenchError, match=line):
            check_weights(load_recipe("base", [f"loss.logits.net={net}"]))
    with pytest.raises(ValueError, match="logits is of pixels"):
        LossConfig(reconstruction="binary", logits={})
