"""Open-MAGVIT2 (TencentARC/SEED-Voken ``Open_MAGVIT2``): a Lightning ``state_dict`` with live and EMA weights.

EMA copies are named ``model_ema.`` plus the live name without its dots, and evaluation uses them. The quantizer is
lookup-free (bit i of a code is channel i, least significant first) and has no weights.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import Tensor

from tokbench.errors import TokbenchError

from .checkpoint import section, tensors_of
from .importer import Importer, Plan, Weights, register
from .names import Layout
from .settings import agree, count, pyramid, require, size
from .tokenizer_config import checked_config
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

EMA = "model_ema."
# What their LFQ and its loss use where the configuration does not say (lossconfig of the released 256 model).
COMMITMENT, ENTROPY, TEMPERATURE, LOG_EPSILON = 0.25, 0.1, 0.01, 1e-5


def recognises(names: Collection[str]) -> bool:
    """By the decoder's adaptive GroupNorm."""
    return "decoder.adaptive.0.gamma.weight" in names


def choose_weights(given: dict[str, Tensor], path: str, weights: Weights) -> tuple[str, dict[str, Tensor]]:
    """("live" or "EMA", live name -> tensor). EMA where there is any, unless told otherwise."""
    live = {k: v for k, v in given.items() if k.startswith(("encoder.", "decoder."))}
    has_ema = any(name.startswith(EMA) for name in given)
    if weights == "live" or (weights == "auto" and not has_ema):
        return "live", live
    if not has_ema:
        raise TokbenchError(f"{path}: EMA weights were asked for, and the file has none ({EMA}*)")
    missing = [name for name in live if EMA + name.replace(".", "") not in given]
    if missing:
        raise TokbenchError(f"{path}: no EMA copy of {', '.join(missing[:4])}{', ...' if len(missing) > 4 else ''}")
    return "EMA", {name: given[EMA + name.replace(".", "")] for name in live}


def read(content: dict[str, Any], config: dict[str, Any], path: str, weights: Weights) -> Plan:
    """A plan from a Lightning checkpoint and its LightningCLI YAML (``model.init_args``)."""
    entry, given = tensors_of(content, path, "state_dict")
    kind, chosen = choose_weights(given, path, weights)
    tensors, unknown = rename(chosen, LAYOUT, path)
    said = section(config, "ddconfig")
    ddconfig = said.get("ddconfig", {})
    found = pyramid(tensors, path, "encoder.levels.{i}.{j}")
    bits = size(tensors, "encoder.head.weight", 0, path)
    shown = {"ch": found["channels"], "ch_mult": found["multipliers"], "num_res_blocks": found["blocks"]}
    agree(ddconfig, {**shown, "z_channels": bits, "in_channels": 3, "out_ch": 3}, path)
    agree({"middle blocks": count(tensors, r"encoder\.middle\.(\d+)\.")}, {"middle blocks": found["blocks"]}, path)
    agree(said, {"embed_dim": bits, "n_embed": 2**bits}, path)
    require(said, path, token_factorization=False)
    loss = section(said, "commit_weight")
    sample, batch = (float(said.get(key, 1.0)) for key in ("sample_minimization_weight", "batch_maximization_weight"))
    if not sample:
        raise TokbenchError(f"{path}: sample_minimization_weight 0 is not supported")
    quantizer = {
        "name": "lfq",
        "codebook_size": 2**bits,
        "temperature": TEMPERATURE,
        "commitment_weight": float(loss.get("commit_weight", COMMITMENT)),
        "entropy_weight": float(loss.get("codebook_weight", ENTROPY)) * sample,
        "diversity_weight": batch / sample,
        "entropy_anneal_steps": 0,  # these weights are past it
        "log_eps": LOG_EPSILON,
    }
    model = {"architecture": "magvit2", **found, "code_channels": bits}
    used = set(chosen) if kind == "live" else {EMA + name.replace(".", "") for name in chosen}
    rest = sorted(set(given) - used - unknown)
    ignored = {
        "the other set of weights": [n for n in rest if n.startswith((EMA, "encoder.", "decoder."))],
        "losses and discriminator": [n for n in rest if n.startswith("loss.")],
    }
    return Plan(
        config=checked_config(int(ddconfig.get("resolution") or 256), model, quantizer, path),
        weights=f"{entry} ({kind})",
        tensors=tensors,
        codebook={},
        layout=LAYOUT,
        ignored={reason: names for reason, names in ignored.items() if names},
        left_over=sorted(unknown | {n for n in rest if not n.startswith((EMA, "encoder.", "decoder.", "loss."))}),
    )


register(Importer("open-magvit2", recognises, read))
