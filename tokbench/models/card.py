"""What the model card of a tokenizer says of it, beside what was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokbench.config.architecture import ImageArchitecture
from tokbench.errors import size_text
from tokbench.results.card import Card

if TYPE_CHECKING:
    from .tokenizer import Tokenizer


def tokenizer_card(tokenizer: Tokenizer) -> Card:
    """What a tokenizer knows of itself."""
    config, rate = tokenizer.config, tokenizer.rate()
    options = ", ".join(f"{key} {value}" for key, value in config.quantizer.options.items())
    name, architecture = config.quantizer.name, config.model.architecture
    model, tokens = config.model, "x".join(map(str, rate["tokens"]))
    colour = {1: ", grey", 3: ""}.get(config.channels, f", {config.channels} channels")
    layout = f"(B, {config.channels}, {'H, W' if len(model.factors) == 2 else 'T, H, W'})"
    others = f"; other multiples of {tokenizer.downsampling} work too" if isinstance(model, ImageArchitecture) else ""
    return Card(
        kind="tokenizer",
        title=f"{architecture}-{model.reduction}-{name}",
        about=f"A visual tokenizer: images to codes ({name}) and back, with {architecture}'s encoder and decoder.",
        use="from tokbench.models import Tokenizer\n\n"
        'tokenizer = Tokenizer.from_pretrained("{source}")\n'
        f"codes = tokenizer.encode(images)   # float {layout} in [-1, 1] -> int64 (B, *grid, D)\n"
        "images = tokenizer.decode(codes)",
        facts=[
            ("architecture", architecture),
            ("quantizer", f"{name} ({options})" if options else name),
            ("downsampling", model.reduction.removeprefix("f")),
            ("images", f"{size_text(config.image_size)}{colour}{others}"),
            ("codes", f"{tokens}, vocabularies {', '.join(map(str, rate['codebook_sizes'][:8]))}"),
            ("rate", f"{rate['bits_per_image']:,.0f} bits per image, {rate['bits_per_pixel']:.4g} bits per pixel"),
            ("parameters", f"{tokenizer.parameter_count:,}"),
        ],
        tags=("image-tokenizer", "vector-quantization", architecture, name),
    )
