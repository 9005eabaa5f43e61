"""taming-transformers' VQ-GAN (CompVis/taming-transformers): a Lightning ``state_dict`` and an OmegaConf YAML."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import Tensor

from .checkpoint import model_class, section
from .importer import Importer, TokenizerPlan, register
from .settings import agree, require, size
from .tokenizer_config import config_of_weights
from .vqgan_family import TAMING, rename, taming_model

LABELS, COLOURS = "VQSegmentationModel", "colorize"
CODEBOOK = "quantize.embedding.weight"
OTHERS = (  # that have names like these
    "encoder.mid.attn_1.qkv.weight",  # VAR's
    "encoder.mid.0.conv1.weight",  # MaskGIT's
    "encoder.mid.res_blocks.0.conv1.weight",  # MaskBit's
    "decoder.up.0.upsample.conv.weight",  # Janus's, in transformers
    "quant_conv.conv.weight",  # Emu3's
)
AVERAGES = ("quantize.embedding.cluster_size", "quantize.embedding.embed_avg")  # of its EMAVQ
# VectorQuantizer2's beta and its default ``legacy=True``, which every released model was trained with: beta weighs
# the codebook's term, not the commitment's.
BETA = 0.25


def quantizer_of(codes: int, beta: float = BETA) -> dict[str, Any]:
    """Settings of its VectorQuantizer2, whose codebook learns by gradient."""
    return {"name": "vq", "codebook_size": codes, "codebook_update": "gradient", "beta": beta, "beta_on": "codebook"}


def recognises(names: Collection[str]) -> bool:
    """By the encoder's ``down`` levels and a decoder beside one plain codebook, and no names of others."""
    sides = all(any(name.startswith(side) for name in names) for side in ("encoder.down.", "decoder."))
    return sides and CODEBOOK in names and not set(OTHERS) & set(names)


def read(given: dict[str, Tensor], config: dict[str, Any], path: str) -> TokenizerPlan:
    """A plan from a Lightning checkpoint and its YAML (``model.params.{ddconfig, n_embed, embed_dim}``)."""
    tensors, other = rename(given, TAMING, path)
    said = section(config, "ddconfig")
    require(said, path, remap=None)  # which would rename the codes
    labels = model_class(config) == LABELS
    image_size, model = taming_model("vqgan", tensors, said.get("ddconfig", {}), path, any_channels=labels)
    codes = size(given, CODEBOOK, 0, path)
    agree(said, {"n_embed": codes, "embed_dim": model["code_channels"]}, path)
    losses = sorted(name for name in other if name.startswith("loss."))
    ignored = {"losses and discriminator": losses, "random colours to show labels in": sorted(other & {COLOURS})}
    return TokenizerPlan(
        config=config_of_weights(
            tensors,
            image_size,
            model,
            quantizer_of(codes),
            path,
            channels=size(tensors, "encoder.stem.weight", 1, path),
            kind="labels" if labels else "image",
        ),
        tensors=tensors,
        codebook={"codebook": given[CODEBOOK]},
        layout=TAMING,
        ignored=ignored,
        left_over=sorted(other - {CODEBOOK, *AVERAGES}.union(*ignored.values())),
        notes=["it takes label maps as one-hot channels and gives their logits"] if labels else [],
    )


# The last two keep taming's names and rule: latent-diffusion's, and a codebook by moving averages.
CLASSES = ("VQModel", LABELS, "VQNoDiscModel", "VQModelInterface", "EMAVQ")
register(Importer("taming", recognises, read, classes=CLASSES))
