"""Emu3's tokenizer for images: as published (``Emu3VisionVQModel``), or in transformers (``Emu3VQVAE``, alone or as
``model.vqmodel`` of the whole)."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from torch import Tensor

from .checkpoint import section
from .huggingface import agreed
from .importer import Importer, TokenizerPlan, register
from .names import Layout
from .settings import agree, count, image_channels, require, size
from .taming import CODEBOOK
from .tokenizer_config import config_of_weights
from .vqgan_family import attention_at_lowest, attention_levels, rename, widths

COUNTER = ".num_batches_tracked"
SIDE = 512  # of the released model's images


def _side(side: str, stage: str, level: str, time: str, resize: str, resample: str) -> Iterator[tuple[str, str]]:
    """What the encoder and the decoder have both."""
    yield f"{side}.conv_in", f"{side}.stem"
    levels = (f"{side}.{stage}_block.{stage}.{{i}}", f"{side}.levels.{level}")
    yield f"{levels[0]}.block.{{j}}", f"{levels[1]}.blocks.{{j}}"
    yield f"{levels[0]}.attn_norms.{{j}}", f"{levels[1]}.attention.{{j}}.norm"
    yield f"{levels[0]}.attn.{{j}}", f"{levels[1]}.attention.{{j}}"
    yield f"{levels[0]}.{resample}", f"{levels[1]}.resample"
    yield f"{side}.middle_block.attn_norm", f"{side}.middle.1.norm"
    for part, place in (("block_1", 0), ("attn_1", 1), ("block_2", 2)):
        yield f"{side}.middle_block.{part}", f"{side}.middle.{place}"
    yield f"{side}.norm_out", f"{side}.norm"
    yield f"{side}.conv_out", f"{side}.head"
    for conv in ("conv1", "conv2"):
        yield f"{side}.time_res_stack.{{j}}.{conv}.conv", f"{time}.blocks.{{j}}.{conv}"
    yield f"{side}.time_res_stack.{{j}}", f"{time}.blocks.{{j}}"
    yield f"{side}.time_conv.{{j}}.conv.conv", f"{time}.{resize}.{{j}}"


LAYOUT = Layout(
    prefixes=(
        *_side("encoder", "down", "{i}", "encoder.to_code", "halve", "downsample"),
        *_side("decoder", "up", "{-i}", "decoder", "stretch", "upsample"),
        ("quant_conv.conv", "encoder.to_code.out"),
        ("post_quant_conv.conv", "decoder.from_code"),
    ),
    components=(
        ("nin_shortcut", "shortcut"),
        *((f"{part}_proj", part) for part in ("q", "k", "v", "out")),
        ("norm_layer", "norm"),
        ("conv_y", "scale"),
        ("conv_b", "shift"),
    ),
    level=r"encoder\.down_block\.down\.(\d+)\.",
)

_PUBLISHED = {"down_block.down": "down", "up_block.up": "up", "middle_block.attn_norm": "mid.attn_1.norm"}
_PUBLISHED |= {"middle_block": "mid", "attn_norms.{j}": "attn.{j}.norm"}
_SETTINGS = {"ch": "base_channels", "ch_mult": "channel_multiplier", "z_channels": "latent_channels"}


def _published(name: str) -> str:
    for of_transformers, own in _PUBLISHED.items():
        name = name.replace(of_transformers, own)
    return name


PUBLISHED = Layout(
    prefixes=tuple((_published(theirs), ours) for theirs, ours in LAYOUT.prefixes),
    components=(*LAYOUT.components, ("proj_out", "out")),
    level=r"encoder\.down\.(\d+)\.",
)


def recognises(names: Collection[str]) -> bool:
    """By convolutions over time, around an encoder's ``down`` levels."""
    first = "encoder.down_block.down.0.block.0.conv1.weight"
    return {CODEBOOK, "quant_conv.conv.weight"} <= set(names) and bool({first, _published(first)} & set(names))


def read(given: dict[str, Tensor], config: dict[str, Any], path: str) -> TokenizerPlan:
    """A plan from the tensors and ``config.json``, which may be the whole model's."""
    layout = LAYOUT if LAYOUT.levels(given) else PUBLISHED
    if said := section(config, "ch_mult"):
        config = {_SETTINGS.get(key, key): value for key, value in said.items()}
    flat = {name: t[..., None, None] if t.ndim == 2 and "_proj." in name else t for name, t in given.items()}
    counters = sorted(name for name in flat if name.endswith(COUNTER))
    tensors, other = rename({name: t for name, t in flat.items() if name not in counters}, layout, path)
    found = widths(tensors, path, code="to_code.out")
    codes, channels = size(given, CODEBOOK, 0, path), image_channels(tensors, path)
    frames = 2 ** count(tensors, r"encoder\.to_code\.halve\.(\d+)\.")
    said = agreed(config, found, path)
    agree(said, {"codebook_size": codes, "temporal_downsample_factor": frames}, path)
    agree(said, {"in_channels": channels, "out_channels": channels}, path)
    require(said, path, num_attention_heads=1, double_z=False)
    agree(said, {"attn_resolutions": attention_levels(tensors)}, path)
    attention = attention_at_lowest(tensors, path, optional=True)
    model = {"architecture": "emu3", **found, "attention": attention, "frames": frames}
    quantizer = {"name": "vq", "codebook_size": codes, "codebook_update": "gradient"}
    return TokenizerPlan(
        config=config_of_weights(tensors, SIDE, model, quantizer, path),
        tensors=tensors,
        codebook={"codebook": given[CODEBOOK]},
        layout=layout,
        ignored={"counters of batches": counters},
        left_over=sorted(other - {CODEBOOK}),
        notes=["of its tokenizer of videos what images pass: an image is a clip that stands still"],
    )


CLASSES = ("Emu3VisionVQModel", "Emu3VQVAE", "Emu3ForConditionalGeneration", "Emu3Model")
register(Importer("emu3", recognises, read, classes=CLASSES))
