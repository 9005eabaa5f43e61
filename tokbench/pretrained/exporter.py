"""Back to the official layouts, so that what was trained here loads in the authors' code.

A container of tensors (``{"state_dict": ...}``) and the YAML their code builds the model from.
"""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

import quantizers
from tokbench.config.model import LlamaGenConfig, VQGANConfig
from tokbench.errors import TokbenchError, did_you_mean, size_text
from tokbench.models import Tokenizer
from tokbench.results.files import written

from . import diffusers_folder, programs
from .official import autoencoder, plain, plain_vq
from .rqvae import BOOK
from .taming import CODEBOOK
from .vqgan_family import TAMING

Model = VQGANConfig | LlamaGenConfig


def export(tokenizer: Tokenizer, format: str, out: str | PathLike[str]) -> list[str]:
    """Write ``out`` and the YAML of the same name beside it; see :func:`tokbench.pretrained.export`."""
    if format == FOLDER:
        return diffusers_folder.write(tokenizer, out)
    if format in programs.FORMS:
        return programs.write(tokenizer, format, out)
    if format not in FORMATS:
        raise TokbenchError(f"unknown format {format!r}{did_you_mean(format, [*FORMATS, FOLDER, *programs.FORMS])}")
    out = Path(out)
    config = out.with_suffix(".yaml")
    if out.suffix in (".yaml", ".yml"):
        raise TokbenchError(f"{out}: the weights' file; the YAML goes beside it by itself")
    tensors, settings = official_layout(tokenizer, format)
    with written(config, sync=True) as text, written(out, sync=True) as weights:
        torch.save({"state_dict": tensors}, weights)
        text.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    return [str(out), str(config)]


def official_layout(tokenizer: Tokenizer, format: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The authors' state dict and the settings their code builds the model from.

    Raises:
        TokbenchError: their code has no such architecture or quantizer.
    """
    return FORMATS[format](tokenizer, _model(tokenizer, format))


def _model(tokenizer: Tokenizer, format: str) -> Model:
    """The settings, if the authors' encoder and decoder can be built from them."""
    model = tokenizer.config.model
    if not isinstance(model, Model) or model.architecture not in ("vqgan", "rqvae", "llamagen"):
        raise TokbenchError(
            f"{format} has no architecture like {model.architecture}: only vqgan, rqvae and llamagen fit"
        )
    widths = [model.channels * m for m in (1, *model.multipliers)]
    if model.norm_groups != 32 or any(width % 32 for width in widths):
        raise TokbenchError(
            f"{format} normalises over 32 groups; this model has norm_groups {model.norm_groups} and channels {widths}"
        )
    if not model.middle_attention:
        raise TokbenchError(f"{format} always has attention in the middle; this model has middle_attention false")
    return model


def _ddconfig(tokenizer: Tokenizer, model: Model) -> dict[str, Any]:
    size = tokenizer.config.image_size
    if not isinstance(size, int):
        raise TokbenchError(f"the authors' settings name one side; this tokenizer's images are {size_text(size)}")
    return {
        "double_z": False,
        "z_channels": model.latent_channels,
        "resolution": size,
        "in_channels": tokenizer.config.channels,
        "out_ch": tokenizer.config.channels,
        "ch": model.channels,
        "ch_mult": list(model.multipliers),
        "num_res_blocks": model.blocks,
        "attn_resolutions": [size // 2**level for level in model.attention_levels(size)],
        "dropout": model.dropout,
    }


def taming(tokenizer: Tokenizer, model: Model) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """VQ-GAN's state dict and ``model.params``; taming trains on with its own beta of 0.25 on the codebook's term."""
    quantizer = plain_vq(tokenizer.quantizer, "taming's layout")
    tensors = autoencoder(tokenizer, TAMING)
    tensors[CODEBOOK] = quantizer.codebook.detach().cpu().clone()
    params = {
        "embed_dim": quantizer.dim,
        "n_embed": quantizer.codebook_sizes[0],
        "ddconfig": _ddconfig(tokenizer, model),
        "lossconfig": {"target": "taming.modules.losses.vqperceptual.DummyLoss"},
    }
    return tensors, {"model": {"target": "taming.models.vqgan.VQModel", "params": params}}


def rqvae(tokenizer: Tokenizer, model: Model) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """RQ-VAE's state dict, with its padding row and a shared codebook repeated, and ``arch``."""
    quantizer = tokenizer.quantizer
    if not isinstance(quantizer, quantizers.RQ):
        raise TokbenchError(f"rqvae's layout holds an rq quantizer, this tokenizer has {quantizer.name}")
    plain(quantizer, "rqvae's layout")
    tensors = autoencoder(tokenizer, TAMING)
    for depth in range(quantizer.depth):
        book = quantizer.codebook_at(depth)
        weight = book.vectors.detach().cpu()
        tensors[f"{BOOK}{depth}.weight"] = torch.cat([weight, weight.new_zeros(1, weight.shape[1])])
        tensors[f"{BOOK}{depth}.cluster_size_ema"] = book.cluster_size.detach().cpu().clone()
        tensors[f"{BOOK}{depth}.embed_ema"] = book.embed_sum.detach().cpu().clone()
    first = quantizer.codebook_at(0)
    rows, columns = tokenizer.grid()
    hparams = {
        "bottleneck_type": "rq",
        "embed_dim": quantizer.dim,
        "n_embed": quantizer.codebook_sizes[0],
        "latent_shape": [rows, columns, quantizer.dim],
        "code_shape": [rows, columns, quantizer.depth],
        "shared_codebook": quantizer.shared_codebook,
        "decay": first.decay,
        "restart_unused_codes": first.restart_threshold > 0,
        "loss_type": "mse",
        "latent_loss_weight": quantizer.commitment_weight,
    }
    arch = {"type": "rq-vae", "code_hier": 1, "hparams": hparams, "ddconfig": _ddconfig(tokenizer, model)}
    return tensors, {"arch": {**arch, "checkpointing": False}}


Writer = Callable[[Tokenizer, Model], tuple[dict[str, Tensor], dict[str, Any]]]
FORMATS: dict[str, Writer] = {"taming": taming, "rqvae": rqvae}
FOLDER = "diffusers"
"""The format that is a folder."""
