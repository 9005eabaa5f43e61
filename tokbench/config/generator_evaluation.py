"""What is measured of a finished generator, and how its images are drawn. Torch-free."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, PositiveInt, model_validator

from tokbench.config.base import Strict
from tokbench.config.generator_model import GeneratorModel, Head
from tokbench.config.grid import Size


class GeneratorEvaluationConfig(Strict):
    """What is measured of a finished generator, and how its samples are drawn (``generators.sampling.Sampling``)."""

    metrics: list[str] | None = Field(None, description="of generated images; null = all whose weights are at hand")
    samples: PositiveInt = Field(10_000, description="images drawn for them (papers: 50,000)")
    batch_size: PositiveInt = 64
    temperature: float = Field(1.0, ge=0)
    top_k: PositiveInt | None = None
    top_p: float = Field(1.0, gt=0, le=1)
    guidance: float = Field(1.0, ge=0, description="s in u + s (c - u); 1 is none")
    guidance_schedule: Literal["constant", "linear", "cosine", "scales"] = "constant"
    size: Size | None = Field(
        None,
        description="pixels of the images drawn, where larger than those trained on: by a window that slides. What "
        "codes cost is then measured on the middles of such images, of the size trained on",
    )
    steps: PositiveInt = Field(12, description="decoding steps of mlm")
    bit_steps: PositiveInt | None = Field(
        None, description="in which the bits of a position are drawn, by head masked-bits; empty: one bit a step"
    )
    choice_temperature: float = Field(4.5, ge=0, description="of the noise by which mlm chooses what to keep")
    reject: float | None = Field(
        None,
        gt=0,
        le=1,
        description="share kept of the images drawn of each class or caption: those that `judge` is surest of",
    )
    judge: str | None = Field(
        None, min_length=1, description="what ranks them: efficientnet-lite0, timm:NAME or timm:NAME=FILE; clip:NAME"
    )

    @model_validator(mode="after")
    def _judged(self) -> GeneratorEvaluationConfig:
        if (self.reject is None) != (self.judge is None):
            raise ValueError("reject and judge go together: the share that is kept, and the network that ranks")
        return self

    def check(self, generator: GeneratorModel) -> None:
        """ValueError where this generator's images cannot be drawn or ranked so."""
        check_head(generator.head, self)
        if self.guidance != 1.0 and self.guidance_schedule == "scales" and generator.name != "var":
            raise ValueError("guidance_schedule scales is for var, whose codes have scales; use linear")
        judge = self.judge or ""
        if judge and self.metrics == [] and generator.text is None:
            raise ValueError("reject and judge choose among drawn images, and no metric asks for any: add one")
        if judge.startswith("clip:") and generator.text is None:
            raise ValueError(f"judge {judge} ranks by the text asked for: set generator.text")
        if judge and not judge.startswith("clip:") and not generator.class_conditional:
            raise ValueError(
                f"judge {judge} ranks by the class asked for: set generator.class_conditional"
                f"{', or judge clip:NAME, which ranks by texts' if generator.text is not None else ''}"
            )

    @property
    def sampling(self) -> dict[str, Any]:
        """The settings of a draw."""
        return self.model_dump(exclude={"metrics", "samples", "batch_size", "size", "reject", "judge"})


def check_head(head: Head, sampling: Any) -> None:
    """ValueError where samples are to be drawn (settings ``top_k``, ``top_p``, ``bit_steps``) as this head cannot."""
    if head != "softmax":
        for key, usual in (("top_k", None), ("top_p", 1.0)):
            if (value := getattr(sampling, key)) != usual:
                raise ValueError(f"{key} {value} is of whole codes, and head {head} draws bits: use temperature")
    if head != "masked-bits" and sampling.bit_steps is not None:
        raise ValueError(f"bit_steps {sampling.bit_steps} is for head masked-bits, not for {head}; leave it out")
