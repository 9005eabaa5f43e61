"""Cosmos' discrete image tokenizers (NVIDIA/Cosmos-Tokenizer ``networks/discrete_image.py``), with FSQ: taming's names.

Everything but the kind of patches stands in the weights; without a configuration they are taken for wavelets.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import Tensor

from tokbench.errors import TokbenchError

from .checkpoint import section
from .cosmos_dv import CONSTANTS, LEVELS
from .importer import Importer, TokenizerPlan, register
from .settings import agree, count, require, size
from .tokenizer_config import config_of_weights
from .vqgan_family import TAMING, attention_levels, rename, widths


def recognises(names: Collection[str]) -> bool:
    """By taming's names on both sides of codes that nothing was learned for."""
    sides = {f"{side}.mid.block_1.conv1.weight" for side in ("encoder", "decoder")}
    wanted = {*sides, "quant_conv.weight", "post_quant_conv.weight", "encoder.down.0.block.0.conv1.weight"}
    learned = any(name.startswith("quantize") and name.endswith(".weight") for name in names)
    return wanted <= set(names) and not learned


def read(given: dict[str, Tensor], config: dict[str, Any], path: str) -> TokenizerPlan:
    """A plan from the weights and, where there are any, the network's settings (``channels``, ``patch_method`` ...)."""
    tensors, other = rename(given, TAMING, path)
    said = section(config, "patch_size") or section(config, "spatial_compression") or section(config, "levels")
    require(said, path, z_factor=1, quantizer="FSQ", encoder="Default", decoder="Default", num_codebooks=1)
    found = widths(tensors, path)
    if size(tensors, "decoder.from_code.weight", 1, path) != found["code_channels"]:
        raise TokbenchError(f"{path}: quant_conv gives mean and variance: a KL autoencoder, which has no codes")
    channels = size(tensors, "encoder.stem.weight", 1, path)
    patch = next((p for p in (1, 2, 4, 8) if channels == 3 * p**2), 0)
    if not patch:
        raise TokbenchError(f"{path}: a model of patches of {channels} values is not Cosmos'")
    halvings = count(tensors, r"encoder\.levels\.(\d+)\.resample\.")
    agree(
        said,
        {
            "channels": found["channels"],
            "channels_mult": found["multipliers"],
            "num_res_blocks": found["blocks"],
            "z_channels": found["latent_channels"],
            "embedding_dim": found["code_channels"],
            "patch_size": patch,
            "spatial_compression": patch * 2**halvings,
            "in_channels": 3,
            "out_channels": 3,
        },
        path,
    )
    levels = list(section(config, "levels").get("levels") or LEVELS)
    agree({"levels": len(levels)}, {"levels": found["code_channels"]}, path)
    side = int(said.get("resolution") or 256)
    model = {
        "architecture": "cosmos-di",
        **found,
        "patch_size": patch,
        "patch_method": said.get("patch_method", "haar"),
        "spatial_compression": patch * 2**halvings,
        "attention_resolutions": sorted({(side // patch) >> min(i, halvings) for i in attention_levels(tensors)}),
        "dropout": float(said.get("dropout") or 0.0),
    }
    constants = sorted(name for name in other if name.endswith(CONSTANTS) or name.startswith("quantizer."))
    return TokenizerPlan(
        config=config_of_weights(tensors, side, model, {"name": "fsq", "levels": levels}, path, 3),
        tensors=tensors,
        codebook={},
        layout=TAMING,
        ignored={"constants": constants} if constants else {},
        left_over=sorted(other - set(constants)),
        notes=[] if said else [f"taken to have patches of wavelets and FSQ levels {levels}, as released"],
    )


register(Importer("cosmos-di", recognises, read))
