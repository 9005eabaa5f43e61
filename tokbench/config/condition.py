"""What a generator is conditioned on, as a configuration. Torch-free; ``tokbench.generators.condition`` computes it."""

from __future__ import annotations

from pydantic import Field

from tokbench.config.base import Strict
from tokbench.errors import TokbenchError


class ConditionConfig(Strict):
    """What every kind of condition says. A subclass is one kind, its fields what the kind needs to know."""

    dropout: float = Field(0.0, ge=0, lt=1, description="chance that a training sample loses its condition")

    @property
    def places(self) -> int:
        """How many places of the sequence stand before the codes, at least one."""
        raise NotImplementedError

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


def need_classes(conditional: bool, classes: int, source: str) -> None:
    """TokbenchError for a class-conditional generator of data without labels."""
    if conditional and not classes:
        raise TokbenchError(f"generator.class_conditional: {source} has no class labels")
