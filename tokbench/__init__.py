"""tokbench: the comparative toolkit for visual tokenizers."""

__version__ = "0.1.0"
