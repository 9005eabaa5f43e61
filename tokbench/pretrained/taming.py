"""taming-transformers' VQ-GAN (CompVis/taming-transformers): a Lightning ``state_dict`` and an OmegaConf YAML."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from tokbench.errors import TokbenchError

from .checkpoint import section, tensors_of
from .importer import Importer, Plan, Weights, register
from .settings import agree, size
from .tokenizer_config import checked_config
from .vqgan_family import TAMING, rename, taming_model

CODEBOOK = "quantize.embedding.weight"
# VectorQuantizer2's beta and its default ``legacy=True``, which every released model was trained with: beta weighs
# the codebook's term, not the commitment's.
BETA = 0.25


def recognises(names: Collection[str]) -> bool:
    """By the encoder's ``down`` levels beside one plain codebook."""
    return CODEBOOK in names and any(name.startswith("encoder.down.") for name in names)


def read(content: dict[str, Any], config: dict[str, Any], path: str, weights: Weights) -> Plan:
    """A plan from a Lightning checkpoint and its YAML (``model.params.{ddconfig, n_embed, embed_dim}``)."""
    if weights == "ema":
        raise TokbenchError(f"{path}: EMA weights were asked for, and taming's checkpoints have none")
    entry, given = tensors_of(content, path, "state_dict")
    tensors, other = rename(given, TAMING, path)
    said = section(config, "ddconfig")
    image_size, model = taming_model("vqgan", tensors, said.get("ddconfig", {}), path)
    codes = size(given, CODEBOOK, 0, path)
    agree(said, {"n_embed": codes, "embed_dim": model["code_channels"]}, path)
    losses = sorted(name for name in other if name.startswith("loss."))
    return Plan(
        config=checked_config(
            image_size,
            model,
            {"name": "vq", "codebook_size": codes, "codebook_update": "gradient", "beta": BETA, "beta_on": "codebook"},
            path,
        ),
        weights=f"{entry} (live)",
        tensors=tensors,
        codebook={"codebook": given[CODEBOOK]},
        layout=TAMING,
        ignored={"losses and discriminator": losses} if losses else {},
        left_over=sorted(other - {CODEBOOK} - set(losses)),
    )


register(Importer("taming", recognises, read))
