"""Infinity's tokenizers (FoundationVision/Infinity ``infinity/models/bsq_vae``): ``{"vae": state dict}``.

Multi-scale BSQ over VQ-GAN's modules without attention. The quantizer has no weights. The schedule of scales is not in
the file: that of 256x256 images unless a JSON says another (``scale_schedule``, of [1, h, w]).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import Tensor

from tokbench.errors import TokbenchError

from .checkpoint import section
from .importer import Importer, TokenizerPlan, register
from .settings import agree, pyramid, size
from .tokenizer_config import config_of_weights
from .vqgan_family import TAMING, rename

MASKS = ("quantizer.lfq.mask", "quantize.lfq.mask")  # the value of each bit, in one module by two names
SIDES = (1, 2, 4, 6, 8, 12, 16)  # of a square of 256 pixels: ``dynamic_resolution.py``


def recognises(names: Collection[str]) -> bool:
    """By a convolution that wraps another."""
    return "encoder.conv_in.conv.weight" in names and any(mask in names for mask in MASKS)


def read(given: dict[str, Tensor], config: dict[str, Any], path: str) -> TokenizerPlan:
    """A plan from the state dict and, where there is one, a JSON of the arguments."""
    plain = {_unwrapped(name): tensor for name, tensor in given.items() if name not in MASKS}
    tensors, other = rename(
        plain, TAMING, path, ends=("encoder.stem.weight", "encoder.head.weight", "decoder.head.weight")
    )
    said = section(config, "codebook_dim") or section(config, "scale_schedule")
    model = pyramid(tensors, path)
    bits = size(tensors, "encoder.head.weight", 0, path)
    found = {"base_ch": model["channels"], "encoder_ch_mult": model["multipliers"], "num_res_blocks": model["blocks"]}
    agree(said, {**found, "codebook_dim": bits, "codebook_size": 2**bits}, path)
    scales = _scales(said, path)
    factor = 2 ** (len(model["multipliers"]) - 1)
    agree(said, {"patch_size": factor}, path)
    settings = {
        "architecture": "var",
        **model,
        "latent_channels": bits,
        "code_channels": bits,
        "code_kernel": 0,
        "attention": False,
        "middle_attention": False,
        "clamp": True,
        "norm_groups": 24 if model["channels"] % 32 else 32,
    }
    quantizer = {
        "name": "ms-rq",
        "quantizer": "bsq",
        "bits": bits,
        "scales": scales,
        "quant_resi": 0.0,
        "upsampling": "bilinear",
    }
    height, width = (factor * side for side in scales[-1])
    masks = sorted(name for name in MASKS if name in given)
    return TokenizerPlan(
        config=config_of_weights(tensors, height if height == width else (height, width), settings, quantizer, path),
        tensors=tensors,
        codebook={},
        layout=TAMING,
        ignored={"values of the bits": masks},
        left_over=sorted(other),
    )


def _unwrapped(name: str) -> str:
    """``conv1.conv.weight`` is ``conv1.weight``: convolutions and norms are wrapped once more than taming's."""
    *module, wrapper, kind = name.split(".")
    return ".".join([*module, kind]) if wrapper in ("conv", "norm") and module else name


def _scales(said: dict[str, Any], path: str) -> list[list[int]]:
    """(h, w) of each scale."""
    schedule = said.get("scale_schedule") or [[1, side, side] for side in SIDES]
    if any(len(scale) != 3 or scale[0] != 1 for scale in schedule):
        raise TokbenchError(f"{path}: scale_schedule {schedule} is not of images: [1, h, w] each")
    return [[int(height), int(width)] for _, height, width in schedule]


register(Importer("infinity", recognises, read))
