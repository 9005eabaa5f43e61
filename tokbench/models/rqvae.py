"""RQ-VAE's encoder and decoder (arXiv:2203.01941): VQ-GAN's modules, one level deeper (f32)."""

from __future__ import annotations

from tokbench.config.model import RQVAEConfig

from .registry import architecture
from .vqgan import build

architecture(RQVAEConfig)(build)
