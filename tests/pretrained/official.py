"""Tiny checkpoints in the official layouts, made here: what the importers and the exporters agree on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tokbench import pretrained
from tokbench.config.model import TokenizerConfig
from tokbench.errors import TokbenchError
from tokbench.models import Tokenizer
from tokbench.pretrained.llamagen import LAYOUT as LLAMAGEN
from tokbench.pretrained.names import Layout
from tokbench.pretrained.open_magvit2 import LAYOUT as OPEN_MAGVIT2

# Uneven on purpose: three levels, attention at two of them, more blocks than one.
VQGAN = {
    "architecture": "vqgan",
    "channels": 32,
    "multipliers": [1, 2, 1],
    "blocks": 2,
    "attention_resolutions": [16, 8],
    "latent_channels": 12,
    "code_channels": 6,
}
GRADIENT = {"name": "vq", "codebook_size": 20, "codebook_update": "gradient", "beta_on": "codebook"}


def tokenizer(model: dict[str, Any], quantizer: dict[str, Any], seed: int = 0) -> Tokenizer:
    """Random weights, every buffer included, for 32x32 images."""
    torch.manual_seed(seed)
    made = Tokenizer(TokenizerConfig.model_validate({"image_size": 32, "model": model, "quantizer": quantizer}))
    with torch.no_grad():
        for name, tensor in made.state_dict().items():
            if tensor.is_floating_point() and (name.startswith("quantizer.") or tensor.ndim == 1):
                tensor.copy_(torch.rand_like(tensor) + 0.1)  # norms and moving averages that are not at their defaults
    return made.eval()


def taming() -> Tokenizer:
    return tokenizer(VQGAN, GRADIENT)


def vqgan(**changes: Any) -> Tokenizer:
    """The same, with some of the model's settings or the codebook's dimension changed."""
    codebook = {key: changes.pop(key) for key in ("codebook_dim",) if key in changes}
    return tokenizer({**VQGAN, **changes}, {**GRADIENT, **codebook})


def rqvae(shared: bool = True) -> Tokenizer:
    quantizer = {"name": "rq", "codebook_size": 20, "depth": 3, "shared_codebook": shared}
    return tokenizer({**VQGAN, "architecture": "rqvae"}, quantizer)


def llamagen() -> Tokenizer:
    model = {key: value for key, value in VQGAN.items() if key != "attention_resolutions"}
    quantizer = {"name": "vq", "codebook_size": 20, "codebook_update": "gradient", "l2_norm": True}
    return tokenizer({**model, "architecture": "llamagen"}, quantizer)


def magvit2() -> Tokenizer:
    model = {"architecture": "magvit2", "channels": 32, "multipliers": [1, 2, 1], "blocks": 2}
    return tokenizer(model, {"name": "lfq", "codebook_size": 64})


def renamed(made: Tokenizer, layout: Layout) -> dict[str, Tensor]:
    """Encoder and decoder by official names; KeyError where the layout has none."""
    levels = len(made.config.model.multipliers)  # type: ignore[union-attr]
    tensors = {}
    for name, tensor in made.state_dict().items():
        if not name.startswith("quantizer."):
            official = layout.official(name, levels)
            assert official is not None and layout.ours(official, levels) == name, name
            tensors[official] = tensor.clone()
    assert len(tensors) == sum(not name.startswith("quantizer.") for name in made.state_dict())
    return tensors


def save_llamagen(made: Tokenizer, path: Path) -> None:
    ema = renamed(made, LLAMAGEN)
    ema["quantize.embedding.weight"] = made.state_dict()["quantizer.codes.weight"].clone()
    ema["quantize.codebook_used"] = torch.zeros(65536)
    live = {name: tensor / 2 for name, tensor in ema.items()}
    torch.save({"model": live, "ema": ema, "optimizer": {}, "steps": 7}, path)


def save_open_magvit2(made: Tokenizer, path: Path) -> None:
    weights = renamed(made, OPEN_MAGVIT2)
    state = {name: tensor / 2 for name, tensor in weights.items()}
    state |= {"model_ema." + name.replace(".", ""): tensor for name, tensor in weights.items()}
    state |= {"model_ema.decay": torch.tensor(0.999), "model_ema.num_updates": torch.tensor(5)}
    state |= {
        "loss.discriminator.main.0.weight": torch.zeros(1),
        "model_ema.lossdiscriminatormain0weight": torch.ones(1),
    }
    torch.save({"state_dict": state, "epoch": 3, "global_step": 5}, path)


# Small, in taming's names, and as training programs write it.
SMALL = {**VQGAN, "multipliers": [1, 2], "blocks": 1, "attention_resolutions": []}


def prefixed(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


def dotless(state: dict[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    """As LitEma keeps averages."""
    return {"model_ema." + (prefix + name).replace(".", ""): tensor for name, tensor in state.items()}


def refusal(path: Path, source: str | None = None, **options: Any) -> str:
    with pytest.raises(TokbenchError) as caught:
        pretrained.load(source, path, **options)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500 and path.name in message and "weights_only" not in message
    return message
