"""LlamaGen's encoder and decoder (arXiv:2406.06525): VQ-GAN's modules, attention at the lowest level only."""

from __future__ import annotations

from tokbench.config.model import LlamaGenConfig

from .registry import architecture
from .vqgan import build

architecture(LlamaGenConfig)(build)
