"""Janus's image tokenizer in transformers (``JanusVQVAE``, alone or as ``model.vqmodel`` of the whole).

It is LlamaGen's VQ-16; DeepSeek's own files have LlamaGen's names, and are imported as that. transformers compares
vectors as they are; they were trained to be compared by direction, as DeepSeek's and LlamaGen's code does, and as is
done here.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import Tensor

from .huggingface import agreed
from .importer import Importer, TokenizerPlan, register
from .llamagen import BETA
from .names import Layout
from .settings import agree, size
from .taming import CODEBOOK
from .tokenizer_config import config_of_weights
from .vqgan_family import TAMING, attention_at_lowest, model_settings, rename

# taming's names, but the decoder's levels are numbered from the lowest resolution.
LAYOUT = Layout(
    prefixes=tuple((official, ours.replace("{-i}", "{i}")) for official, ours in TAMING.prefixes),
    components=TAMING.components,
    level=TAMING.level,
)
FIRST_UP = "decoder.up.0.upsample.conv.weight"
PATCHES = 24  # a side, of the released models' images


def recognises(names: Collection[str]) -> bool:
    """By a decoder whose level 0 doubles the sides, which taming's last one does not."""
    return {CODEBOOK, FIRST_UP, "encoder.down.0.block.0.conv1.weight"} <= set(names)


def read(given: dict[str, Tensor], config: dict[str, Any], path: str) -> TokenizerPlan:
    """A plan from the tensors and ``config.json``, which may be the whole model's."""
    tensors, other = rename(given, LAYOUT, path)
    model = model_settings(tensors, {}, path)
    said = agreed(config, model, path)
    codes = size(given, CODEBOOK, 0, path)
    agree(said, {"num_embeddings": codes}, path)
    attention_at_lowest(tensors, path)
    quantizer = {
        "name": "vq",
        "codebook_size": codes,
        "l2_norm": True,
        "codebook_update": "gradient",
        "beta": BETA,
    }
    side = 2 ** (len(model["multipliers"]) - 1) * int(said.get("num_patches") or PATCHES)
    return TokenizerPlan(
        config=config_of_weights(tensors, side, {"architecture": "llamagen", **model}, quantizer, path),
        tensors=tensors,
        codebook={"codebook": given[CODEBOOK]},
        layout=LAYOUT,
        left_over=sorted(other - {CODEBOOK}),
    )


register(Importer("janus", recognises, read, classes=("JanusVQVAE", "JanusForConditionalGeneration", "JanusModel")))
