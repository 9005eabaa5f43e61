"""What the model card of a generator says of it, beside what was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokbench.errors import size_text
from tokbench.results.card import Card

if TYPE_CHECKING:
    from tokbench.generators.base import Generator


def generator_card(generator: Generator) -> Card:
    """What a generator knows of itself."""
    config, model = generator.config, generator.config.generator
    shape = size_text(config.shape)
    words = {
        "ar": "autoregressive, code by code",
        "mlm": "by masked modelling, many codes per step",
        "var": "scale by scale, one pass each",
        "pixelsnail": "autoregressive by causal convolutions and attention",
    }[model.name]
    facts = [
        ("model", f"{model.name}: {words}"),
        ("codes", f"{shape}, vocabularies {', '.join(map(str, config.vocabulary[:8]))}"),
        ("condition", config.condition.describe()),
        ("width, layers, heads", f"{model.width}, {model.layers}, {model.heads}"),
        ("parameters", f"{sum(p.numel() for p in generator.parameters()):,}"),
    ]
    if config.tokenizer is not None:
        facts.append(("its tokenizer", f"weights with SHA-256 {config.tokenizer.sha256 or 'not known'}"))
        facts.append(("images", size_text(config.tokenizer.image_size)))
    return Card(
        kind="generator",
        title=f"{model.name}-{shape}",
        about="A generator of images: it draws the codes of a visual tokenizer, which decodes them.",
        use="from tokbench.generators.pipeline import Pipeline\n\n"
        'pipeline = Pipeline.load("{source}", tokenizer="FOLDER OF ITS TOKENIZER")\n'
        "images = pipeline.decode(pipeline.generator.generate(4, seed=0))   # uint8 (4, C, S, S)",
        facts=facts,
        tags=("image-generation", model.name),
    )
