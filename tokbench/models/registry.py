"""Architectures by name: ``@architecture("vqgan")`` on a function that builds an encoder and a decoder.

A module in this folder named like the architecture is imported when the name is first asked for, so a new
architecture is one file here and its settings class in ``tokbench.config.model``.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

from torch import nn

from tokbench.config.model import ARCHITECTURES
from tokbench.errors import TokbenchError, did_you_mean

Builder = Callable[[Any, int, int, int], tuple[nn.Module, nn.Module]]
_BUILDERS: dict[str, Builder] = {}


def architecture(name: str) -> Callable[[Builder], Builder]:
    """Register ``build(config, image_size, code_channels, image_channels) -> (encoder, decoder)`` under ``name``.

    The encoder maps images (B, image_channels, H, W) to latents (B, code_channels, H/f, W/f); the decoder maps latents
    back and has ``last_layer``, the weight of its final convolution. A name taken twice is an error.
    """

    def register(builder: Builder) -> Builder:
        if name in _BUILDERS:
            raise ValueError(f"the architecture {name!r} is already registered by {_BUILDERS[name].__module__}")
        _BUILDERS[name] = builder
        return builder

    return register


def builder(name: str) -> Builder:
    """The registered builder of ``name``; TokbenchError when no module of this package registers it."""
    module = f"{__package__}.{name.replace('-', '_')}"
    if name not in _BUILDERS and importlib.util.find_spec(module) is not None:
        importlib.import_module(module)
    if name not in _BUILDERS:
        raise TokbenchError(f"unknown architecture {name!r}{did_you_mean(name, ARCHITECTURES)}")
    return _BUILDERS[name]
