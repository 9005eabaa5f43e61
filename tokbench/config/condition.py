"""What a generator is conditioned on, as a configuration. Torch-free; ``tokbench.generators.condition`` computes it."""

from __future__ import annotations

import math

from pydantic import Field, PositiveInt

from tokbench.config.base import CodeShape, Strict
from tokbench.errors import TokbenchError


class ConditionConfig(Strict):
    """What every kind of condition says. A subclass is one kind, its fields what the kind needs to know."""

    dropout: float = Field(0.0, ge=0, lt=1, description="chance that a training sample loses its condition")

    @property
    def places(self) -> int:
        """How many places of the sequence stand before the codes, at least one."""
        raise NotImplementedError

    @property
    def settled(self) -> int:
        """How many positions of the codes themselves, from the first on, the condition gives: they are not drawn."""
        return 0

    @property
    def has_null(self) -> bool:
        """Whether training has seen samples without a condition, so that it may be left out and guided against."""
        return self.dropout > 0

    def describe(self) -> str:
        """For a model card."""
        raise NotImplementedError


class ClassConfig(ConditionConfig):
    """One of ``num_classes`` classes in one place; an unconditional generator is one of no classes."""

    num_classes: int = Field(0, ge=0)

    @property
    def places(self) -> int:
        return 1

    @property
    def has_null(self) -> bool:
        return self.num_classes == 0 or self.dropout > 0

    def describe(self) -> str:
        return f"{self.num_classes} classes" if self.num_classes else "unconditional"


class FramesConfig(ConditionConfig):
    """The codes of a clip's first frames, which stand at their own places: frame prediction. What stands before them
    is the same for all clips."""

    shape: CodeShape = Field(description="(T', H', W', D) of the given codes")
    vocabulary: tuple[PositiveInt, ...] = Field(description="of each depth")

    @property
    def places(self) -> int:
        return 1

    @property
    def settled(self) -> int:
        return math.prod(self.shape[:-1])

    @property
    def has_null(self) -> bool:
        return False

    def describe(self) -> str:
        return f"the first {self.shape[0]} positions in time"


def need_classes(conditional: bool, classes: int, source: str) -> None:
    """TokbenchError for a class-conditional generator of data without labels."""
    if conditional and not classes:
        raise TokbenchError(f"generator.class_conditional: {source} has no class labels")
