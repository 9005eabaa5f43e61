"""VAR's and Infinity's tokenizers: codes and images of the official modules, prefixes of scales, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tokbench import pretrained
from tokbench.config.model import TokenizerConfig
from tokbench.errors import TokbenchError
from tokbench.metrics import evaluate_tokenizer
from tokbench.models import Tokenizer
from tokbench.pretrained.taming import CODEBOOK
from tokbench.pretrained.vqgan_family import TAMING
from tokbench.reconstruction import reconstruct_image


@pytest.mark.parametrize("named", ["var", None])
def test_var(golden_successors: Path, named: str | None) -> None:
    settings = golden_successors / "var_vqvae.json"
    tokenizer, report = pretrained.read(named, golden_successors / "var_vqvae.pth", settings)
    data = {k: torch.from_numpy(v) for k, v in np.load(golden_successors / "var_vqvae_io.npz").items() if v.ndim}
    assert report.source == "var" and not report.left_over and not report.notes  # the scales say the images' size
    assert tokenizer.config.image_size == 64 and tokenizer.grid() == (30,) and tokenizer.latent_grid() == (4, 4)
    codes = tokenizer.encode(data["x"])
    assert torch.equal(codes[..., 0], data["indices"])
    with torch.no_grad():
        assert (tokenizer.decode(codes) - data["reconstruction_unclamped"]).abs().max() < 1e-4
        for i, prefix in enumerate(tokenizer.prefixes()):
            made = tokenizer.decode(prefix.of(codes)).clamp(-1, 1)
            assert (made - data["reconstruction_per_prefix"][:, i].clamp(-1, 1)).abs().max() < 1e-4
    assert [prefix.name for prefix in tokenizer.prefixes()] == ["1 code", "5 codes", "14 codes", "30 codes"]


def test_vars_names_there_and_back(tmp_path: Path) -> None:
    """Of weights made here: the attention's three convolutions are one in VAR's file, and the phi have names."""
    torch.manual_seed(0)
    network = {"architecture": "var", "channels": 32, "multipliers": [1, 2, 2], "blocks": 1, "latent_channels": 8}
    pyramid = {"name": "ms-rq", "codebook_size": 16, "codebook_update": "gradient", "scales": [1, 2, 4]}
    shape = {"image_size": 16, "model": {**network, "code_kernel": 3}, "quantizer": pyramid}
    made = Tokenizer(TokenizerConfig.model_validate(shape)).eval()
    weights = made.state_dict()
    state = {str(TAMING.official(k, 3)): t for k, t in weights.items() if not k.startswith("quantizer.")}
    for query in [name for name in state if ".q." in name]:
        state[query.replace(".q.", ".qkv.")] = torch.cat([state.pop(query.replace(".q.", f".{k}.")) for k in "qkv"])
    state |= {k.replace("quantizer.phi", "quantize.quant_resi.qresi_ls"): t for k, t in weights.items() if ".phi." in k}
    torch.save({**state, CODEBOOK: weights["quantizer.inner.codes.weight"]}, tmp_path / "vae.pth")
    (tmp_path / "vae.json").write_text(json.dumps({"v_patch_nums": [1, 2, 4]}))
    again, report = pretrained.read(None, tmp_path / "vae.pth", tmp_path / "vae.json")
    assert report.source == "var" and not report.left_over
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    codes = made.encode(images)
    assert torch.equal(again.encode(images), codes) and torch.equal(again.decode(codes), made.decode(codes))


def test_infinity(golden_successors: Path, tmp_path: Path) -> None:
    settings = golden_successors / "infinity_vae.json"
    tokenizer, report = pretrained.read(None, golden_successors / "infinity_vae.pth", settings)
    data = {k: torch.from_numpy(v) for k, v in np.load(golden_successors / "infinity_vae_io.npz").items()}
    assert report.source == "infinity" and not report.left_over and tokenizer.rate()["bits_per_image"] == 85 * 16
    assert not report.notes
    with torch.no_grad():
        assert (tokenizer.latents(data["x"]) - data["latent"]).abs().max() < 1e-4
        assert (tokenizer.reconstruct(data["x"]) - data["reconstruction"]).abs().max() < 1e-4
    tokenizer.save_pretrained(tmp_path)
    again = Tokenizer.from_pretrained(tmp_path)
    assert torch.equal(again.encode(data["x"]), tokenizer.encode(data["x"]))
    assert pretrained.load("infinity", golden_successors / "infinity_vae.pth").config.image_size == 64


def test_a_pyramid_that_the_file_does_not_have_is_one_line(golden_successors: Path, tmp_path: Path) -> None:
    checkpoint, settings = golden_successors / "var_vqvae.pth", tmp_path / "settings.json"
    with pytest.raises(
        TokbenchError, match=r"a pyramid of 4 scales, and 10 are said; give a JSON with its v_patch_nums"
    ):
        pretrained.load("var", checkpoint)
    said = json.loads((golden_successors / "var_vqvae.json").read_text())
    settings.write_text(json.dumps({**said, "v_patch_nums": [1, 3, 2, 4]}))
    with pytest.raises(TokbenchError, match="scales must rise: 2x2 follows 3x3"):
        pretrained.load("var", checkpoint, settings)


def test_scales_are_measured_and_shown_coarse_to_fine() -> None:
    from tiny_tokenizer import make_tokenizer

    from tokbench.data import open_images

    tokenizer = make_tokenizer({"name": "ms-rq", "codebook_size": 16}).eval()
    images = open_images("photos", "eval", image_size=16, limit=4)
    found = evaluate_tokenizer(tokenizer, images, metrics=["psnr", "usage", "entropy_bpp"])
    assert found.rate.tokens == [30, 1] and found.rate.prefixes == [1, 5, 14, 30]
    usage, psnr = found.metrics["usage"], found.metrics["psnr"]
    assert psnr.by_depth is not None and len(psnr.by_depth) == 4 and psnr.by_depth[-1] == psnr.value
    assert usage.by_depth is not None and max(usage.by_depth) <= (usage.value or 0) and usage.by_depth[0] <= 4 / 16
    made = reconstruct_image(tokenizer, images[0]["image"])
    assert made.names == ["1 code", "5 codes", "14 codes", "30 codes"] and len(made.stages) == 4
    with pytest.raises(TokbenchError, match="8x8 is the latent's grid, and the scales end at 4x4"):
        reconstruct_image(tokenizer, torch.zeros(3, 32, 32, dtype=torch.uint8))
