"""Open-MAGVIT2 (TencentARC/SEED-Voken ``Open_MAGVIT2``): a Lightning ``state_dict`` with live and EMA weights.

Evaluation uses the EMA ones. The quantizer is lookup-free (bit i of a code is channel i, least significant first) and
has no weights.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import Tensor

from tokbench.errors import TokbenchError

from . import gigatok
from .checkpoint import section
from .importer import Importer, TokenizerPlan, register
from .names import Layout
from .settings import agree, count, image_channels, pyramid, require, size
from .tokenizer_config import config_of_weights
from .vqgan_family import rename

LAYOUT = Layout(
    prefixes=(
        ("encoder.conv_in", "encoder.stem"),
        ("encoder.down.{i}.block.{j}", "encoder.levels.{i}.{j}"),
        ("encoder.down.{i}.downsample", "encoder.down.{i}"),
        ("encoder.mid_block.{j}", "encoder.middle.{j}"),
        ("encoder.norm_out", "encoder.norm"),
        ("encoder.conv_out", "encoder.head"),
        ("decoder.conv_in", "decoder.stem"),
        ("decoder.mid_block.{j}", "decoder.middle.{j}"),
        ("decoder.up.{i}.block.{j}", "decoder.levels.{-i}.{j}"),
        ("decoder.up.{i}.upsample.conv1", "decoder.up.{-i}.conv"),
        ("decoder.adaptive.{i}.gamma", "decoder.adaptive.{-i}.scale"),
        ("decoder.adaptive.{i}.beta", "decoder.adaptive.{-i}.shift"),
        ("decoder.norm_out", "decoder.norm"),
        ("decoder.conv_out", "decoder.head"),
    ),
    components=(("nin_shortcut", "shortcut"),),
    level=r"encoder\.down\.(\d+)\.",
)

# What their LFQ and its loss use where the configuration does not say (lossconfig of the released 256 model).
COMMITMENT, ENTROPY, TEMPERATURE, LOG_EPSILON = 0.25, 0.1, 0.01, 1e-5


def recognises(names: Collection[str]) -> bool:
    """By the decoder's adaptive GroupNorm beside 2D convolutions, not the 3D ones of its video form."""
    ours = "decoder.adaptive.0.gamma.weight" in names and "encoder.conv_in.conv_1.weight" not in names
    return ours and not gigatok.recognises(names)


def read(given: dict[str, Tensor], config: dict[str, Any], path: str) -> TokenizerPlan:
    """A plan from a Lightning checkpoint and its LightningCLI YAML (``model.init_args``)."""
    tensors, other = rename(given, LAYOUT, path)
    ddconfig = section(config, "ddconfig").get("ddconfig", {})
    found = pyramid(tensors, path, "encoder.levels.{i}.{j}")
    bits = size(tensors, "encoder.head.weight", 0, path)
    channels = image_channels(tensors, path)
    shown = {"ch": found["channels"], "ch_mult": found["multipliers"], "num_res_blocks": found["blocks"]}
    agree(ddconfig, {**shown, "z_channels": bits, "in_channels": channels, "out_ch": channels}, path)
    agree({"middle blocks": count(tensors, r"encoder\.middle\.(\d+)\.")}, {"middle blocks": found["blocks"]}, path)
    quantizer = lookup_free(config, bits, path)
    model = {"architecture": "magvit2", **found, "code_channels": bits}
    losses = sorted(name for name in other if name.startswith("loss."))
    return TokenizerPlan(
        config=config_of_weights(tensors, int(ddconfig.get("resolution") or 256), model, quantizer, path),
        tensors=tensors,
        codebook={},
        layout=LAYOUT,
        ignored={"losses and discriminator": losses},
        left_over=sorted(other - set(losses)),
    )


def lookup_free(config: dict[str, Any], bits: int, path: str) -> dict[str, Any]:
    """The quantizer, with the weights of its losses that a LightningCLI YAML gives."""
    said, loss = section(config, "n_embed"), section(config, "commit_weight")
    groups = int(said.get("num_codebooks") or 1)
    if groups < 1 or bits % groups:
        raise TokbenchError(f"{path}: num_codebooks {groups} does not divide the latents' {bits} channels")
    agree(said, {"embed_dim": bits, "n_embed": 2 ** (bits // groups)}, path)
    require(said, path, token_factorization=False)
    sample, batch = (float(said.get(key, 1.0)) for key in ("sample_minimization_weight", "batch_maximization_weight"))
    if not sample:
        raise TokbenchError(f"{path}: sample_minimization_weight 0 is not supported")
    kind = {"name": "gfq", "groups": groups} if groups > 1 else {"name": "lfq", "entropy_anneal_steps": 0}  # past it
    return {
        **kind,
        "codebook_size": 2 ** (bits // groups),
        "temperature": TEMPERATURE,
        "commitment_weight": float(loss.get("commit_weight", COMMITMENT)),
        "entropy_weight": float(loss.get("codebook_weight", ENTROPY)) * sample,
        "diversity_weight": batch / sample,
        "log_eps": LOG_EPSILON,
    }


register(Importer("open-magvit2", recognises, read, evaluates="ema", classes=("VQModel",)))
