"""MaskBit's tokenizers (markweberdev/maskbit ``ConvVQModel``): VQGAN+ with a codebook or with bits, and its older form,
MaskGIT's VQ-GAN, whose decoder counts its levels from full resolution. A flat state dict and an OmegaConf YAML.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import Tensor

from .checkpoint import section
from .importer import Importer, TokenizerPlan, register
from .names import Layout
from .settings import agree, count, pyramid, size
from .taming import CODEBOOK
from .tokenizer_config import config_of_weights
from .vqgan_family import COMPONENTS, rename

BITS = ("quantize.codebook", "quantize.bits_to_indices")  # constants of the lookup-free quantizer


def _layout(level: str) -> Layout:
    """``level``: how the decoder's levels are numbered."""
    return Layout(
        prefixes=(
            ("encoder.conv_in", "encoder.stem"),
            ("encoder.down.{i}.res_blocks.{j}", "encoder.levels.{i}.blocks.{j}"),
            ("encoder.down.{i}.down_conv", "encoder.levels.{i}.resample.conv"),
            ("encoder.mid.res_blocks.{j}", "encoder.middle.{j}"),
            ("encoder.norm_out", "encoder.norm"),
            ("encoder.conv_out", "encoder.to_code"),
            ("decoder.conv_in", "decoder.stem"),
            ("decoder.mid.res_blocks.{j}", "decoder.middle.{j}"),
            ("decoder.up.{i}.res_blocks.{j}", f"decoder.levels.{level}.blocks.{{j}}"),
            ("decoder.up.{i}.upsample_conv", f"decoder.levels.{level}.resample.conv"),
            ("decoder.norm_out", "decoder.norm"),
            ("decoder.conv_out", "decoder.head"),
        ),
        components=COMPONENTS,
        level=r"encoder\.down\.(\d+)\.",
    )


LAYOUT, LEGACY = _layout("{i}"), _layout("{-i}")


def recognises(names: Collection[str]) -> bool:
    """By the lists of residual blocks in both middles beside a codebook, or the lookup-free quantizer's constant."""
    middles = {f"{side}.mid.res_blocks.0.conv1.weight" for side in ("encoder", "decoder")}
    return middles <= set(names) and (CODEBOOK in names or BITS[0] in names)


def read(given: dict[str, Tensor], config: dict[str, Any], path: str) -> TokenizerPlan:
    """A plan from the weights and the YAML (``model.vq_model``)."""
    legacy = "decoder.up.0.upsample_conv.weight" not in given  # level 0 is full resolution
    layout = LEGACY if legacy else LAYOUT
    tensors, other = rename(given, layout, path)
    found = pyramid(tensors, path)
    latent = size(tensors, "encoder.to_code.weight", 0, path)
    said = section(config, "quantizer_type") or section(config, "channel_mult")
    strided = "encoder.down.0.down_conv.weight" in given
    agree(said, {"sample_with_conv": strided, "model_class": "maskgit" if legacy else "vqgan+"}, path)
    agree(said, _shown(found, latent), path)
    decoder_blocks = count(tensors, r"decoder\.middle\.(\d+)\.")
    agree(said, {"num_res_blocks_decoder": decoder_blocks}, path)
    model = {"architecture": "maskgit", **found, "latent_channels": latent}
    if strided or decoder_blocks != found["blocks"]:
        model |= {"architecture": "maskbit", "strided": strided, "decoder_blocks": decoder_blocks}
    constants = sorted(name for name in BITS if name in other)
    side = int(section(config, "resolution").get("resolution") or 256)
    codebook = {} if constants else {"codebook": given[CODEBOOK]}
    return TokenizerPlan(
        config=config_of_weights(tensors, side, model, _quantizer(given, latent, said, path), path),
        tensors=tensors,
        codebook=codebook,
        layout=layout,
        ignored={"values of the bits": constants},
        left_over=sorted(other - {CODEBOOK, *constants}),
    )


def _shown(found: dict[str, Any], latent: int) -> dict[str, Any]:
    """Under the names of the official configuration."""
    return {
        "hidden_channels": found["channels"],
        "channel_mult": found["multipliers"],
        "num_resolutions": len(found["multipliers"]),
        "num_res_blocks": found["blocks"],
        "token_size": latent,
    }


def _quantizer(given: dict[str, Tensor], latent: int, said: dict[str, Any], path: str) -> dict[str, Any]:
    """VQ or LFQ, as the file has a codebook to learn or the constants of bits."""
    kind = "lookup" if CODEBOOK in given else "lookup-free"
    codes = size(given, CODEBOOK, 0, path) if kind == "lookup" else 2**latent
    agree(said, {"quantizer_type": kind, "codebook_size": codes}, path)
    commitment = float(said.get("commitment_cost", 0.25))
    if kind == "lookup":
        return {
            "name": "vq",
            "codebook_size": codes,
            "l2_norm": bool(said.get("use_l2_normalisation", False)),
            "codebook_update": "gradient",
            "commitment_weight": commitment,
        }
    return {
        "name": "lfq",
        "codebook_size": codes,
        "commitment_weight": commitment,
        "entropy_weight": float(said.get("entropy_loss_weight", 0.02)),
        "temperature": float(said.get("entropy_loss_temperature", 0.01)),
        "diversity_weight": float(said.get("entropy_gamma", 1.0)),
        "entropy_anneal_steps": 0,  # these weights are past it
        "log_eps": 0.0,  # they keep the logarithm finite by a bound at 1e-5, which next to nothing reaches
    }


register(Importer("maskbit", recognises, read))
