"""TiTok (bytedance/1d-tokenizer ``TiTok``): a folder that ``save_pretrained`` wrote, or a training checkpoint.

Two-stage models say codes of MaskGIT-VQ: the second stage holds that one's decoder, the first wants its file beside its
own. One-stage models make pixels at once. Their networks see images in [0, 1]: the first and the last linear map are
written for [-1, 1] here.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

from torch import Tensor

from tokbench.config.titok_model import SIZES
from tokbench.errors import TokbenchError, printable

from . import maskgit_vq
from .checkpoint import read_checkpoint, read_config, section
from .importer import Importer, TokenizerPlan, register
from .names import Layout, inside
from .settings import agree, count, require, size
from .taming import CODEBOOK
from .tokenizer_config import config_of_weights
from .weight_sets import Contents

TARGETS = f"pixel_{CODEBOOK}"
TARGET_FILE = "maskgit-vqgan-imagenet-f16-256.bin"  # what the official configurations call MaskGIT-VQ's weights
BLOCK = (
    ("ln_1", "norm1"),
    ("attn.in_proj_weight", "attn.qkv.weight"),
    ("attn.in_proj_bias", "attn.qkv.bias"),
    ("attn.out_proj", "attn.proj"),
    ("ln_2", "norm2"),
    ("mlp.c_fc", "mlp.fc1"),
    ("mlp.c_proj", "mlp.fc2"),
)


def _side(side: str) -> tuple[tuple[str, str], ...]:
    """What the encoder and the decoder have both."""
    return (
        *inside(f"{side}.transformer.{{j}}", f"{side}.sequence.blocks.{{j}}", BLOCK),
        (f"{side}.class_embedding", f"{side}.sequence.class_token"),
        (f"{side}.positional_embedding", f"{side}.sequence.positions"),
        (f"{side}.ln_pre", f"{side}.sequence.norm_in"),
        (f"{side}.ln_post", f"{side}.sequence.norm"),
    )


LAYOUT = Layout(
    prefixes=(
        *_side("encoder"),
        *_side("decoder"),
        ("encoder.patch_embed", "encoder.patches"),
        ("encoder.conv_out", "encoder.to_code"),
        ("latent_tokens", "encoder.queries"),
        ("decoder.decoder_embed", "decoder.from_code"),
        ("decoder.latent_token_positional_embedding", "decoder.places"),
        ("decoder.ffn.0", "decoder.head.linear.0"),
        ("decoder.ffn.2", "decoder.head.linear.2"),
        ("decoder.conv_out", "decoder.head.smooth"),
        (TARGETS, "decoder.head.codebook"),
        *maskgit_vq.decoder_names("pixel_decoder", "decoder.head.pixels"),
    ),
    components=maskgit_vq.COMPONENTS,
    level=r"pixel_decoder\.up\.(\d+)\.",
)
PIXELS = Layout(
    prefixes=tuple(
        (theirs, "decoder.head.linear" if theirs == "decoder.ffn.0" else ours) for theirs, ours in LAYOUT.prefixes
    ),
    components=LAYOUT.components,
    level=LAYOUT.level,
)
"""Of models that make pixels at once, whose head is one linear map."""

_NEEDED = (
    *(f"{side}.{name}_embedding" for side in ("encoder", "decoder") for name in ("class", "positional")),
    "encoder.latent_token_positional_embedding",
    "encoder.patch_embed.weight",
    "encoder.patch_embed.bias",
    "encoder.conv_out.weight",
)
_SUMMED = ("encoder.latent_token_positional_embedding", "decoder.mask_token")  # into what they are added to


def recognises(names: Collection[str]) -> bool:
    """By the latent queries beside the decoder's mask token."""
    return {"latent_tokens", "decoder.mask_token", CODEBOOK} <= set(names)


