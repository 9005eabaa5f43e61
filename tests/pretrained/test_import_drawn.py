"""Cosmos' images, DALL-E, Emu3, GigaTok and UniTok: the official models' own codes and images; files not whole."""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from drawn import official
from official import refusal
from torch import Tensor, nn

from tokbench import pretrained
from tokbench.errors import TokbenchError
from tokbench.models import Tokenizer
from tokbench.pretrained import gigatok, unitok
from tokbench.pretrained.checkpoint import read_checkpoint

Weights = dict[str, Tensor]
COSMOS = {
    "channels": 32, "channels_mult": [1, 2], "num_res_blocks": 1, "z_channels": 8, "embedding_dim": 6,
    "levels": [8, 8, 8, 5, 5, 5], "patch_size": 4, "patch_method": "haar", "spatial_compression": 8,
    "attn_resolutions": [8], "resolution": 32, "quantizer": "FSQ", "name": "DI",
}  # fmt: skip
GIGATOK = {
    "model_cls": "VQVitModelPlus",
    "init_args": {
        "codebook_size": 24, "codebook_embed_dim": 4, "codebook_l2_norm": True, "encoder_ch_mult": [1, 1, 1],
        "decoder_ch_mult": [1, 1, 1], "encoder_size": "tiny", "num_latent_tokens": 16, "z_channels": 16,
        "multi_level_query_init": True, "rot": True, "distill_depth": 1,
    },
}  # fmt: skip
EMU3 = {
    "architectures": ["Emu3VisionVQModel"], "ch": 32, "ch_mult": [1, 2], "num_res_blocks": 1, "z_channels": 4,
    "embed_dim": 4, "codebook_size": 32, "attn_resolutions": [1], "temporal_downsample_factor": 4, "double_z": False,
}  # fmt: skip
UNITOK = {"num_codebooks": 4, "vocab_size": 48, "vocab_width": 8, "img_size": 32, "quant_proj": "attn"}


def tree(weights: Weights) -> nn.Module:
    """A module that has these weights and no code."""
    top = nn.Module()
    for name, tensor in weights.items():
        *path, last = name.split(".")
        at = top
        for part in path:
            if part not in at._modules:
                at.add_module(part, nn.Module())
            at = at.get_submodule(part)
        at.register_parameter(last, nn.Parameter(tensor))
    return top


def save_cosmos(weights: Weights, folder: Path) -> Path:
    """As TorchScript, in bfloat16 beside the constants of its quantizer, as released."""
    module = tree(weights)
    module.add_module("quantizer", nn.Module())
    module.quantizer.register_buffer("_levels", torch.tensor([8, 8, 8, 5, 5, 5], dtype=torch.int32))
    module.quantizer.register_buffer("implicit_codebook", torch.zeros(4, 6, dtype=torch.bfloat16))
    torch.jit.save(torch.jit.script(module), folder / "autoencoder.jit")
    return folder / "autoencoder.jit"


def save_dall_e(weights: Weights, folder: Path) -> Path:
    """As two pickled modules of a package that is not there."""
    package = types.ModuleType("dall_e.networks")
    package.Net = type("Net", (nn.Module,), {"__module__": "dall_e.networks"})  # type: ignore[attr-defined]
    sys.modules |= {"dall_e": types.ModuleType("dall_e"), "dall_e.networks": package}
    try:
        for side in ("encoder", "decoder"):
            net = package.Net()
            start = f"{side}."
            own = {name.removeprefix(start): tensor for name, tensor in weights.items() if name.startswith(start)}
            net.add_module("blocks", nn.Sequential())
            for name, child in tree(own).blocks.named_children():
                net.blocks.add_module(name, child)
            net.device = torch.device("cpu")
            torch.save(net, folder / f"{side}.pkl")
    finally:
        del sys.modules["dall_e"], sys.modules["dall_e.networks"]
    return folder / "encoder.pkl"


def save_together(weights: Weights, folder: Path) -> Path:
    torch.save(weights, folder / "both.pt")
    return folder / "both.pt"


def save_gigatok(weights: Weights, folder: Path) -> Path:
    live = {name: tensor / 2 for name, tensor in weights.items()}
    torch.save({"model": live, "ema": weights, "steps": 7}, folder / "VQ.pt")
    return folder / "VQ.pt"


def save_unitok(weights: Weights, folder: Path) -> Path:
    trainer = {"unitok": weights, "disc": {"head.weight": torch.ones(2, 2)}, "config": {"wei_clip": 1.0}}
    torch.save({"args": UNITOK, "trainer": trainer}, folder / "unitok.pth")
    return folder / "unitok.pth"


SAVE: dict[str, tuple[Callable[[Weights, Path], Path], dict[str, Any]]] = {
    "cosmos-di": (save_cosmos, COSMOS),
    "dall-e": (save_dall_e, {}),
    "emu3": (save_together, EMU3),
    "gigatok": (save_gigatok, GIGATOK),
    "unitok": (save_unitok, UNITOK),
}


