"""From a plan to a tokenizer with every weight in its place."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from tokbench.errors import TokbenchError, printable
from tokbench.models import Tokenizer
from tokbench.models.fitting import mismatches
from tokbench.models.tokenizer import quantizer_of
from tokbench.models.weightless import Undrawn, weightless

from .importer import TokenizerPlan
from .report import ImportReport
from .weight_sets import Chosen


def fill(plan: TokenizerPlan, source: str, chosen: Chosen, path: str) -> tuple[Tokenizer, ImportReport]:
    """Build the plan's tokenizer and load it; TokbenchError lists weights missing, left over or of other shapes."""
    if not all(map(_sound, [*plan.tensors.values(), *plan.codebook.values()])):
        beside = {f"the quantizer's {key}": tensor for key, tensor in plan.codebook.items()}
        require_sound(official_names(plan.tensors, plan) | beside, path)
    _require_whole(plan, path)
    with weightless():  # no memory before it is known that the weights fit
        empty = Tokenizer(plan.config)
    wanted = {name: tensor for name, tensor in empty.state_dict().items() if not name.startswith("quantizer.")}
    if mismatches(wanted, plan.tensors):
        problems = mismatches(official_names(wanted, plan), official_names(plan.tensors, plan))
        message = printable("; ".join(problems), 400)
        raise TokbenchError(f"{path}: not the weights of a whole {source} model: {message}")
    tokenizer = _with_weights(empty, plan)
    used = len(plan.tensors)
    if plan.codebook:
        fill_codebook(tokenizer.quantizer, plan.codebook, path)
        used += len(plan.codebook)
    report = ImportReport(
        source=source,
        weights=chosen.summary,
        loaded=used,
        ignored=plan.ignored | {"beside the model": chosen.beside},
        left_over=plan.left_over,
        entries=chosen.entries,
        notes=[*plan.notes, *chosen.notes, *_conversions(plan)],
    )
    return tokenizer.eval(), report


def _with_weights(empty: Tokenizer, plan: TokenizerPlan) -> Tokenizer:
    """The plan's tokenizer with the file's own tensors as its networks' weights: nothing is drawn only to be written
    over, and nothing is held twice. ``empty``: on the meta device."""
    tensors = {name: _own(tensor) for name, tensor in plan.tensors.items()}
    empty.load_state_dict(tensors, strict=False, assign=True)
    if any(
        tensor.is_meta for side in (empty.encoder, empty.decoder) for tensor in _held(side)
    ):  # constants of a network
        tokenizer = Tokenizer(plan.config)
        tokenizer.load_state_dict(tensors, strict=False)
        return tokenizer
    # VQ draws nothing but its codebook, which the plan's is written over.
    drawn = [name for name, _ in (*empty.quantizer.named_parameters(), *empty.quantizer.named_buffers())]
    only_codes = "codebook" in plan.codebook and all(name.startswith("codes.") for name in drawn)
    with Undrawn() if only_codes else contextlib.nullcontext():
        empty.quantizer = quantizer_of(plan.config)
    return empty


def _own(tensor: Tensor) -> Tensor:
    """In fp32, and in memory of its own: a part of another tensor would hold all of that."""
    whole = tensor.is_contiguous() and tensor.untyped_storage().nbytes() == tensor.nbytes
    return tensor.float() if whole else tensor.float().contiguous().clone()


def _held(module: nn.Module) -> Iterator[Tensor]:
    """Every tensor in a module, those that are neither parameters nor buffers too."""
    yield from (*module.parameters(), *module.buffers())
    for part in module.modules():
        yield from (value for value in vars(part).values() if isinstance(value, Tensor))


def require_sound(given: dict[str, Tensor], path: str) -> None:
    """TokbenchError that names weights which cannot be right: empty, not floating-point, not finite."""
    for fault, has in _FAULTS.items():
        if names := [name for name, tensor in given.items() if has(tensor)]:
            types = {str(given[name].dtype).removeprefix("torch.") for name in names} if "plain" in fault else ()
            raise TokbenchError(f"{path}: {_few(names)}: {', '.join([*sorted(types), fault])}")


def _require_whole(plan: TokenizerPlan, path: str) -> None:
    """TokbenchError where a part was never filled, or where some of the model's weights have no place."""
    for part in ("encoder.", "decoder.", "codebook"):
        tensors = [t for name, t in (plan.tensors | plan.codebook).items() if name.startswith(part) and t.ndim > 1]
        if tensors and not any(bool(tensor.any()) for tensor in tensors):
            raise TokbenchError(f"{path}: every weight of the {part.rstrip('.')} is zero: it was never filled")
    parts = ("encoder.", "decoder.", "quant", "post_quant")
    if unplaced := [name for name in plan.left_over if name.startswith(parts)]:
        raise TokbenchError(f"{path}: weights of the model that this layout has no place for: {_few(unplaced)}")


def _finite(tensor: Tensor) -> bool:
    """A sum reads the tensor once, a tenth of the time of ``isfinite``, and is finite of nothing else; one that is not
    may have overflowed."""
    return bool(tensor.sum().isfinite()) or bool(tensor.isfinite().all())


def _plain(tensor: Tensor) -> bool:
    types = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
    return tensor.dtype in types and tensor.layout == torch.strided and tensor.device.type != "meta"


_FAULTS: dict[str, Callable[[Tensor], bool]] = {
    "empty": lambda t: not t.numel(),
    "not plain floating-point numbers (quantized, sparse or without values)": lambda t: not _plain(t),
    "not finite": lambda t: not _finite(t),
}


def _sound(tensor: Tensor) -> bool:
    return not any(has(tensor) for has in _FAULTS.values())


def _few(names: list[str]) -> str:
    shown = ", ".join(printable(name, 80) for name in names[:4])
    return f"{shown} and {len(names) - 4} more" if len(names) > 4 else shown


def _conversions(plan: TokenizerPlan) -> list[str]:
    """A line where the file's numbers are of another type than ours."""
    types = {str(tensor.dtype).removeprefix("torch.") for tensor in [*plan.tensors.values(), *plan.codebook.values()]}
    others = sorted(types - {"float32"})
    return [f"the file's numbers are {', '.join(others)}; kept as float32"] if others else []


def official_names(tensors: dict[str, Tensor], plan: TokenizerPlan) -> dict[str, Tensor]:
    """The same tensors by the names they have in the file, for messages."""
    levels = len(plan.config.model.multipliers) if plan.levels is None else plan.levels  # type: ignore[attr-defined]
    return {plan.layout.official(name, levels) or name: tensor for name, tensor in tensors.items()}


def fill_codebook(quantizer: nn.Module, state: dict[str, Tensor], path: str) -> None:
    """Codebook (K, d), or (D, K, d) for separate ones, and its moving average where the file has it."""
    loader: Any = quantizer
    try:
        loader.load_codebook(**{key: tensor.float() for key, tensor in state.items()})
    except ValueError as error:
        raise TokbenchError(f"{path}: {error}") from error
