"""VAR's encoder and decoder (arXiv:2404.02905): VQ-GAN's modules, and convolutions of 3x3 to and from the codes.
Infinity's (arXiv:2412.04431) have neither those nor attention."""

from __future__ import annotations

from tokbench.config.model import VARConfig

from .registry import architecture
from .vqgan import build

architecture(VARConfig)(build)
