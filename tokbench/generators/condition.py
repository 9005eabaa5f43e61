"""What stands before the codes: a class, or whatever else a generator is conditioned on.

A condition is a tensor with one entry a sample, (n, ...): class ids (n,), a stack of another tokenizer's codes, the
tokens of a text. Generators, tasks and coders pass it on and never look into it; what its values mean, only the
``Condition`` of their kind knows. The transformer reads its N vectors at the first N places of the sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from tokbench.config.condition import ClassConfig, ConditionConfig, FramesConfig
from tokbench.errors import TokbenchError, shown
from tokbench.generators.noise import place_keys, uniform
from tokbench.generators.window import Slide

Given = Tensor | Sequence[int] | int | Sequence[str] | None
"""A condition as a user gives it: one for all samples or one each; None for none. A text is one as it is."""

_DROPPED = -1  # the place, beside those of the codes, whose noise drops a condition


class Condition(nn.Module):
    """Base class. A subclass is one kind; it sets ``config`` and defines the first five methods."""

    config: ConditionConfig

    def check(self, given: Given, n: int) -> Tensor:
        """What was given, as one entry for each of n samples, (n, ...) on this module's device.

        Raises:
            TokbenchError: values that are not a condition of this kind, a number of them that is neither 1 nor n, or
                none where there is no null.
        """
        raise NotImplementedError

    def check_map(self, given: Given, n: int, slide: Slide) -> Tensor:
        """As ``check``, where a window slides over a larger map; a condition that is a map is one of all of it."""
        return self.check(given, n)

    def within(self, condition: Tensor, start: tuple[int, int], slide: Slide) -> Tensor:
        """Of what ``check_map`` gives, the condition of the window that starts at this row and column."""
        return condition

    def null(self, n: int) -> Tensor:
        """(n, ...): what stands for "no condition"; ``check`` takes it where there is one."""
        raise NotImplementedError

    def forward(self, condition: Tensor) -> Tensor:
        """Checked conditions (B, ...) -> what stands before the codes, (B, N, width)."""
        raise NotImplementedError

    def of(self, batch: Any) -> Tensor:
        """The conditions (B, ...) of a batch of data samples: a sample is a signal, its generator codes (``codes``,
        int64 (B, *grid, D)) and what goes with it; in training also a key (``keys``, int64 (B,)) to draw from."""
        raise NotImplementedError

    def ask(self, images: Any) -> None:
        """Have a source of images give its samples what ``of`` needs. TokbenchError where it has none of that."""

    def settled(self, condition: Tensor) -> Tensor | None:
        """Checked conditions (n, ...) -> the codes (n, ``config.settled``, D) of the first positions, which they give;
        None for a kind that gives none."""
        return None

    def shown(self, condition: Tensor) -> Tensor | None:
        """Which of its places checked conditions (B, ...) let the others attend to, bool (B, N); None: all, as most
        kinds do. The first always."""
        return None

    @property
    def usual(self) -> Tensor:
        """(m, ...): what is drawn in turn where nobody says; of classes each of them. Empty where somebody must."""
        raise NotImplementedError

    def usual_map(self, slide: Slide) -> Tensor:
        """The same as ``check_map`` gives it."""
        return self.usual

    def check_guidance(self, condition: Tensor) -> None:
        """TokbenchError where checked conditions cannot be guided."""
        if not self.config.has_null:
            raise TokbenchError("guidance needs a generator trained with a dropout of its condition; this one was not")

    def with_loss(self, loss: Tensor, outputs: Tensor, condition: Tensor) -> Tensor:
        """The training loss of a causal generator, from that of its codes and the outputs (B, N - 1, width) at all
        places of the conditions (B, ...) but the last, whose output is about the codes. Most kinds add nothing."""
        return loss

    def drop(self, condition: Tensor, keys: Tensor) -> Tensor:
        """Training conditions (B, ...), some of them turned into the null, as their keys (B,) say."""
        if not self.training or not self.config.dropout:
            return condition
        lost = uniform(place_keys(keys, _DROPPED)) < self.config.dropout
        return torch.where(lost.view(-1, *[1] * (condition.dim() - 1)), self.null(len(condition)), condition)


Kind = TypeVar("Kind", bound=type[Condition])
_KINDS: dict[type[ConditionConfig], Callable[[Any, int], Condition]] = {}


def condition_of(config: type[ConditionConfig]) -> Callable[[Kind], Kind]:
    """Class decorator: what a configuration of this type builds, called with it and the transformer's width."""

    def register(kind: Kind) -> Kind:
        _KINDS[config] = kind
        return kind

    return register


def build_condition(config: ConditionConfig, width: int) -> Condition:
    """The condition of a configuration, with random weights."""
    return _KINDS[type(config)](config, width)


