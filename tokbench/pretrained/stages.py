"""The tokenizers that lie in a generator's own file: taming keeps its first stage and its condition's beside it."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from tokbench.models import Tokenizer

from .filling import fill
from .importer import choose
from .weight_sets import Contents


def tokenizer_in(everything: dict[str, Tensor], prefix: str, config: Any, path: str) -> Tokenizer | None:
    """The tokenizer whose weights stand behind ``prefix``, in evaluation mode; None where there are none.

    Args:
        config: its part of the file's configuration, a ``target`` with ``params``.

    Raises:
        TokbenchError: as ``tokbench.pretrained.load``.
    """
    inner = {name.removeprefix(prefix): tensor for name, tensor in everything.items() if name.startswith(prefix)}
    if not inner:
        return None
    contents, settings = Contents(inner, f"{path}, {prefix.rstrip('.')}"), config if isinstance(config, dict) else {}
    importer, _ = choose(None, contents, settings)
    chosen = contents.choose(importer.recognises, "auto", importer.evaluates)
    return fill(importer.read(chosen.weights.tensors, settings, contents.path), importer.name, chosen, contents.path)[0]
