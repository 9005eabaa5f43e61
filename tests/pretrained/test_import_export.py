"""Always-on: checkpoints written here in the official layouts, with uneven sizes, read back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import official
import pytest
import torch

from tokbench import pretrained
from tokbench.errors import TokbenchError
from tokbench.models import Tokenizer
from tokbench.pretrained.open_magvit2 import LAYOUT as OPEN_MAGVIT2


def same(a: Tokenizer, b: Tokenizer) -> None:
    """Same codes and images on an image that is not square."""
    images = torch.rand(1, 3, 16, 24, generator=torch.Generator().manual_seed(3)) * 2 - 1
    codes = a.encode(images)
    assert torch.equal(codes, b.encode(images)) and torch.equal(a.decode(codes), b.decode(codes))


@pytest.mark.parametrize(
    ("format", "make"),
    [
        ("taming", official.taming),
        ("rqvae", official.rqvae),
        ("rqvae", lambda: official.rqvae(shared=False)),
    ],
    ids=["taming", "rqvae", "rqvae separate"],
)
@pytest.mark.parametrize("with_config", [True, False], ids=["config", "weights alone"])
def test_export_then_import(format: str, make: Callable[[], Tokenizer], with_config: bool, tmp_path: Path) -> None:
    tokenizer = make()
    weights, config = pretrained.export(tokenizer, format, tmp_path / "sub" / "model.ckpt")
    again = pretrained.load(format, weights, config if with_config else None)
    same(again, tokenizer)
    found = again.state_dict()
    for name, tensor in tokenizer.state_dict().items():
        if format == "rqvae" or not name.endswith("cluster_size"):  # taming has no moving average to keep
            assert torch.equal(found[name], tensor), name
    if with_config:
        assert again.config == tokenizer.config or again.config.model == tokenizer.config.model
        assert again.config.image_size == 32
        ours, theirs = again.quantizer, tokenizer.quantizer
        for option in ("commitment_weight", "beta", "beta_on", "shared_codebook"):
            assert getattr(ours, option, None) == getattr(theirs, option, None)
    assert sorted(path.name for path in (tmp_path / "sub").iterdir()) == ["model.ckpt", "model.yaml"]


def test_llamagen(tmp_path: Path) -> None:
    tokenizer = official.llamagen()
    official.save_llamagen(tokenizer, tmp_path / "vq.pt")
    again, report = pretrained.read("auto", tmp_path / "vq.pt")
    same(again, tokenizer)
    assert report.source == "llamagen" and report.ignored == {"monitoring": ["quantize.codebook_used"]}
    assert report.entries == ["model", "optimizer", "steps"]
    assert "ema" in report.weights and report.notes == ["no image size was given: taken to be 256"]


def test_open_magvit2(tmp_path: Path) -> None:
    tokenizer = official.magvit2()
    official.save_open_magvit2(tokenizer, tmp_path / "m.ckpt")
    again, report = pretrained.read("auto", tmp_path / "m.ckpt")
    same(again, tokenizer)
    assert "EMA" in report.weights and report.loaded == len(official.renamed(tokenizer, OPEN_MAGVIT2))
    assert not report.left_over and report.ignored["losses and discriminator"] == ["loss.discriminator.main.0.weight"]
    live = pretrained.load("open-magvit2", tmp_path / "m.ckpt", weights="live")
    assert torch.equal(live.state_dict()["encoder.stem.weight"] * 2, tokenizer.state_dict()["encoder.stem.weight"])


@pytest.mark.parametrize("source", ["taming", "rqvae", "llamagen", "open-magvit2"])
def test_imported_tokenizers_save_load_and_train_on(source: str, tmp_path: Path) -> None:
    path = tmp_path / "official"
    if source == "llamagen":
        official.save_llamagen(official.llamagen(), path)
    elif source == "open-magvit2":
        official.save_open_magvit2(official.magvit2(), path)
    else:
        pretrained.export(official.taming() if source == "taming" else official.rqvae(), source, path)
    tokenizer = pretrained.load(None, path)
    tokenizer.save_pretrained(tmp_path / "ours")
    again = Tokenizer.from_pretrained(tmp_path / "ours")
    assert again.sha256() == tokenizer.sha256()
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    again.train()
    before = again.quantizer.state_dict()
    before = {name: tensor.clone() for name, tensor in before.items()}
    optimizer = torch.optim.SGD(again.parameters(), lr=1e-3)
    out = again(images)
    (out.reconstruction.square().mean() + out.loss).backward()
    assert out.loss != 0
    optimizer.step()
    moved = [name for name, tensor in again.quantizer.state_dict().items() if not torch.equal(tensor, before[name])]
    if source == "rqvae":  # the moving average goes on from where it stood
        assert any("cluster_size" in name for name in moved)
        size = again.quantizer.state_dict()["codes.0.cluster_size"]
        used = size >= 0.99 * before["codes.0.cluster_size"] - 1e-6
        assert used.all()
    elif source != "open-magvit2":
        assert "codes.weight" in moved


def test_distributed_prefix_and_bare_state_dict(tmp_path: Path) -> None:
    tokenizer = official.taming()
    weights, config = pretrained.export(tokenizer, "taming", tmp_path / "a.ckpt")
    state = torch.load(weights, weights_only=True)["state_dict"]
    torch.save({f"module.{name}": tensor for name, tensor in state.items()}, tmp_path / "b.ckpt")
    same(pretrained.load("taming", tmp_path / "b.ckpt", config), tokenizer)


def test_safetensors(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    tokenizer = official.taming()
    weights, _ = pretrained.export(tokenizer, "taming", tmp_path / "a.ckpt")
    save_file(torch.load(weights, weights_only=True)["state_dict"], tmp_path / "b.safetensors")
    same(pretrained.load(None, tmp_path / "b.safetensors"), tokenizer)


def test_unknown_weights_are_listed(tmp_path: Path) -> None:
    weights, _ = pretrained.export(official.taming(), "taming", tmp_path / "a.ckpt")
    state = torch.load(weights, weights_only=True)["state_dict"]
    torch.save({"state_dict": state | {"strange": torch.zeros(3), "loss.logvar": torch.zeros(())}}, weights)
    _, report = pretrained.read("taming", weights)
    assert report.left_over == ["strange"] and report.ignored == {"losses and discriminator": ["loss.logvar"]}
    assert any("strange" in line for line in report.lines())


@pytest.mark.parametrize(
    ("make", "format", "message"),
    [
        (official.taming, "rqvae", "rqvae's layout holds an rq quantizer"),
        (official.rqvae, "taming", "taming's layout holds a vq quantizer"),
        (
            lambda: official.tokenizer(official.VQGAN, {"name": "vcq", "codebook_size": 16}),
            "taming",
            "holds a vq quantizer, this tokenizer has vcq",
        ),
        (official.llamagen, "taming", "no l2-normalised codebook"),
        (official.magvit2, "taming", "no architecture like magvit2"),
        (official.taming, "tamin", "did you mean 'taming'"),
        (
            lambda: official.vqgan(middle_attention=False),
            "taming",
            "middle",
        ),
        (
            lambda: official.vqgan(norm_groups=8),
            "taming",
            "norm_groups 8",
        ),
        (
            lambda: official.vqgan(codebook_dim=4),
            "taming",
            "codebook_dim",
        ),
    ],
)
def test_what_a_layout_cannot_hold(make: Callable[[], Tokenizer], format: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(TokbenchError, match=message):
        pretrained.export(make(), format, tmp_path / "out.ckpt")
    assert not list(tmp_path.iterdir())