def read(given: dict[str, Tensor], config: dict[str, Any], path: str, tail_drop: bool = False) -> TokenizerPlan:
    """A plan from the weights and ``model.vq_model`` of the configuration; without one the weights do not say all."""
    said = section(config, "num_latent_tokens")
    if not said:
        raise TokbenchError(
            f"{path}: the weights do not show whether codes are compared by direction (use_l2_norm): give the model's "
            "configuration, its config.json or YAML"
        )
    require(said, path, quantize_mode="vq")
    given, notes = _with_targets(given, said, path)
    layout = PIXELS if "decoder.conv_out.weight" in given else LAYOUT
    tensors, other = _renamed(given, layout, path)
    model = _model(given, tensors, said, path)
    model["tail_drop"] = 1.0 if tail_drop or not said.get("strict_length_assertion", True) else 0.0
    quantizer = {
        "name": "vq",
        "codebook_size": size(given, CODEBOOK, 0, path),
        "l2_norm": bool(said.get("use_l2_norm", False)),
        "codebook_update": "gradient",
        "commitment_weight": float(said.get("commitment_cost", 0.25)),
    }
    agree(said, {"codebook_size": quantizer["codebook_size"]}, path)
    side = math.isqrt(len(tensors["encoder.sequence.positions"])) * model["patch_size"]
    agree(section(config, "crop_size"), {"crop_size": side}, path)
    channels = size(given, "encoder.patch_embed.weight", 1, path)
    return TokenizerPlan(
        config=config_of_weights(tensors, side, model, quantizer, path, channels),
        tensors=tensors,
        codebook={"codebook": given[CODEBOOK]},
        layout=layout,
        left_over=sorted(other),
        notes=notes,
        levels=layout.levels(given),
    )


def _renamed(given: dict[str, Tensor], layout: Layout, path: str) -> tuple[dict[str, Tensor], set[str]]:
    """The tensors by our names and in our form, and the names that have no place."""
    head = "decoder.conv_out.bias" if layout is PIXELS else "decoder.ffn.2.weight"
    for name in (*_NEEDED, head):
        size(given, name, 0, path)
    levels = layout.levels(given)
    apart = (CODEBOOK, *_SUMMED)
    tensors, other = layout.split({name: t for name, t in given.items() if name not in apart}, levels)
    for name, tensor in tensors.items():
        if tensor.ndim == 4 and _is_linear(name):
            tensors[name] = tensor[..., 0, 0]
    for side in ("encoder", "decoder"):  # the class token has a place of its own, at the start
        places = tensors[f"{side}.sequence.positions"]
        tensors[f"{side}.sequence.class_token"] = tensors[f"{side}.sequence.class_token"] + places[:1]
        tensors[f"{side}.sequence.positions"] = places[1:]
    tensors["encoder.queries"] = tensors["encoder.queries"] + given[_SUMMED[0]]
    tensors["decoder.sequence.positions"] = tensors["decoder.sequence.positions"] + given[_SUMMED[1]][0]
    _to_our_range(tensors)
    return tensors, other


def _is_linear(ours: str) -> bool:
    return ours.startswith(("encoder.to_code", "decoder.head.linear"))


def _to_our_range(tensors: dict[str, Tensor]) -> None:
    """Images in [-1, 1] for images in [0, 1]: x to (x + 1) / 2 on the way in, y to 2 y - 1 on the way out."""
    weight, bias = "encoder.patches.weight", "encoder.patches.bias"
    tensors[bias] = tensors[bias] + tensors[weight].sum(dim=(1, 2, 3)) / 2
    tensors[weight] = tensors[weight] / 2
    if (last := "decoder.head.smooth") + ".weight" in tensors:
        tensors[last + ".weight"] = tensors[last + ".weight"] * 2
        tensors[last + ".bias"] = tensors[last + ".bias"] * 2 - 1


