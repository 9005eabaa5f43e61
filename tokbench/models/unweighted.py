"""Tokenizers without weights: to count, and to say what cannot be before training."""

from __future__ import annotations

import functools
from typing import Any

from torch import nn

import quantizers
from tokbench.config.architecture import Architecture
from tokbench.config.model import TokenizerConfig
from tokbench.models.registry import builder
from tokbench.models.tokenizer import Tokenizer
from tokbench.models.weightless import weightless


def unweighted(config: TokenizerConfig) -> Tokenizer:
    """The tokenizer of a configuration on the meta device, the same for all who ask: it is not to be changed.

    The plan of a sweep asks several times for each of its cells, and building one takes a tenth of a second.

    Raises ValueError or TokbenchError for settings that do not go together, and torch's own errors.
    """
    # Other classes under the same names, as a notebook or a test defines them, make another tokenizer.
    name = config.quantizer.name
    quantizer: Any = quantizers.get(name) if name in quantizers.names() else None
    return _unweighted(type(config.model), quantizer, config.model_dump_json())


@functools.lru_cache(maxsize=64)
def _unweighted(model: Any, quantizer: Any, config: str) -> Tokenizer:
    with weightless():
        return _Unweighted(TokenizerConfig.model_validate_json(config))


class _Unweighted(Tokenizer):
    """Its networks are also those of other cells: a sweep over quantizers has the same ones again and again."""

    def _networks(self, config: TokenizerConfig, dim: int) -> tuple[nn.Module, nn.Module]:
        return _networks(type(config.model), config.model.model_dump_json(), config.image_size, dim, config.channels)

    @functools.cached_property
    def parameter_count(self) -> int:
        return super().parameter_count


@functools.lru_cache(maxsize=16)
def _networks(kind: type[Architecture], model: str, *about: Any) -> tuple[nn.Module, nn.Module]:
    settings = kind.model_validate_json(model)
    return builder(settings.architecture)(settings, *about)
