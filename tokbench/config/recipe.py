"""The recipe: one file that describes one run, whole."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from tokbench.config.architecture import ModelConfig
from tokbench.config.base import Name, Strict
from tokbench.config.data import DataConfig
from tokbench.config.generator import GeneratorRecipe
from tokbench.config.grid import axes
from tokbench.config.loss import LossConfig
from tokbench.config.model import QuantizerConfig, TokenizerConfig
from tokbench.config.training import EvaluationConfig, TrainingConfig


class TokenizerRecipe(Strict):
    """Stage 1: an autoencoder around a quantizer, trained on images."""

    kind: Literal["tokenizer"] = "tokenizer"
    name: Name = Field(description="shown in tables and file names")
    description: str = ""
    seed: int = Field(0, ge=0)
    start_from: str | None = Field(
        None,
        description="the tokenizer of the same shape (folder, published name, hub id) that training starts from",
    )
    data: DataConfig = DataConfig()
    model: ModelConfig
    quantizer: QuantizerConfig
    loss: LossConfig = LossConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @model_validator(mode="after")
    def _fits(self) -> TokenizerRecipe:
        try:
            self.model.grid(self.data.image_size)
        except ValueError as error:
            raise ValueError(f"data.image_size {error}") from None
        if (self.data.kind == "labels") != (self.loss.reconstruction != "pixels"):
            wanted = "cross_entropy or binary" if self.data.kind == "labels" else "pixels"
            raise ValueError(f"loss.reconstruction: data.kind {self.data.kind} is trained with {wanted}")
        adversarial = self.loss.adversarial
        if adversarial is not None and adversarial.augment and len(axes(self.data.image_size)) == 3:
            raise ValueError("loss.adversarial.augment: its policies are of images; leave it out for clips")
        if "decoder" in self.training.freeze and self.loss.adversarial is not None:
            raise ValueError("training.freeze: a frozen decoder learns nothing of loss.adversarial; set that to null")
        return self

    @property
    def tokenizer(self) -> TokenizerConfig:
        """The configuration of the tokenizer that is trained."""
        data = self.data
        return TokenizerConfig(
            image_size=data.image_size,
            channels=data.channels,
            kind=data.kind,
            model=self.model,
            quantizer=self.quantizer,
        )

    def resolved(self) -> dict[str, Any]:
        """Every setting, defaults included: what the record keeps and the content address is made of."""
        return self.model_dump(mode="json")


Recipe = TokenizerRecipe | GeneratorRecipe