def _with_targets(given: dict[str, Tensor], said: dict[str, Any], path: str) -> tuple[dict[str, Tensor], list[str]]:
    """Of a first stage also MaskGIT-VQ's codebook and decoder, where its file lies beside; and what to tell."""
    if TARGETS in given or "decoder.conv_out.weight" in given:
        return given, []
    if said.get("finetune_decoder", True):
        raise TokbenchError(f"{path}: a second stage (finetune_decoder) without its {TARGETS} and pixel_decoder")
    name = Path(str(said.get("pretrained_tokenizer_weight") or TARGET_FILE)).name
    file = (Path(path) if Path(path).is_dir() else Path(path).parent) / name
    if not file.is_file():
        note = f"a first stage: it encodes, and gives images only when {printable(name, 80)} lies beside its weights"
        return given, [note]
    found = next(iter(Contents(read_checkpoint(file), str(file)).sets(maskgit_vq.recognises)), None)
    if found is None:
        raise TokbenchError(f"{file}: not MaskGIT-VQ's weights, whose codes this first stage says")
    decoder = {f"pixel_{name}": tensor for name, tensor in found.tensors.items() if name.startswith("decoder.")}
    note = f"a first stage: MaskGIT-VQ's decoder comes from {printable(name, 80)}"
    return {**given, TARGETS: found.tensors[CODEBOOK], **decoder}, [note]


def _model(given: dict[str, Tensor], tensors: dict[str, Tensor], said: dict[str, Any], path: str) -> dict[str, Any]:
    """The model's settings, read off the weights and held against the configuration."""
    tokens = size(tensors, "encoder.queries", 0, path)
    channels, patch = (size(given, "encoder." + name, axis, path) for name, axis in _READ_OFF)
    found = {"num_latent_tokens": tokens, "token_size": channels, "vit_enc_patch_size": patch}
    agree(said, {**found, "vit_dec_patch_size": patch}, path)
    direct = "decoder.conv_out.weight" in given
    agree(said, {"is_legacy": not direct}, path)
    model = {
        "architecture": "titok",
        "tokens": tokens,
        "code_channels": channels,
        "patch_size": patch,
        "encoder": _transformer("enc", tensors, said, path),
        "decoder": _transformer("dec", tensors, said, path),
        "mixed_latents": not direct,
    }
    if direct:
        return model
    head: dict[str, Any] = {"codes": size(tensors, "decoder.head.linear.2.weight", 0, path), "pixels": None}
    if TARGETS in given:
        head["pixels"] = maskgit_vq.decoder_settings(tensors, "decoder.head.pixels.", path)
    stage_2 = said.get("finetune_decoder", True)
    return {**model, "code_head": {**head, "vectors": "mean" if stage_2 else "likeliest"}}


_READ_OFF = (("conv_out.weight", 0), ("patch_embed.weight", 2))


def _transformer(side: str, tensors: dict[str, Tensor], said: dict[str, Any], path: str) -> Any:
    """Of ``enc`` or ``dec``: a size by its name where it is one, else its numbers.

    Heads do not show in the weights: a configuration may give ``{width, layers, heads}`` of a size of its own, in its
    place or under the same key of another JSON file beside the weights.
    """
    ours, key = {"enc": "encoder", "dec": "decoder"}[side], f"vit_{side}_model_size"
    width = size(tensors, f"{ours}.sequence.class_token", 1, path)
    depth = count(tensors, rf"{ours}\.sequence\.blocks\.(\d+)\.")
    name = said.get(key)
    if isinstance(name, str) and name in SIZES:
        wanted = SIZES[name]
        agree({key: [wanted.width, wanted.depth]}, {key: [width, depth]}, path)
        return name
    own = name if isinstance(name, dict) else _own_size(key, path)
    agree(own, {"width": width, "layers": depth}, path)
    if "heads" not in own:
        raise TokbenchError(
            f"{path}: {key} is {name!r}, not {', '.join(SIZES)}: the weights do not show its heads; give width, layers "
            "and heads in its place"
        )
    return {"width": width, "depth": depth, "heads": own["heads"]}


def _own_size(key: str, path: str) -> dict[str, Any]:
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    for file in sorted(folder.glob("*.json")):
        if isinstance(found := section(read_config(file), key).get(key), dict):
            return found
    return {}


register(Importer("titok", recognises, read))