@condition_of(ClassConfig)
class ClassCondition(nn.Embedding, Condition):
    """Class ids int64 (n,), -1 for none: a row for each class and, where there is a null, one more for it."""

    config: ClassConfig

    def __init__(self, config: ClassConfig, width: int) -> None:
        super().__init__(config.num_classes + config.has_null, width)
        self.config = config

    def check(self, given: Given, n: int) -> Tensor:
        if given is None:
            self._check_range(-1, -1)
            return self.null(n)
        labels = _class_ids(given).reshape(-1).to(self.weight.device)
        labels = labels.expand(n) if labels.numel() == 1 else labels
        if labels.shape != (n,):
            raise TokbenchError(f"{labels.numel()} labels for {n} images")
        if not torch.compiler.is_compiling():  # a look at the values would break the graph
            self._check_range(int(labels.min()), int(labels.max()))
        return labels

    def _check_range(self, low: int, high: int) -> None:
        count = self.config.num_classes
        if count == 0 and (low, high) != (-1, -1):
            raise TokbenchError("a class was asked for, but the generator is unconditional")
        if high >= count or low < -1:
            wrong = high if high >= count else low
            raise TokbenchError(f"class {wrong} does not exist: the generator knows 0 to {count - 1}")
        if low < 0 and not self.config.has_null:
            raise TokbenchError(f"the generator needs a class, 0 to {count - 1}: it was trained with class_dropout 0")

    def null(self, n: int) -> Tensor:
        return torch.full((n,), -1, dtype=torch.int64, device=self.weight.device)

    def forward(self, condition: Tensor) -> Tensor:
        return super().forward(torch.where(condition < 0, self.num_embeddings - 1, condition))[:, None]

    def of(self, batch: Any) -> Tensor:
        labels: Tensor = batch["label"]
        if not self.config.num_classes:  # labels that the data have all the same
            return self.null(len(labels))
        return labels.to(self.weight.device, non_blocking=True)

    @property
    def usual(self) -> Tensor:
        count = self.config.num_classes
        return torch.arange(count, device=self.weight.device) if count else self.null(1)

    def check_guidance(self, condition: Tensor) -> None:
        if not self.config.num_classes:
            raise TokbenchError("guidance needs a class-conditional generator; this one is unconditional")
        if not self.config.has_null:
            raise TokbenchError("guidance needs a generator trained with class_dropout above 0; this one was not")
        if bool((condition < 0).any()):
            raise TokbenchError("guidance needs a class for every image")


@condition_of(FramesConfig)
class FramesCondition(nn.Embedding, Condition):
    """The first codes int64 (n, T', H', W', D) of every clip. The codes that follow stand beside them in the sequence,
    so nothing is computed of them here: the one row stands where others have a class."""

    config: FramesConfig

    def __init__(self, config: FramesConfig, width: int) -> None:
        super().__init__(1, width)
        self.config = config

    def check(self, given: Given, n: int) -> Tensor:
        shape, device = self.config.shape, self.weight.device
        if not isinstance(given, Tensor):
            raise TokbenchError("the generator continues given frames, and none were given: give a clip (--given)")
        codes = given.to(device)
        if codes.dtype != torch.int64 or tuple(codes.shape[1:]) != shape or len(codes) not in (1, n):
            raise TokbenchError(
                f"given frames are codes int64 ({n}, {', '.join(map(str, shape))}), got {codes.dtype} "
                f"({', '.join(map(str, codes.shape))})"
            )
        if not torch.compiler.is_compiling():  # a look at the values would break the graph
            beyond = (codes < 0) | (codes >= torch.tensor(self.config.vocabulary, device=device))
            if bool(beyond.any()):
                raise TokbenchError("given frames have codes outside the vocabulary: they are of another tokenizer")
        return codes.expand(n, *shape)

    def null(self, n: int) -> Tensor:
        raise TokbenchError("the generator continues given frames; without them it draws nothing")

    def forward(self, condition: Tensor) -> Tensor:
        return super().forward(condition.new_zeros(len(condition), 1))

    def of(self, batch: Any) -> Tensor:
        codes: Tensor = batch["codes"]
        return codes[:, : self.config.shape[0]]

    def settled(self, condition: Tensor) -> Tensor:
        return condition.flatten(1, -2)

    @property
    def usual(self) -> Tensor:
        return torch.zeros(0, *self.config.shape, dtype=torch.int64, device=self.weight.device)


def _class_ids(given: Given) -> Tensor:
    """int64, of any shape. Raises TokbenchError for what is not a whole number: a name, a share, true and false."""
    try:
        labels = torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError):
        raise TokbenchError(f"{shown(given)} is not a class id, nor one for each image") from None
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise TokbenchError(f"class ids are whole numbers, not {shown(given)}")
    return labels.to(torch.int64)
