"""How a run is optimised: steps, batch, learning rate, averaging, precision, checkpoints."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field, PositiveInt, field_validator, model_validator

from tokbench.config.base import Betas, Strict

Part = Literal["encoder", "quantizer", "decoder"]


class TrainingConfig(Strict):
    """Settings of the one training loop, the same for tokenizers and generators.

    ``batch_size`` is the *effective* batch: images an optimizer step, over all processes and accumulation
    steps together. It is split evenly, so one recipe means the same run on one device or on eight.
    ``learning_rate`` is the rate for exactly that batch: it is never rescaled by the number of devices. Whoever
    changes ``batch_size`` changes ``learning_rate`` in the same recipe.
    """

    steps: PositiveInt = Field(10_000, description="optimizer steps (of the autoencoder, where there are two)")
    batch_size: PositiveInt = Field(32, description="images an optimizer step, over all processes together")
    gradient_accumulation: PositiveInt = Field(1, description="micro-batches an optimizer step")
    learning_rate: float = Field(2e-4, gt=0, description="peak learning rate, for exactly this batch_size")
    warmup_steps: int = Field(0, ge=0, description="linear warm-up from 0")
    schedule: Literal["constant", "cosine", "linear"] = Field("cosine", description="decay after the warm-up")
    final_learning_rate: float = Field(0.05, ge=0, le=1, description="end of the decay, as a fraction of the peak")
    betas: Betas = (0.9, 0.99)
    weight_decay: float = Field(0.0, ge=0)
    gradient_clip: float | None = Field(1.0, gt=0, description="global gradient norm; null switches it off")
    ema_decay: float = Field(0.999, ge=0, lt=1, description="decay of the averaged weights that are saved; 0 = none")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="auto = bf16 on a GPU, fp32 on a CPU; quantizers always work in fp32"
    )
    compile: bool = Field(False, description="torch.compile the training step")
    channels_last: bool = Field(False, description="channels-last memory format")
    freeze: tuple[Part, ...] = Field(
        (),
        description="parts of a tokenizer that do not learn: no gradient, no codebook update, evaluation mode; behind "
        "a frozen quantizer the encoder learns straight through, without the quantizer's losses",
    )
    activation_checkpointing: bool = Field(False, description="trade time for memory in encoder and decoder")
    log_every: PositiveInt = 10
    picture_every: int = Field(500, ge=0, description="steps between reconstruction grids; 0 = only at the end")
    checkpoint_every: int = Field(1000, ge=0, description="steps between checkpoints; 0 = only at the end")
    keep_checkpoints: PositiveInt = Field(2, description="how many of the last checkpoints stay on disk")
    on_nan: Literal["stop", "skip"] = Field(
        "stop", description="a step whose loss or gradient is NaN or Inf: stop the run, or skip the step and count it"
    )
    nan_limit: PositiveInt = Field(10, description="so many skipped steps in a row stop the run all the same")
    trackers: list[Literal["tensorboard", "wandb"]] = Field([], description="where values are sent besides log.jsonl")

    @field_validator("freeze")
    @classmethod
    def _in_one_order(cls, value: tuple[Part, ...]) -> tuple[Part, ...]:
        ordered = tuple(part for part in get_args(Part) if part in value)
        if ordered == get_args(Part):
            raise ValueError("every part is frozen, so that nothing is left to train; leave one out")
        return ordered

    @model_validator(mode="after")
    def _consistent(self) -> TrainingConfig:
        if self.batch_size % self.gradient_accumulation:
            raise ValueError(
                f"batch_size {self.batch_size} does not divide into gradient_accumulation {self.gradient_accumulation}"
            )
        if self.warmup_steps >= self.steps:
            raise ValueError(
                f"warmup_steps {self.warmup_steps} leave nothing of steps {self.steps}; "
                f"for a run this short also set training.warmup_steps={self.steps // 10}"
            )
        return self


class EvaluationConfig(Strict):
    """What is measured when training is done."""

    metrics: list[str] | None = Field(None, description="metric names; null = all whose weights are at hand")
    batch_size: PositiveInt = 64
    by_depth: bool = Field(True, description="also measure the reconstruction from every prefix of depths")
