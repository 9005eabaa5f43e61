"""Architectures by name: ``@architecture(Settings)`` on a function that builds an encoder and a decoder.

A module in this folder named like the architecture is imported when the name is first asked for, so a new
architecture is one file here: its settings (``tokbench.config.architecture``) and its networks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from tokbench.config.architecture import SETTINGS, Architecture, name_of, settings
from tokbench.config.grid import Size
from tokbench.registry import Registry

Builder = Callable[[Any, Size, int, int], tuple[nn.Module, nn.Module]]
BUILDERS: Registry[Builder] = Registry("architecture", "tokbench.models")


def architecture(kind: type[Architecture]) -> Callable[[Builder], Builder]:
    """Register ``build(settings, size, code_channels, image_channels) -> (encoder, decoder)`` for these settings.

    The encoder maps images (B, image_channels, H, W), or clips (B, image_channels, T, H, W), to latents
    (B, code_channels, *grid); the decoder maps latents back and has ``last_layer``, the weight of its final layer. A
    name taken twice is an error.
    """
    settings(kind)
    return BUILDERS.register(name_of(kind))


def builder(name: str) -> Builder:
    """The registered builder of ``name``; TokbenchError when no module of this package registers it."""
    return BUILDERS.get(name)


def all_settings() -> list[type[Architecture]]:
    """Of every architecture, in the order of their names."""
    return [SETTINGS.get(name) for name in SETTINGS]
