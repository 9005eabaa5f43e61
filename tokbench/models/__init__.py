"""Encoders, decoders, and the tokenizer they make with a quantizer."""

from __future__ import annotations

from .tokenizer import Tokenizer, TokenizerOutput, pad_to_multiple

__all__ = ["Tokenizer", "TokenizerOutput", "pad_to_multiple"]
