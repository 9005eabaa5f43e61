"""RQ-VAE (kakaobrain/rq-vae-transformer): ``{state_dict[, state_dict_ema], ...}`` and a ``config.yaml``.

A codebook has a K+1-th row for padding, which no code uses, and the state of its moving average; a shared codebook
is repeated for every depth.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from tokbench.errors import TokbenchError

from .checkpoint import section
from .importer import Importer, TokenizerPlan, register
from .settings import agree, count, require, size
from .tokenizer_config import config_of_weights
from .vqgan_family import TAMING, rename, taming_model

BOOK = "quantizer.codebooks."
# RQBottleneck's and RQVAE's defaults, used where the configuration does not say.
DECAY, COMMITMENT = 0.99, 0.25


def recognises(names: Collection[str]) -> bool:
    """By the list of codebooks."""
    return BOOK + "0.weight" in names


def read(given: dict[str, Tensor], config: dict[str, Any], path: str) -> TokenizerPlan:
    """A plan from RQ-VAE's checkpoint and YAML (``arch.{hparams, ddconfig}``)."""
    tensors, other = rename(given, TAMING, path)
    arch = section(config, "hparams")
    hparams = arch.get("hparams", {})
    image_size, model = taming_model("rqvae", tensors, arch.get("ddconfig", {}), path)
    depth = count(given, r"quantizer\.codebooks\.(\d+)\.")
    books = [_book(given, d, path) for d in range(depth)]
    sizes = [len(book["codebook"]) for book in books]
    if len(set(sizes)) > 1:
        raise TokbenchError(f"{path}: codebooks of different sizes {sizes} are not supported")
    _check(hparams, depth, sizes[0], model, image_size, path)
    same = all(torch.equal(book["codebook"], books[0]["codebook"]) for book in books)
    shared = bool(hparams.get("shared_codebook", same))
    if shared and not same:
        raise TokbenchError(f"{path}: shared_codebook is true in the configuration, but the {depth} codebooks differ")
    decay = hparams.get("decay", DECAY)
    if isinstance(decay, (list, tuple)):
        if len(set(decay)) > 1:
            raise TokbenchError(f"{path}: a different decay for each depth, {list(decay)}, is not supported")
        decay = decay[0]
    quantizer = {
        "name": "rq",
        "codebook_size": sizes[0],
        "depth": depth,
        "shared_codebook": shared,
        "decay": float(decay),
        "commitment_weight": float(hparams.get("latent_loss_weight", COMMITMENT)),
        "restart_threshold": 1.0 if hparams.get("restart_unused_codes", True) else 0.0,
    }
    names = {name for name in other if name.startswith(BOOK)}
    return TokenizerPlan(
        config=config_of_weights(tensors, image_size, model, quantizer, path),
        tensors=tensors,
        codebook=books[0] if shared else {key: torch.stack([b[key] for b in books]) for key in books[0]},
        layout=TAMING,
        left_over=sorted(other - names),
    )


def _book(given: dict[str, Tensor], depth: int, path: str) -> dict[str, Tensor]:
    """One depth's codebook without its padding row, and its moving average's sizes and sums."""
    prefix = f"{BOOK}{depth}."
    rows = size(given, prefix + "weight", 0, path) - 1
    found = {"codebook": given[prefix + "weight"][:rows]}
    for ours, theirs in (("cluster_size", "cluster_size_ema"), ("embed_sum", "embed_ema")):
        if size(given, prefix + theirs, 0, path) != rows:
            raise TokbenchError(
                f"{path}: {prefix}{theirs} is {list(given[prefix + theirs].shape)}, which does not go with "
                f"{prefix}weight {list(given[prefix + 'weight'].shape)}: one row less was expected"
            )
        found[ours] = given[prefix + theirs]
    return found


def _check(hparams: dict[str, Any], depth: int, codes: int, model: dict[str, Any], image_size: int, path: str) -> None:
    """What the configuration says about the quantizer, against the weights."""
    require(hparams, path, bottleneck_type="rq")
    n_embed = hparams.get("n_embed")
    if isinstance(n_embed, (list, tuple)):
        agree({"n_embed": n_embed}, {"n_embed": [codes] * depth}, path)
    else:
        agree(hparams, {"n_embed": codes}, path)
    agree(hparams, {"embed_dim": model["code_channels"]}, path)
    shape, latent = hparams.get("code_shape"), hparams.get("latent_shape")
    if shape is not None:
        agree({"code_shape's depth": list(shape)[-1]}, {"code_shape's depth": depth}, path)
    if shape is not None and latent is not None and list(shape)[:2] != list(latent)[:2]:
        raise TokbenchError(
            f"{path}: code_shape {list(shape)} folds positions of latent_shape {list(latent)} together: not supported"
        )


register(Importer("rqvae", recognises, read))
