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


def test_infinitys_names_there_and_back(tmp_path: Path) -> None:
    """Of weights made here: its convolutions and norms lie within modules that wrap them."""
    torch.manual_seed(0)
    network = {"architecture": "var", "channels": 32, "multipliers": [1, 2, 2], "blocks": 1, "latent_channels": 8}
    more = {"code_channels": 8, "code_kernel": 0, "attention": False, "middle_attention": False, "clamp": True}
    pyramid = {"name": "ms-rq", "quantizer": "bsq", "bits": 8, "scales": [1, 2, 4], "quant_resi": 0.0}
    shape = {"image_size": 16, "model": {**network, **more}, "quantizer": {**pyramid, "upsampling": "bilinear"}}
    made = Tokenizer(TokenizerConfig.model_validate(shape)).eval()
    state = {"quantizer.lfq.mask": 2 ** torch.arange(8), "quantize.lfq.mask": 2 ** torch.arange(8)}
    for name, tensor in made.state_dict().items():
        *module, kind = str(TAMING.official(name, 3)).split(".")
        if module[0] in ("encoder", "decoder"):
            state[".".join([*module, "norm" if "norm" in module[-1] else "conv", kind])] = tensor
    torch.save({"vae": state}, tmp_path / "vae.pth")
    (tmp_path / "vae.json").write_text(json.dumps({"scale_schedule": [[1, side, side] for side in (1, 2, 4)]}))
    again, report = pretrained.read(None, tmp_path / "vae.pth", tmp_path / "vae.json")
    assert report.source == "infinity" and not report.left_over
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    codes = made.encode(images)
    assert torch.equal(again.encode(images), codes) and torch.equal(again.decode(codes), made.decode(codes))


@pytest.mark.parametrize("shared", [False, True])
def test_the_names_of_vars_transformer_there_and_back(shared: bool, tmp_path: Path) -> None:
    from tiny_tokenizer import make_tokenizer

    from tokbench.config.generator import VARGeneratorConfig
    from tokbench.generators.building import build, configure

    tokenizer = make_tokenizer({"name": "ms-rq", "codebook_size": 16}).eval()
    settings = VARGeneratorConfig(
        width=16,
        heads=2,
        layers=2,
        class_conditional=True,
        qk_norm=True,
        condition_by="shared-adaln" if shared else "adaln",
    )
    made = build(configure(settings, tokenizer, source="here", image_size=16, num_classes=3)).eval()
    for weight in made.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    made.take_quantizer(tokenizer.quantizer)
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if name.endswith("qkv.bias"):
                weight[16:32] = 0  # keys have no bias
    torch.save(_as_var_has_them(made.state_dict()), tmp_path / "var.pth")
    again = pretrained.load_generator("var", tmp_path / "var.pth", None, tokenizer=tokenizer).eval()
    codes = torch.randint(0, 16, (2, 30, 1))
    with torch.no_grad():
        theirs, ours = (g.logits(codes, condition=torch.tensor([2, 0]))[0] for g in (again, made))
    assert torch.equal(theirs, ours)


def _as_var_has_them(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    names = {
        "into": "word_embed",
        "condition": "class_emb",
        "level": "lvl_embed",
        "head_modulation": "head_nm.ada_lin.1",
        "shared_modulation": "shared_ada_lin.1",
        "classifiers.0": "head",
        "modulation": "ada_lin.1",
        "attention.out": "attn.proj",
        "mlp.0": "ffn.fc1",
        "mlp.2": "ffn.fc2",
    }
    found = {"pos_start": weights["start"][None], "pos_1LC": weights["position"][None]}
    for name, tensor in weights.items():
        block, rest = (f"{'.'.join(name.split('.')[:2])}.", name.split(".", 2)[2]) if "blocks." in name else ("", name)
        module, _, kind = rest.rpartition(".")
        if rest == "level":
            found["lvl_embed.weight"] = tensor
        elif rest == "offsets":
            found[f"{block}ada_gss"] = tensor[None, None]
        elif rest == "attention.log_scale":
            found[f"{block}attn.scale_mul_1H11"] = tensor[None, :, None, None]
        elif rest == "attention.qkv.weight":
            found[f"{block}attn.mat_qkv.weight"] = tensor
        elif rest == "attention.qkv.bias":
            biases = zip(("q_bias", "zero_k_bias", "v_bias"), tensor.chunk(3), strict=True)
            found |= {f"{block}attn.{name}": bias for name, bias in biases}
        elif module in names:
            found[f"{block}{names[module]}.{kind}"] = tensor
    return found


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
