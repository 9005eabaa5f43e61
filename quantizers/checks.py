"""Checks of arguments and input: each a ValueError in one line that names the value and says what to do."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from quantizers.graphs import is_exporting, is_transformed


def require_tensor(label: str, name: str, value: object) -> None:
    """ValueError unless ``value`` is an ordinary (strided) tensor."""
    if not isinstance(value, Tensor):
        hint = " (torch.from_numpy makes one)" if type(value).__module__ == "numpy" else ""
        raise ValueError(f"{label} takes {name} as a torch.Tensor{hint}, not {type(value).__name__}")
    if value.layout is not torch.strided or value.is_nested:
        raise ValueError(f"{label} takes {name} as a dense tensor, not one of layout {value.layout}")


def require_may_learn(label: str) -> None:
    """ValueError where a training step that changes the module's state is exported or transformed by torch.func."""
    if is_exporting() or (not torch.compiler.is_compiling() and is_transformed()):
        what = "exported" if is_exporting() else "run inside torch.func"
        raise ValueError(f"{label} learns in training mode and cannot be {what} there: call .eval() first")


def raise_unless_finite(z: Tensor, label: str) -> None:
    """ValueError that counts the NaN and Inf in z. One reduction where all is well."""
    if bool(torch.isfinite(z.detach().sum())):
        return
    # A sum of large finite values may overflow too, so count before raising.
    bad = int((~torch.isfinite(z)).sum())
    if bad:
        raise ValueError(
            f"{label} got {bad} NaN or Inf among the {z.numel()} values of z; "
            "find where they arise, or pass check_finite=False"
        )


@torch.library.custom_op("quantizers::finite_flag", mutates_args=())
def finite_flag(z: Tensor, label: str) -> Tensor:
    """A zero that depends on the check having passed; adding it to the codes keeps the check in a compiled graph."""
    raise_unless_finite(z, label)
    return torch.zeros((), dtype=torch.int64, device=z.device)


@finite_flag.register_fake
def _(z: Tensor, label: str) -> Tensor:
    return torch.empty((), dtype=torch.int64, device=z.device)


def require_positive(label: str, **values: int) -> None:
    """ValueError where one of the named sizes is not an integer of at least 1."""
    for key, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{label}: {key} must be an integer of at least 1, not {value!r}")


def require_between(label: str, low: float, high: float, **values: float) -> None:
    """ValueError where one of the named numbers is not within [low, high]."""
    for key, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise ValueError(f"{label}: {key} must be a number from {low:g} to {high:g}, not {value!r}")


def require_choice(label: str, key: str, value: str, choices: Sequence[str]) -> None:
    """ValueError where ``value`` is none of the ``choices``."""
    if value not in choices:
        raise ValueError(f"{label}: {key} must be one of {', '.join(map(repr, choices))}, not {value!r}")


def require_codebook(given: Tensor, own: Tensor) -> None:
    """ValueError unless the code vectors ``given`` have the shape of those they take the place of."""
    if given.shape != own.shape:
        raise ValueError(f"the codebook is {tuple(own.shape)}, not {tuple(given.shape)}")


def require_size_or_bits(name: str, codebook_size: int | None, bits: int | None) -> None:
    """ValueError unless a sweep gives exactly one of the two."""
    if (codebook_size is None) == (bits is None):
        raise ValueError(f"{name} needs either codebook_size or bits")


def require_one_code(name: str, codebook_size: int | None, depth: int | None, bits: int | None) -> None:
    """ValueError where a sweep gives a quantizer with one code a position a depth, or not one vocabulary."""
    if depth not in (None, 1):
        raise ValueError(f"{name} has one code a position: depth {depth} is not possible (rq has depth)")
    require_size_or_bits(name, codebook_size, bits)


def power_of_two_bits(label: str, size: int) -> int:
    """log2 of a codebook size that must be a power of two; ValueError with the nearest one otherwise."""
    require_positive(label, codebook_size=size)
    if size < 2 or size & (size - 1):
        low = 1 << (size.bit_length() - 1)
        nearest = max(2, low if size - low <= 2 * low - size else 2 * low)
        raise ValueError(f"{label} needs a codebook size that is a power of two; {size} is not (nearest {nearest})")
    return size.bit_length() - 1
