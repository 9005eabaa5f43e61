"""Chameleon's image tokenizer in transformers (``ChameleonVQVAE``, alone or as ``model.vqmodel`` of the whole).

taming's names, and no decoder. Meta's own ``vqgan.ckpt`` has one, and is imported as taming's.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import Tensor

from .huggingface import agreed
from .importer import Importer, TokenizerPlan, register
from .settings import agree, attention_resolutions, pyramid, size
from .taming import BETA, CODEBOOK
from .tokenizer_config import config_of_weights
from .vqgan_family import TAMING, attention_levels

SIDE = 512  # of the released model's images


def recognises(names: Collection[str]) -> bool:
    """By taming's encoder and codebook without its decoder."""
    wanted = {CODEBOOK, "quant_conv.weight", "post_quant_conv.weight", "encoder.mid.block_1.conv1.weight"}
    return wanted <= set(names) and not any(name.startswith("decoder.") for name in names)


def read(given: dict[str, Tensor], config: dict[str, Any], path: str) -> TokenizerPlan:
    """A plan from the tensors and ``config.json``, which may be the whole model's."""
    levels = TAMING.levels(given)
    renamed = {name: TAMING.ours(name, levels) for name in given}
    tensors = {ours: given[name] for name, ours in renamed.items() if ours and ours.startswith("encoder.")}
    unused = sorted(name for name in given if name.startswith("post_quant_conv."))
    found = pyramid(tensors, path, "encoder.levels.{i}.blocks.{j}")
    latent, code = (size(tensors, f"encoder.{name}.weight", 0, path) for name in ("head", "to_code"))
    channels = size(tensors, "encoder.stem.weight", 1, path)
    codes = size(given, CODEBOOK, 0, path)
    said = agreed(config, found, latent, code, path)
    agree(said, {"num_embeddings": codes, "in_channels": channels}, path)
    side = int(said.get("resolution") or SIDE)
    model = {
        "architecture": "chameleon",
        **found,
        "latent_channels": latent,
        "code_channels": code,
        "dropout": float(said.get("dropout") or 0.0),
        "attention_resolutions": attention_resolutions(
            said.get("attn_resolutions"), attention_levels(tensors), side, levels, path
        ),
        "middle_attention": "encoder.middle.1.q.weight" in tensors,
        "decoder": False,
    }
    quantizer = {
        "name": "vq",
        "codebook_size": codes,
        "codebook_update": "gradient",
        "beta": BETA,
        "beta_on": "codebook",
    }
    return TokenizerPlan(
        config=config_of_weights(tensors, side, model, quantizer, path, channels),
        tensors=tensors,
        codebook={"codebook": given[CODEBOOK]},
        layout=TAMING,
        ignored={"to a decoder that is not there": unused},
        left_over=sorted(name for name, ours in renamed.items() if ours is None and name != CODEBOOK),
        notes=["an encoder alone, as published: it gives codes, not images"],
    )


CLASSES = ("ChameleonVQVAE", "ChameleonForConditionalGeneration", "ChameleonModel")
register(Importer("chameleon", recognises, read, classes=CLASSES, like="taming"))
