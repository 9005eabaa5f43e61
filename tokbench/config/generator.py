"""Stage 2: what a generator is made of and how it is trained on a tokenizer's codes. Torch-free.

``config.json`` beside a generator's weights is a :class:`GeneratorConfig` and nothing else.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, model_validator

from tokbench.config.base import CodeShape, Grown, Name, Strict
from tokbench.config.condition import (
    ClassConfig,
    CodesConfig,
    CodesSettings,
    ConditionConfig,
    FramesConfig,
    TextConfig,
    TokenizerRef,
    partner_of,
)
from tokbench.config.data import DataConfig
from tokbench.config.generator_evaluation import GeneratorEvaluationConfig
from tokbench.config.generator_model import (
    SIZES,
    ARConfig,
    GeneratorModel,
    MLMConfig,
    PixelSNAILConfig,
    VARGeneratorConfig,
)
from tokbench.config.model import QuantizerConfig
from tokbench.config.training import TrainingConfig
from tokbench.errors import size_text

__all__ = [
    "SIZES",
    "ARConfig",
    "GeneratorConfig",
    "GeneratorEvaluationConfig",
    "GeneratorModel",
    "GeneratorRecipe",
    "MLMConfig",
    "PixelSNAILConfig",
    "VARGeneratorConfig",
]

_ONE_HOT = 4096  # codes of all depths together that are read as a channel each: a table of 64 MB
_ROWS = 2**24  # codes of a depth that may have a row each, in a table or a classifier: more do not fit in memory


class GeneratorConfig(Grown):
    """A generator, and the code stack it models: ``shape`` (*grid, D) with a vocabulary for each depth."""

    generator: GeneratorModel
    shape: CodeShape
    vocabulary: Annotated[tuple[PositiveInt, ...], Field(max_length=1000)]
    num_classes: int = Field(0, ge=0, description="0: no classes")
    conditioned_on: Annotated[CodesConfig | TextConfig, Field(discriminator="kind")] | None = Field(
        None, description="what stands before the codes in place of a class"
    )
    code_channels: PositiveInt | None = Field(None, description="channels of the code vectors, where input is codes")
    shared_codes: bool = Field(False, description="all depths have the same code vectors")
    given: int = Field(0, ge=0, description="positions in time that the generator's given `frames` are")
    pyramid: QuantizerConfig | None = Field(
        None, description="the tokenizer's quantizer, where `var` goes by its scales"
    )
    limits: Annotated[tuple[PositiveInt, ...], Field(max_length=2**20)] = Field(
        (), description="codes that each position has, the first of the vocabulary; empty: all"
    )
    tokenizer: TokenizerRef | None = None

    later = ("pyramid", "limits")

    @model_validator(mode="after")
    def _fits(self) -> GeneratorConfig:
        depth, generator = self.shape[-1], self.generator
        if len(self.vocabulary) != depth:
            raise ValueError(f"{len(self.vocabulary)} vocabularies for codes of depth {depth}")
        if generator.name == "ar":
            if generator.depth_layers == 0 and depth > 1 and generator.head == "softmax":
                raise ValueError(f"generator.depth_layers is 0, but the codes have depth {depth}")
            if generator.order not in ("raster", "random") and len(self.grid) != 2:
                raise ValueError(
                    f"generator.order {generator.order} is of rows and columns; these codes are {size_text(self.grid)}"
                )
            if generator.order != "raster" and self.given:
                raise ValueError(f"generator.order {generator.order}: given frames come first, in raster order")
            if generator.share_head and len(set(self.vocabulary)) > 1:
                raise ValueError(f"generator.share_head needs equal vocabularies, not {list(self.vocabulary)}")
        if generator.class_conditional != (self.num_classes > 0):
            raise ValueError(f"num_classes {self.num_classes} with class_conditional {generator.class_conditional}")
        if bool(generator.frames) != bool(self.given) or (self.given and self.given >= self.shape[0]):
            raise ValueError(
                f"generator.frames {generator.frames} with given {self.given} of {self.shape[0]} positions"
            )
        if self.conditioned_on is not None and (self.num_classes or self.given):
            raise ValueError("a generator has one condition: classes, given frames or conditioned_on")
        if generator.name != "ar" and self.condition.whole:
            raise ValueError(
                f"condition.read both is for generator ar: {generator.name} reads a condition whole anyway"
            )
        if generator.name != "ar" and isinstance(self.conditioned_on, TextConfig) and self.conditioned_on.predicts:
            raise ValueError(
                f"generator.text.loss_weight: {generator.name} reads a text whole and predicts none of it; set it to 0"
            )
        if (generator.input == "codes") != (self.code_channels is not None):
            raise ValueError(f"generator.input {generator.input} with code_channels {self.code_channels}")
        self._fits_vocabulary()
        self._fits_limits()
        if self.shared_codes and len(set(self.vocabulary)) > 1:
            raise ValueError("shared_codes needs equal vocabularies")
        if (generator.name == "var") != (self.pyramid is not None):
            raise ValueError(f"generator {generator.name} {'with' if self.pyramid else 'without'} a pyramid")
        if generator.name == "var" and generator.condition_by != "prefix" and self.condition.places > 1:
            raise ValueError(
                f"generator.condition_by {generator.condition_by} is of a class, and the condition has "
                f"{self.condition.places} places; use generator.condition_by=prefix"
            )
        if generator.name == "pixelsnail":
            self._fits_maps(generator)
        elif generator.positions == "rotary" and generator.width // generator.heads < 2 * len(self.grid):
            raise ValueError(
                f"rotary positions on a grid of {len(self.grid)} axes need at least {2 * len(self.grid)} channels a "
                f"head, not {generator.width // generator.heads}"
            )
        return self

    def _fits_vocabulary(self) -> None:
        generator, most = self.generator, max(self.vocabulary)
        by_bits = [key for key in ("input", "head") if "bits" in getattr(generator, key)]
        if by_bits and (odd := [k for k in self.vocabulary if k < 2 or k & (k - 1)]):
            key = by_bits[0]
            raise ValueError(
                f"generator.{key} {getattr(generator, key)} needs vocabularies that are powers of two; {odd[0]} is not"
            )
        for key in ("head", "input"):
            if key not in by_bits and (said := too_many_rows(key, getattr(generator, key), most)):
                raise ValueError(said)

    def _fits_limits(self) -> None:
        if not self.limits:
            return
        if len(self.limits) != math.prod(self.grid) or len(self.vocabulary) != 1:
            raise ValueError(f"{len(self.limits)} limits for codes of shape {size_text(self.shape)}")
        if max(self.limits) > self.vocabulary[0]:
            raise ValueError(f"limits of {max(self.limits)} codes in a vocabulary of {self.vocabulary[0]}")
        if self.generator.head != "softmax":
            raise ValueError(
                f"generator.head {self.generator.head} says all bits of a code, and these positions have fewer codes "
                "than others (quantizer vcq); use generator.head=softmax"
            )

    def _fits_maps(self, generator: PixelSNAILConfig) -> None:
        if generator.input == "onehot" and sum(self.vocabulary) > _ONE_HOT:
            raise ValueError(
                f"generator.input onehot: {sum(self.vocabulary)} codes are more than {_ONE_HOT} channels; "
                "use generator.input=learned"
            )
        side = self.condition.map
        if self.spread and any(mine % its for mine, its in zip(self.grid, side, strict=True)):
            raise ValueError(f"the condition's map {size_text(side)} does not divide the codes' {size_text(self.grid)}")
        if not self.spread and self.condition.places > 1 and not generator.attention:
            raise ValueError(
                f"generator.attention false: a condition of {self.condition.places} places is read by attention; "
                "leave it out"
            )
        if (generator.condition_layers or generator.condition_width) and not self.spread:
            raise ValueError(
                "generator.condition_layers and condition_width are for a condition that is a map; leave them out"
            )

    @property
    def spread(self) -> bool:
        """Whether the condition lies over the codes: a map of as many axes as theirs."""
        return len(self.condition.map) == len(self.grid) > 1

    @property
    def grid(self) -> tuple[int, ...]:
        """The positions along each axis: all of ``shape`` but the depth."""
        return self.shape[:-1]

    @property
    def bits(self) -> tuple[int, ...]:
        """Of the codes of each depth, whose vocabularies are powers of two."""
        return tuple(size.bit_length() - 1 for size in self.vocabulary)

    @property
    def by_bits(self) -> tuple[int, ...]:
        """The same, where a head says the codes bit by bit; else nothing."""
        return () if self.generator.head == "softmax" else self.bits

    @property
    def condition_width(self) -> int:
        """Channels of what stands for the condition."""
        generator = self.generator
        return (generator.name == "pixelsnail" and generator.condition_width) or generator.width

    @property
    def condition(self) -> ConditionConfig:
        """What stands before the codes, or at their first positions."""
        if self.given:
            return FramesConfig(shape=(self.given, *self.shape[1:]), vocabulary=self.vocabulary)
        if self.conditioned_on is not None:
            return self.conditioned_on
        return ClassConfig(
            num_classes=self.num_classes, dropout=self.generator.class_dropout if self.num_classes else 0.0
        )


def too_many_rows(key: str, value: str, codes: int) -> str:
    """One line where a table or classifier for each of so many codes does not fit in memory; else nothing."""
    said = f"generator.{key} {value} has a row for each of {codes} codes, too many for memory; use generator.{key}=bits"
    return f"{said} (of ar or mlm)" if codes > _ROWS else ""


class GeneratorRecipe(Strict):
    """Stage 2: a generator trained on the codes of a finished tokenizer."""

    kind: Literal["generator"] = "generator"
    name: Name = Field(description="shown in tables and file names")
    description: str = ""
    seed: int = Field(0, ge=0)
    tokenizer: str = Field(min_length=1, description="a tokenizer's folder, or a hub repository")
    data: DataConfig = Field(
        DataConfig(), description="images, encoded on the way; or codes:DIR, a cache by `tokbench encode`"
    )
    generator: GeneratorModel
    condition: CodesSettings | None = Field(
        None, description="codes of the images, depth maps or masks that the source pairs its images with, or of places"
    )
    training: TrainingConfig = TrainingConfig()
    evaluation: GeneratorEvaluationConfig = GeneratorEvaluationConfig()

    @model_validator(mode="after")
    def _fits(self) -> GeneratorRecipe:
        try:
            self.evaluation.check(self.generator)
        except ValueError as error:
            raise ValueError(f"evaluation.{error}") from None
        if self.training.freeze:
            raise ValueError("training.freeze names parts of a tokenizer, which a generator has not; leave it out")
        if self.data.images is not None:
            raise ValueError("data.images is of tokenizers; a generator's clips have one length: leave it out")
        partner = partner_of(self.data.source)[1]
        if self.condition is not None and self.condition.coordinates:
            if partner is not None or self.data.source.startswith("codes:"):
                has = f"{partner}=" if partner else "codes"
                raise ValueError(f"condition.coordinates is of crops of images alone, and data.source has {has}")
        elif self.condition is not None and partner is None and not self.data.source.startswith("codes:"):
            raise ValueError("condition needs pairs: data.source=folder:IMAGES,depth=MAPS (or masks=, or images=)")
        if self.condition is None and partner is not None:
            raise ValueError(f"data.source has {partner}=, and nothing reads them: set condition.tokenizer")
        generator = self.generator
        if self.condition is not None and (generator.class_conditional or generator.frames or generator.text):
            raise ValueError("a generator has one condition: leave out condition, class_conditional, frames or text")
        return self

    def resolved(self) -> dict[str, Any]:
        """Every setting, defaults included: what the record keeps and the content address is made of."""
        return self.model_dump(mode="json")
