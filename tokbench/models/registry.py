"""Architectures by name: ``@architecture(Settings)`` on a function that builds an encoder and a decoder.

A module in this folder named like the architecture is imported when the name is first asked for, so a new
architecture is one file here: its settings (``tokbench.config.architecture``) and its networks.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from torch import nn

from tokbench.config.architecture import Architecture, known_settings, name_of, settings
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


def all_settings() -> Iterable[type[Architecture]]:
    """Of every architecture that is registered or has a module in this folder, in the order of their names."""
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        importlib.import_module(f"{__package__}.{module.name}")
    return sorted(known_settings(), key=name_of)
