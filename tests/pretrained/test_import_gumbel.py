"""taming's GumbelVQ, put together from its own modules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tokbench import pretrained
from tokbench.errors import TokbenchError

DDCONFIG: dict[str, Any] = {
    "double_z": False, "z_channels": 16, "resolution": 32, "in_channels": 3, "out_ch": 3, "ch": 32, "ch_mult": [1, 2],
    "num_res_blocks": 1, "attn_resolutions": [16], "dropout": 0.0,
}  # fmt: skip
SCHEDULE = {"warm_up_steps": 0, "max_decay_steps": 1000001, "lr_start": 0.9, "lr_max": 0.9, "lr_min": 1e-6}


@pytest.fixture(scope="module")
def official() -> torch.nn.ModuleDict:
    reason = "taming-transformers is not installed (tokbench[peers])"
    networks = pytest.importorskip("taming.modules.diffusionmodules.model", reason=reason)
    quantize = pytest.importorskip("taming.modules.vqvae.quantize", reason=reason)
    torch.manual_seed(0)
    return torch.nn.ModuleDict(
        {
            "encoder": networks.Encoder(**DDCONFIG),
            "decoder": networks.Decoder(**DDCONFIG),
            "quantize": quantize.GumbelQuantize(16, 16, 40),
            "quant_conv": torch.nn.Conv2d(16, 16, 1),
            "post_quant_conv": torch.nn.Conv2d(16, 16, 1),
        }
    ).eval()


def saved(official: torch.nn.ModuleDict, folder: Path, **changes: Any) -> tuple[Path, Path]:
    torch.save({"state_dict": official.state_dict(), "epoch": 1}, folder / "last.ckpt")
    temperature = {"target": "taming.lr_scheduler.LambdaWarmUpCosineScheduler", "params": SCHEDULE}
    params = {"kl_weight": 1e-8, "embed_dim": 16, "n_embed": 40, "temperature_scheduler_config": temperature}
    settings = {"target": "taming.models.vqgan.GumbelVQ", "params": {**params, "ddconfig": DDCONFIG, **changes}}
    (folder / "model.yaml").write_text(yaml.safe_dump({"model": settings}))
    return folder / "last.ckpt", folder / "model.yaml"


@pytest.mark.parametrize("source", [None, "taming-gumbel"])
def test_logits_and_images_are_tamings(official: torch.nn.ModuleDict, source: str | None, tmp_path: Path) -> None:
    made, report = pretrained.read(source, *saved(official, tmp_path))
    assert report.source == "taming-gumbel" and not report.left_over
    options = made.config.quantizer.options
    assert options["kl_weight"] == 1e-8 and options["temperature_steps"] == 1000001
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        logits = official["quantize"].proj(official["quant_conv"](official["encoder"](images)))
        codes = made.encode(images)
        vectors = official["quantize"].embed(codes[..., 0]).permute(0, 3, 1, 2)
        wanted = official["decoder"](official["post_quant_conv"](vectors))
        soft = made.quantizer.soft_targets(made.latents(images))  # type: ignore[operator]
        assert torch.equal(codes[..., 0], logits.argmax(1))
        torch.testing.assert_close(soft[..., 0, :].movedim(-1, 1), logits.softmax(1), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(made.decode(codes), wanted, rtol=1e-4, atol=1e-5)
    made.save_pretrained(tmp_path / "t")
    assert type(made).from_pretrained(tmp_path / "t").sha256() == made.sha256()


def test_what_does_not_fit_is_named(official: torch.nn.ModuleDict, tmp_path: Path) -> None:
    for change, said in (({"n_embed": 41}, "n_embed is 41"), ({"remap": "x.npy"}, "remap")):
        with pytest.raises(TokbenchError, match=said):
            pretrained.load("taming-gumbel", *saved(official, tmp_path, **change))
    with pytest.raises(TokbenchError, match="looks like taming-gumbel"):
        pretrained.load("taming", saved(official, tmp_path)[0])
    assert pretrained.load(None, saved(official, tmp_path)[0]).config.quantizer.name == "gumbel"
