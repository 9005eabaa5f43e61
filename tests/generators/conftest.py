"""Generators small enough for a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tokbench.config.generator import ARConfig, GeneratorConfig, MLMConfig, PixelSNAILConfig
from tokbench.generators import Generator, build


@pytest.fixture(scope="session")
def make_generator() -> Callable[..., Generator]:
    """``make("ar", shape=(3, 4, 2), vocabulary=(7, 7), classes=5, **settings)``, random weights that are not timid."""

    def make(
        name: str,
        shape: tuple[int, ...] = (3, 4, 2),
        vocabulary: tuple[int, ...] | None = None,
        classes: int = 0,
        **settings: Any,
    ) -> Generator:
        torch.manual_seed(0)
        kind = {"ar": ARConfig, "mlm": MLMConfig, "pixelsnail": PixelSNAILConfig}[name]
        more = {"hidden": 16, "kernel": 3, "blocks": 2, "layers": 1} if name == "pixelsnail" else {}
        values = {"width": 24, "heads": 2, "layers": 2, "input": "learned", **more, **settings}
        generator = kind.model_validate({"class_conditional": classes > 0, **values})
        config = GeneratorConfig(
            generator=generator,
            shape=shape,
            vocabulary=vocabulary or (7,) * shape[-1],
            num_classes=classes,
            code_channels=5 if generator.input == "codes" else None,
        )
        made = build(config)
        with torch.no_grad():
            for parameter in made.parameters():
                if parameter.dim() > 1:
                    parameter.mul_(8.0)
            if generator.input == "codes":
                made.embedding.vectors.normal_()
        return made.eval()

    return make
