"""From a plan to a tokenizer with every weight in its place."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tokbench.errors import TokbenchError, printable
from tokbench.models import Tokenizer
from tokbench.models.storage import mismatches

from .importer import Plan
from .report import ImportReport


def fill(plan: Plan, source: str, path: str) -> tuple[Tokenizer, ImportReport]:
    """Build the plan's tokenizer and load it; TokbenchError lists weights missing, left over or of other shapes."""
    with torch.device("meta"):  # no memory before it is known that the weights fit
        shapes = Tokenizer(plan.config).state_dict()
    wanted = {name: tensor for name, tensor in shapes.items() if not name.startswith("quantizer.")}
    problems = mismatches(official_names(wanted, plan), official_names(plan.tensors, plan))
    if problems:
        told = printable("; ".join(problems), 400)
        raise TokbenchError(f"{path}: not the weights of a whole {source} model: {told}")
    tokenizer = Tokenizer(plan.config)
    with torch.no_grad():
        tokenizer.load_state_dict(plan.tensors, strict=False)
    used = len(plan.tensors)
    if plan.codebook:
        fill_codebook(tokenizer.quantizer, plan.codebook, path)
        used += len(plan.codebook)
    report = ImportReport(
        source=source,
        weights=plan.weights,
        loaded=used,
        ignored=plan.ignored,
        left_over=plan.left_over,
        notes=plan.notes,
    )
    return tokenizer.eval(), report


def official_names(tensors: dict[str, Tensor], plan: Plan) -> dict[str, Tensor]:
    """The same tensors by the names they have in the file, for messages."""
    levels = len(plan.config.model.multipliers)  # type: ignore[union-attr]
    return {plan.layout.official(name, levels) or name: tensor for name, tensor in tensors.items()}


def fill_codebook(quantizer: nn.Module, state: dict[str, Tensor], path: str) -> None:
    """Codebook (K, d), or (D, K, d) for separate ones, and its moving average where the file has it."""
    loader: Any = quantizer
    try:
        loader.load_codebook(**{key: tensor.float() for key, tensor in state.items()})
    except ValueError as error:
        raise TokbenchError(f"{path}: {error}") from error
