"""Chameleon's image tokenizer in transformers (``ChameleonVQVAE``, alone or as ``model.vqmodel`` of the whole).

taming's names, and no decoder. Meta's own ``vqgan.ckpt`` has one, and is imported as taming's.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import Tensor

from .huggingface import agreed
from .importer import Importer, TokenizerPlan, register
from .settings import agree, attention_resolutions, size
from .taming import CODEBOOK, quantizer_of
from .tokenizer_config import config_of_weights
from .vqgan_family import ENCODER_ENDS, TAMING, attention_levels, middle_attention, rename, widths

SIDE = 512  # of the released model's images


def recognises(names: Collection[str]) -> bool:
    """By taming's encoder and codebook without its decoder."""
    wanted = {CODEBOOK, "quant_conv.weight", "post_quant_conv.weight", "encoder.mid.block_1.conv1.weight"}
    return wanted <= set(names) and not any(name.startswith("decoder.") for name in names)


def read(given: dict[str, Tensor], config: dict[str, Any], path: str) -> TokenizerPlan:
    """A plan from the tensors and ``config.json``, which may be the whole model's."""
    unused = sorted(name for name in given if name.startswith("post_quant_conv."))
    tensors, other = rename({name: t for name, t in given.items() if name not in unused}, TAMING, path, ENCODER_ENDS)
    found = widths(tensors, path)
    channels = size(tensors, "encoder.stem.weight", 1, path)
    codes = size(given, CODEBOOK, 0, path)
    said = agreed(config, found, path)
    agree(said, {"num_embeddings": codes, "in_channels": channels}, path)
    side = int(said.get("resolution") or SIDE)
    model = {
        "architecture": "chameleon",
        **found,
        "dropout": float(said.get("dropout") or 0.0),
        "attention_resolutions": attention_resolutions(
            said.get("attn_resolutions"), attention_levels(tensors), side, len(found["multipliers"]), path
        ),
        "middle_attention": middle_attention(tensors),
        "decoder": False,
    }
    return TokenizerPlan(
        config=config_of_weights(tensors, side, model, quantizer_of(codes), path, channels),
        tensors=tensors,
        codebook={"codebook": given[CODEBOOK]},
        layout=TAMING,
        ignored={"to a decoder that is not there": unused},
        left_over=sorted(other - {CODEBOOK}),
        notes=["an encoder alone, as published: it gives codes, not images"],
    )


CLASSES = ("ChameleonVQVAE", "ChameleonForConditionalGeneration", "ChameleonModel")
register(Importer("chameleon", recognises, read, classes=CLASSES, like="taming"))
