"""LlamaGen's VQ-8 and VQ-16 (FoundationVision/LlamaGen ``tokenizer/tokenizer_image/vq_model.py``).

The file holds ``ema`` or ``model`` weights; no configuration is published, and none is needed. Vectors and codebook
are l2-normalised when used, and ``codebook_used`` is a window of recent codes kept for monitoring only.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import Tensor

from . import gigatok
from .checkpoint import section
from .importer import Importer, TokenizerPlan, register
from .names import Layout
from .settings import agree, size
from .taming import CODEBOOK
from .tokenizer_config import config_of_weights
from .vqgan_family import COMPONENTS, attention_at_lowest, model_settings, rename

LAYOUT = Layout(
    prefixes=(
        ("encoder.conv_in", "encoder.stem"),
        ("encoder.conv_blocks.{i}.res.{j}", "encoder.levels.{i}.blocks.{j}"),
        ("encoder.conv_blocks.{i}.attn.{j}", "encoder.levels.{i}.attention.{j}"),
        ("encoder.conv_blocks.{i}.downsample", "encoder.levels.{i}.resample"),
        ("encoder.mid.{j}", "encoder.middle.{j}"),
        ("encoder.norm_out", "encoder.norm"),
        ("encoder.conv_out", "encoder.head"),
        ("quant_conv", "encoder.to_code"),
        ("post_quant_conv", "decoder.from_code"),
        ("decoder.conv_in", "decoder.stem"),
        ("decoder.mid.{j}", "decoder.middle.{j}"),
        ("decoder.conv_blocks.{i}.res.{j}", "decoder.levels.{i}.blocks.{j}"),
        ("decoder.conv_blocks.{i}.attn.{j}", "decoder.levels.{i}.attention.{j}"),
        ("decoder.conv_blocks.{i}.upsample", "decoder.levels.{i}.resample"),
        ("decoder.norm_out", "decoder.norm"),
        ("decoder.conv_out", "decoder.head"),
    ),
    components=COMPONENTS,
    level=r"encoder\.conv_blocks\.(\d+)\.",
)

# LlamaGen's defaults for what its weights do not show (``ModelArgs``).
BETA, ENTROPY_RATIO = 0.25, 0.0


def recognises(names: Collection[str]) -> bool:
    """By the encoder's ``conv_blocks``, where nothing of GigaTok's stands behind them."""
    return any(name.startswith("encoder.conv_blocks.") for name in names) and not gigatok.recognises(names)


def read(given: dict[str, Tensor], config: dict[str, Any], path: str) -> TokenizerPlan:
    """A plan from the tensors of ``ema`` or ``model``."""
    tensors, other = rename(given, LAYOUT, path)
    said = section(config, "codebook_size") or section(config, "z_channels")
    settings = model_settings(tensors, said, path)
    for key in ("encoder_ch_mult", "decoder_ch_mult"):
        agree(said, {key: settings["multipliers"]}, path)
    attention_at_lowest(tensors, path)
    codes = size(given, CODEBOOK, 0, path)
    agree(said, {"codebook_size": codes, "codebook_embed_dim": settings["code_channels"]}, path)
    quantizer = {
        "name": "vq",
        "codebook_size": codes,
        "l2_norm": bool(said.get("codebook_l2_norm", True)),
        "codebook_update": "gradient",
        "beta": float(said.get("commit_loss_beta", BETA)),
    }
    monitors = sorted(name for name in other if name == "quantize.codebook_used")
    return TokenizerPlan(
        config=config_of_weights(
            tensors, int(said.get("image_size") or 256), {"architecture": "llamagen", **settings}, quantizer, path
        ),
        tensors=tensors,
        codebook={"codebook": given[CODEBOOK]},
        layout=LAYOUT,
        ignored={"monitoring": monitors},
        left_over=sorted(other - {CODEBOOK, *monitors}),
    )


register(Importer("llamagen", recognises, read, evaluates="ema"))
