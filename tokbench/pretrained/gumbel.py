"""taming-transformers' ``GumbelVQ`` (the released ``vqgan.gumbelf8``): VQ-GAN's names around a Gumbel-softmax.

Its official evaluation draws a code from the logits; the tokenizer made of it takes the most likely one, and
``tokenizer.quantizer.sample`` draws.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import Tensor

from tokbench.errors import TokbenchError

from .checkpoint import section
from .importer import Importer, TokenizerPlan, register
from .settings import agree, require, size
from .tokenizer_config import config_of_weights
from .vqgan_family import TAMING, rename, taming_model

CODEBOOK, LOGITS = "quantize.embed.weight", "quantize.proj."
KL_WEIGHT = 1e-8  # GumbelVQ's default, and the released model's


def recognises(names: Collection[str]) -> bool:
    """By the map to the logits beside the encoder's ``down`` levels."""
    return LOGITS + "weight" in names and any(name.startswith("encoder.down.") for name in names)


def read(given: dict[str, Tensor], config: dict[str, Any], path: str) -> TokenizerPlan:
    """A plan from the weights and the YAML (``model.params.{ddconfig, n_embed, embed_dim, kl_weight}``)."""
    tensors, other = rename(given, TAMING, path)
    said = section(config, "ddconfig")
    require(said, path, remap=None)
    image_size, model = taming_model("vqgan", tensors, said.get("ddconfig", {}), path)
    codes, dim = size(given, CODEBOOK, 0, path), model["code_channels"]
    agree(said, {"n_embed": codes, "embed_dim": dim}, path)
    if size(given, LOGITS + "weight", 1, path) != dim or given[LOGITS + "weight"].shape[2:].numel() != 1:
        shape = list(given[LOGITS + "weight"].shape)
        raise TokbenchError(f"{path}: {LOGITS}weight is {shape}, not a 1x1 convolution of {dim} channels")
    size(given, LOGITS + "bias", 0, path)
    losses = sorted(name for name in other if name.startswith("loss."))
    quantizer = {"name": "gumbel", "codebook_size": codes, "kl_weight": float(said.get("kl_weight", KL_WEIGHT))}
    return TokenizerPlan(
        config=config_of_weights(tensors, image_size, model, {**quantizer, **_temperature(said, path)}, path),
        tensors=tensors,
        codebook={
            "codebook": given[CODEBOOK],
            "logits": given[LOGITS + "weight"].flatten(1),
            "bias": given[LOGITS + "bias"],
        },
        layout=TAMING,
        ignored={"losses and discriminator": losses},
        left_over=sorted(other - {CODEBOOK, LOGITS + "weight", LOGITS + "bias"} - set(losses)),
    )


def _temperature(said: dict[str, Any], path: str) -> dict[str, Any]:
    """The temperature's schedule, of ``LambdaWarmUpCosineScheduler`` without a warm-up; empty where none is given."""
    schedule = section(section(said, "temperature_scheduler_config"), "lr_max")
    if not schedule:
        return {}
    require(schedule, path, warm_up_steps=0)
    return {
        "temperature_start": float(schedule["lr_max"]),
        "temperature_end": float(schedule.get("lr_min", 1e-6)),
        "temperature_steps": int(schedule.get("max_decay_steps", 0)),
    }


register(Importer("taming-gumbel", recognises, read, classes=("GumbelVQ",)))
