"""diffusers' ``VQModel`` (Kandinsky 2's MoVQ, latent-diffusion's, aMUSEd's): a folder with ``config.json`` and weights.

With ``norm_type: spatial`` the norms of the decoder are modulated by the codes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from torch import Tensor

from tokbench.errors import TokbenchError, printable

from .checkpoint import section
from .importer import Importer, TokenizerPlan, register
from .names import Layout
from .settings import agree, image_channels, require, size
from .taming import CODEBOOK, quantizer_of
from .tokenizer_config import config_of_weights
from .vqgan_family import attention_levels, middle_attention, rename, widths

_NORM = "conv_norm_out.norm_layer.weight"  # of a decoder with spatial norms


def _side(official: str, ours: str, stage: str, resample: str, norm: str) -> Iterator[tuple[str, str]]:
    """What the encoder and the decoder have both; ``norm`` is the attention's."""
    yield f"{official}.conv_in", f"{ours}.stem"
    yield f"{official}.mid_block.resnets.0", f"{ours}.middle.0"
    yield f"{official}.mid_block.resnets.1", f"{ours}.middle.2"
    levels = (f"{official}.{stage}_blocks.{{i}}.attentions.{{j}}", f"{ours}.levels.{{i}}.attention.{{j}}")
    for theirs, own in ((f"{official}.mid_block.attentions.0", f"{ours}.middle.1"), levels):
        yield f"{theirs}.to_out.0", f"{own}.out"
        yield f"{theirs}.{norm}", f"{own}.norm"
        yield theirs, own
    yield f"{official}.{stage}_blocks.{{i}}.resnets.{{j}}", f"{ours}.levels.{{i}}.blocks.{{j}}"
    yield f"{official}.{stage}_blocks.{{i}}.{resample}.0", f"{ours}.levels.{{i}}.resample"
    yield f"{official}.conv_norm_out", f"{ours}.norm"
    yield f"{official}.conv_out", f"{ours}.head"


def _layout(norm: str) -> Layout:
    """``norm``: of the attention in the decoder."""
    return Layout(
        prefixes=(
            *_side("encoder", "encoder", "down", "downsamplers", "group_norm"),
            *_side("decoder", "decoder", "up", "upsamplers", norm),
            ("quant_conv", "encoder.to_code"),
            ("post_quant_conv", "decoder.from_code"),
        ),
        components=(
            ("conv_shortcut", "shortcut"),
            ("norm_layer", "norm"),
            ("conv_y", "scale"),
            ("conv_b", "shift"),
            # of older files, then of newer ones
            ("query", "q"),
            ("key", "k"),
            ("value", "v"),
            ("proj_attn", "out"),
            ("to_q", "q"),
            ("to_k", "k"),
            ("to_v", "v"),
        ),
        level=r"encoder\.down_blocks\.(\d+)\.",
    )


LAYOUT, SPATIAL = _layout("group_norm"), _layout("spatial_norm")


def recognises(names: Collection[str]) -> bool:
    """By the encoder's ``down_blocks`` of ``resnets`` beside one plain codebook."""
    return CODEBOOK in names and "encoder.down_blocks.0.resnets.0.conv1.weight" in names


def read(given: dict[str, Tensor], config: dict[str, Any], path: str) -> TokenizerPlan:
    """A plan from the weights and ``config.json``."""
    flat = {name: t[..., None, None] if t.ndim == 2 and ".attentions." in name else t for name, t in given.items()}
    spatial = f"decoder.{_NORM}" in given
    layout = SPATIAL if spatial else LAYOUT
    tensors, other = rename(flat, layout, path)
    said = section(config, "block_out_channels")
    found = widths(tensors, path)
    codes, channels = size(given, CODEBOOK, 0, path), image_channels(tensors, path)
    sizes = [found["channels"] * m for m in found["multipliers"]]
    shown = {"block_out_channels": sizes, "layers_per_block": found["blocks"]}
    shown |= {"latent_channels": found["latent_channels"], "vq_embed_dim": found["code_channels"]}
    shown |= {"num_vq_embeddings": codes, "in_channels": channels, "out_channels": channels}
    agree(said, shown, path)
    groups = _checked(said, spatial, sizes, path)
    levels = attention_levels(tensors)
    factor = 2 ** (len(sizes) - 1)
    side = int(said.get("sample_size") or 256)
    side = side if side % factor == 0 else 256
    model = {
        "architecture": "movq" if spatial else "vqgan",
        **found,
        "norm_groups": groups,
        "attention_resolutions": [side // 2**level for level in levels],
        "middle_attention": middle_attention(tensors),
    }
    return TokenizerPlan(
        config=config_of_weights(tensors, side, model, quantizer_of(codes), path),
        tensors=tensors,
        codebook={"codebook": given[CODEBOOK]},
        layout=layout,
        left_over=sorted(other - {CODEBOOK}),
    )


def _checked(said: dict[str, Any], spatial: bool, widths: list[int], path: str) -> int:
    """The groups of the norms; TokbenchError for what our networks have not."""
    require(said, path, act_fn="silu")
    agree(said, {"norm_type": "spatial" if spatial else "group"}, path)
    down, up = said.get("down_block_types") or [], said.get("up_block_types") or []
    known = {"DownEncoderBlock2D", "AttnDownEncoderBlock2D", "UpDecoderBlock2D", "AttnUpDecoderBlock2D"}
    if others := sorted(set(map(str, [*down, *up])) - known):
        message = printable(", ".join(others), 120)
        raise TokbenchError(f"{path}: blocks of type {message} are not supported, only {', '.join(sorted(known))}")
    if down and up and [t.startswith("Attn") for t in down] != [t.startswith("Attn") for t in reversed(up)]:
        raise TokbenchError(f"{path}: attention at other levels of the decoder than of the encoder: {down}, {up}")
    groups = int(said.get("norm_num_groups", 32))
    if groups < 1 or any(width % groups for width in widths):
        raise TokbenchError(
            f"{path}: {groups} groups of a norm do not divide channels {widths}; the weights do not show their number: "
            "give the model's config.json"
        )
    if spatial and groups != 32:
        raise TokbenchError(f"{path}: norm_num_groups {groups} beside spatial norms, which have 32 groups")
    return groups


register(Importer("diffusers", recognises, read, classes=("VQModel",)))