@pytest.fixture(autouse=True)
def small_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The models of the fixtures have heads of 16 channels, which files do not show."""
    for importer in (gigatok, unitok):
        monkeypatch.setattr(importer, "HEAD", 16)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated")
@pytest.mark.parametrize("source", sorted(SAVE))
def test_codes_and_images_of_the_official_model(source: str, tmp_path: Path) -> None:
    weights, wanted = official(source.replace("-", "_"))
    save, config = SAVE[source]
    path = save(weights, tmp_path)
    tokenizer, report = pretrained.read(None, path, config)
    assert report.source == source and not report.left_over
    alone = pretrained.read(source, path)[0]  # without a configuration
    images = wanted["x"]
    indices = wanted["indices"].long()
    indices = indices.unflatten(-1, (2, 2)).movedim(1, -1) if source == "unitok" else indices[..., None]
    for one in (tokenizer, alone):
        assert torch.equal(one.encode(images), indices)
    with torch.no_grad():
        made = tokenizer.double().decode(indices).float()
    if source == "dall-e":
        made = (made.clamp(-1, 1) + 1) / 2
    torch.testing.assert_close(made, wanted["reconstruction"], rtol=0, atol=1e-5)
    alone.save_pretrained(tmp_path / "saved")
    assert torch.equal(Tokenizer.from_pretrained(tmp_path / "saved").encode(images), indices)


@pytest.mark.parametrize("source", sorted(SAVE))
def test_files_that_are_not_whole(source: str, tmp_path: Path) -> None:
    weights, _ = official(source.replace("-", "_"))
    config = SAVE[source][1]
    names = [name for name, tensor in weights.items() if tensor.ndim > 1 and name.startswith("decoder.")]
    for name in (names[len(names) // 2], names[-2]):
        path = save_together({key: tensor for key, tensor in weights.items() if key != name}, tmp_path)
        assert re.search("no weight for|not the weights of a whole", refusal(path, source, config=config))
    path = save_together(weights | {names[1]: weights[names[1]] * torch.nan}, tmp_path)
    assert f"{names[1]}: not finite" in refusal(path, source, config=config)


@pytest.mark.parametrize(
    ("source", "change", "told"),
    [
        ("cosmos-di", {"spatial_compression": 16}, "spatial_compression is 16 in the configuration but 8 in"),
        ("cosmos-di", {"patch_size": 2}, "patch_size is 2 in the configuration but 4 in the weights"),
        ("cosmos-di", {"levels": [8, 8]}, "levels is 2 in the configuration but 6 in the weights"),
        ("cosmos-di", {"quantizer": "LFQ"}, "quantizer: 'LFQ' is not supported, only 'FSQ'"),
        ("dall-e", {"vocab_size": 8192}, "vocab_size is 8192 in the configuration but 48 in the weights"),
        ("emu3", {"ch": 256}, "base_channels is 256 in the configuration but 32 in the weights"),
        ("emu3", {"double_z": True}, "double_z: True is not supported, only False"),
        ("gigatok", {"num_latent_tokens": 256}, "num_latent_tokens is 256 in the configuration but 16"),
        ("gigatok", {"encoder_size": "large"}, "encoder_size is large in the configuration but 32 wide and 2 deep"),
        ("gigatok", {"multi_level_query_init": False}, "multi_level_query_init: False is not supported"),
        ("unitok", {"num_codebooks": 8}, "num_codebooks is 8 in the configuration but 4 in the weights"),
        ("unitok", {"quant_proj": "linear"}, "quant_proj: 'linear' is not supported, only 'attn'"),
    ],
)
def test_settings_that_do_not_fit_are_named(source: str, change: dict[str, Any], told: str, tmp_path: Path) -> None:
    config = SAVE[source][1]
    inner = {"init_args": {**config["init_args"], **change}} if source == "gigatok" else change
    said = {**config, **inner}
    assert told in refusal(save_together(official(source.replace("-", "_"))[0], tmp_path), source, config=said)


def test_a_kl_autoencoder_has_no_codes(tmp_path: Path) -> None:
    """It has taming's names, too, and no codebook."""
    weights, _ = official("cosmos_di")
    weights["quant_conv.weight"] = weights["quant_conv.weight"].repeat(2, 1, 1, 1)
    weights["quant_conv.bias"] = weights["quant_conv.bias"].repeat(2)
    torch.save(weights, tmp_path / "kl.pt")
    assert "a KL autoencoder, which has no codes" in refusal(tmp_path / "kl.pt", None)


def test_the_other_half_of_dall_e_is_looked_for_beside(tmp_path: Path) -> None:
    weights, wanted = official("dall_e")
    encoder = save_dall_e(weights, tmp_path)
    whole = pretrained.load("dall-e", encoder).sha256()
    assert pretrained.load("auto", tmp_path / "decoder.pkl").sha256() == whole
    assert pretrained.load("auto", tmp_path).sha256() == whole  # the folder of both
    assert pretrained.load("auto", save_together(weights, tmp_path)).sha256() == whole
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "encoder.pkl").write_bytes(encoder.read_bytes())
    told = "DALL-E's networks are two files: put decoder.pkl beside the other one"
    assert told in refusal(tmp_path / "alone" / "encoder.pkl", "dall-e")
    (tmp_path / "alone" / "decoder.pkl").write_bytes(encoder.read_bytes())
    with pytest.raises(TokbenchError, match="decoder.pkl: not DALL-E's decoder"):
        pretrained.load("dall-e", tmp_path / "alone" / "encoder.pkl")


class Evil:
    def __reduce__(self) -> Any:
        return (print, ("run",))


def test_pickled_modules_are_read_without_their_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Sequential(nn.Linear(2, 2, bias=False)))
    torch.save(net, tmp_path / "net.pt")
    found = read_checkpoint(tmp_path / "net.pt")
    assert found.keys() == net.state_dict().keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in net.state_dict().items())
    net.own = net  # type: ignore[assignment]
    torch.save(net, tmp_path / "net.pt")
    assert "more than 10,000 modules, or 20 within each other" in refusal(tmp_path / "net.pt", None)
    del net.own
    net.evil = Evil()
    torch.save(net, tmp_path / "net.pt")
    assert "code in a pickle is never run here" in refusal(tmp_path / "net.pt", None)
    assert "run" not in capsys.readouterr().out
    (tmp_path / "net.pt").write_bytes((tmp_path / "net.pt").read_bytes()[:-300])
    assert "truncated" in refusal(tmp_path / "net.pt", None)
