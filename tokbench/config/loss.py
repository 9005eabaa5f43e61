"""What a tokenizer is trained to minimise."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tokbench.config.base import Strict


class LossConfig(Strict):
    """Reconstruction plus the quantizer's own loss. Pixels are in [-1, 1], means over all elements."""

    reconstruction: Literal["l1", "l2"] = "l2"
    reconstruction_weight: float = Field(1.0, gt=0)
    quantizer_weight: float = Field(1.0, ge=0, description="multiplies the loss the quantizer reports")
