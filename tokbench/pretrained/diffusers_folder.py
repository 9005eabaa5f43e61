"""A tokenizer as a folder that diffusers' ``VQModel.from_pretrained`` loads, with equal codes and images."""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from tokbench.config.grid import axes
from tokbench.errors import TokbenchError
from tokbench.models import Tokenizer
from tokbench.results.files import written

from .diffusers import LAYOUT, SPATIAL
from .official import autoencoder, plain_vq
from .taming import CODEBOOK

ARCHITECTURES = ("vqgan", "rqvae", "llamagen", "movq")


def write(tokenizer: Tokenizer, out: str | PathLike[str]) -> list[str]:
    """The files written to the folder ``out``.

    Raises:
        TokbenchError: ``VQModel`` has no such architecture or quantizer, or the folder cannot be written.
    """
    config, tensors = settings(tokenizer), weights(tokenizer)
    said, file = Path(out, "config.json"), Path(out, "diffusion_pytorch_model.safetensors")
    with written(said, sync=True) as text, written(file, sync=True) as draft:
        save_file(tensors, draft, metadata={"format": "pt"})
        text.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return [str(file), str(said)]


def settings(tokenizer: Tokenizer) -> dict[str, Any]:
    """What ``VQModel`` is built from."""
    model: Any = tokenizer.config.model
    quantizer = tokenizer.quantizer
    if model.architecture not in ARCHITECTURES:
        raise TokbenchError(f"diffusers has no VQModel like {model.architecture}: only {', '.join(ARCHITECTURES)} fit")
    plain_vq(quantizer, "diffusers' VQModel")
    widths = [model.channels * m for m in model.multipliers]
    spatial = model.architecture == "movq"
    if any(width % model.norm_groups for width in [model.channels, *widths]) or (spatial and model.norm_groups != 32):
        wanted = "32 groups" if spatial else "groups that divide all channels"
        raise TokbenchError(
            f"diffusers normalises over {wanted}; this model has norm_groups {model.norm_groups} and channels {widths}"
        )
    if spatial and quantizer.dim != model.latent_channels:
        raise TokbenchError(
            f"diffusers' spatial norms want code_channels as latent_channels, {model.latent_channels}, "
            f"not {quantizer.dim}"
        )
    looks = [level in model.attention_levels(tokenizer.config.image_size) for level in range(len(widths))]
    return {
        "_class_name": "VQModel",
        "in_channels": tokenizer.config.channels,
        "out_channels": tokenizer.config.channels,
        "down_block_types": ["AttnDownEncoderBlock2D" if look else "DownEncoderBlock2D" for look in looks],
        "up_block_types": ["AttnUpDecoderBlock2D" if look else "UpDecoderBlock2D" for look in reversed(looks)],
        "block_out_channels": widths,
        "layers_per_block": model.blocks,
        "act_fn": "silu",
        "latent_channels": model.latent_channels,
        "sample_size": max(axes(tokenizer.config.image_size)),
        "num_vq_embeddings": quantizer.codebook_sizes[0],
        "norm_num_groups": model.norm_groups,
        "vq_embed_dim": quantizer.dim,
        "norm_type": "spatial" if spatial else "group",
        "mid_block_add_attention": model.middle_attention,
    }


def weights(tokenizer: Tokenizer) -> dict[str, Tensor]:
    """By the names of ``VQModel``, whose attention is made of linear maps."""
    model: Any = tokenizer.config.model
    quantizer: Any = tokenizer.quantizer
    layout = SPATIAL if model.architecture == "movq" else LAYOUT
    tensors = autoencoder(tokenizer, layout)
    flat = {name: t[..., 0, 0].clone() for name, t in tensors.items() if ".to_" in name and t.ndim == 4}
    return {**tensors, **flat, CODEBOOK: quantizer.codebook.detach().cpu().clone()}
