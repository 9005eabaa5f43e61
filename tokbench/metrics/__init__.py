"""Metrics under one protocol: each declared once, one per file, several in one pass over the images.

``names()`` lists them, ``get(name)`` gives one, ``evaluate_tokenizer`` measures a tokenizer, ``evaluate_images``
generated images. Per-image functions (``psnr``, ``ssim``) are in the module of their name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokbench.metrics.evaluation import Evaluation, evaluate_tokenizer
    from tokbench.metrics.generated import evaluate_images
    from tokbench.metrics.record import tokenizer_record
    from tokbench.metrics.registry import get, names, register

# Loaded at first use: the package is imported from the command line's help, which must not wait for torch.
_HOME = {
    "Evaluation": "evaluation",
    "evaluate_tokenizer": "evaluation",
    "evaluate_images": "generated",
    "tokenizer_record": "record",
    "get": "registry",
    "names": "registry",
    "register": "registry",
}
__all__ = ["Evaluation", "evaluate_images", "evaluate_tokenizer", "get", "names", "register", "tokenizer_record"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
