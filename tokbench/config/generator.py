"""Stage 2: what a generator is made of and how it is trained on a tokenizer's codes. Torch-free.

``config.json`` beside a generator's weights is a :class:`GeneratorConfig` and nothing else.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PositiveInt, model_validator

from tokbench.config.base import CodeShape, Layers, Name, Strict
from tokbench.config.condition import (
    ClassConfig,
    CodesConfig,
    CodesSettings,
    ConditionConfig,
    FramesConfig,
    TextConfig,
    TextSettings,
    TokenizerRef,
    partner_of,
)
from tokbench.config.data import DataConfig
from tokbench.config.training import TrainingConfig
from tokbench.errors import size_text

# Lee et al. 2022, arXiv:2203.01941, table 6 and the released configurations: width, heads, spatial and depth layers.
# The parameters in a name are those of the released model (its vocabulary decides the last few million).
SIZES: dict[str, dict[str, int]] = {
    "rq-355m": {"width": 1024, "heads": 16, "layers": 24, "depth_layers": 4},
    "rq-481m": {"width": 1536, "heads": 24, "layers": 12, "depth_layers": 4},
    "rq-612m": {"width": 1280, "heads": 20, "layers": 26, "depth_layers": 4},
    "rq-821m": {"width": 1536, "heads": 24, "layers": 24, "depth_layers": 4},
    "rq-1.4b": {"width": 1536, "heads": 24, "layers": 42, "depth_layers": 6},
    "rq-3.8b": {"width": 2560, "heads": 40, "layers": 42, "depth_layers": 6},
}
Size = Literal["rq-355m", "rq-481m", "rq-612m", "rq-821m", "rq-1.4b", "rq-3.8b"]
CodeInput = Literal["codes", "learned", "bits"]


class _Transformer(Strict):
    """What both transformers have."""

    width: PositiveInt = Field(256, description="channels of the residual stream")
    heads: PositiveInt = Field(4, description="attention heads; they divide the width")
    layers: Layers = Field(8, description="transformer layers over the positions")
    input: CodeInput = Field(
        "codes",
        description="codes: the tokenizer's code vectors through a linear map; learned: a table of its own; "
        "bits: the bits of each code as +1/-1 (vocabularies must be powers of two)",
    )
    positions: Literal["learned", "rotary"] = Field("learned", description="rotary: axial, each axis its own channels")
    dropout: float = Field(0.0, ge=0, lt=1, description="of what a layer adds to the residual stream")
    attention_dropout: float | None = Field(None, ge=0, lt=1, description="of attention's weights; empty: as `dropout`")
    embedding_dropout: float | None = Field(None, ge=0, lt=1, description="of the layers' input; empty: as `dropout`")
    class_conditional: bool = Field(False, description="condition on the data's class labels")
    class_dropout: float = Field(
        0.1, ge=0, lt=1, description="chance that a training sample loses its label; 0 rules out guidance"
    )

    text: TextSettings | None = Field(None, description="condition on the captions of the data")
    frames: int = Field(
        0, ge=0, description="of a clip that are given, the others being drawn (frame prediction; MAGVIT's 5 of 17)"
    )

    @model_validator(mode="after")
    def _heads_divide(self) -> _Transformer:
        if self.frames and self.class_conditional:
            raise ValueError("frames and class_conditional: a generator has one condition; leave out one of the two")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        if self.positions == "rotary" and self.width // self.heads % 4:
            raise ValueError(f"rotary positions need a multiple of 4 channels a head, not {self.width // self.heads}")
        return self


class ARConfig(_Transformer):
    """Causal over positions, then over the codes of a position: RQ-Transformer (arXiv:2203.01941); VQ-GAN's GPT
    (arXiv:2012.09841) where the codes have depth 1 and ``depth_layers`` is 0."""

    name: Literal["ar"] = "ar"
    size: Size | None = Field(None, description="a size of the paper by name: width, heads and both numbers of layers")
    depth_layers: int = Field(
        2, ge=0, le=1000, description="layers over the codes of a position; 0 for codes of depth 1 only"
    )
    depth_heads: PositiveInt | None = Field(None, description="empty: as many as `heads`")
    depth_context: Literal["sum", "last"] = Field(
        "sum", description="what a depth step sees of the codes before it: the sum of their vectors, or the last one"
    )
    share_head: bool | None = Field(None, description="one classifier for all depths; empty: if vocabularies are equal")
    soft_targets: float | None = Field(
        None, gt=0, description="temperature of soft targets softmax(-|r - e_k|^2 / t); the paper's is 0.5; empty: hard"
    )
    pkeep: float = Field(
        1.0, gt=0, le=1, description="chance that a training code is read as it is, not as a random one (taming's)"
    )
    stochastic_codes: float | None = Field(
        None, gt=0, description="temperature at which training codes are drawn from the same distribution; empty: hard"
    )

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, values: Any) -> Any:
        size = values.get("size") if isinstance(values, dict) else None
        if not isinstance(size, str) or size not in SIZES:
            return values
        for key, value in SIZES[size].items():
            if values.get(key, value) != value:
                raise ValueError(f"size {size} has {key} {value}, not {values[key]}: leave out one of the two")
        return {**SIZES[size], **values}

    @model_validator(mode="after")
    def _depth_heads_divide(self) -> ARConfig:
        if self.depth_heads and self.width % self.depth_heads:
            raise ValueError(f"width {self.width} is not a multiple of depth_heads {self.depth_heads}")
        return self


class MLMConfig(_Transformer):
    """Bidirectional, trained to fill in masked positions: MaskGIT (arXiv:2202.04200), MAGVIT-v2 (arXiv:2310.05737),
    MaskBit (arXiv:2409.16211) with ``input: bits``."""

    name: Literal["mlm"] = "mlm"
    schedule: Literal["cosine", "arccos", "linear"] = Field("cosine", description="how training masks are drawn")
    label_smoothing: float = Field(0.1, ge=0, lt=1)


class PixelSNAILConfig(Strict):
    """Gated causal convolutions and attention over the map: PixelSNAIL (Chen et al. 2017, arXiv:1712.09763), as used on
    codes by VQ-VAE-2 (arXiv:1906.00446) and compared with by VQ-GAN (arXiv:2012.09841, table 1)."""

    frames: ClassVar[int] = 0  # the codes of a clip have three axes
    text: ClassVar[None] = None  # its condition stands at the positions of a map

    name: Literal["pixelsnail"] = "pixelsnail"
    width: PositiveInt = Field(256, description="channels of the residual stream")
    hidden: PositiveInt = Field(256, description="channels between the two convolutions of a gated layer")
    kernel: PositiveInt = Field(5, description="side of the causal convolutions, odd and at least 3")
    blocks: Layers = Field(4, description="blocks: gated layers, then attention over all positions before")
    layers: Layers = Field(4, description="gated layers of a block")
    attention: bool = Field(True, description="false: a convolution in its place, as for the lower level of VQ-VAE-2")
    heads: PositiveInt = Field(8, description="attention heads; they divide half of the width")
    out_layers: int = Field(0, ge=0, le=1000, description="gated layers of kernel 1 before the classifiers")
    condition_layers: int = Field(
        0, ge=0, le=1000, description="gated layers over a condition that is a map; 0: its vectors as they are"
    )
    condition_hidden: PositiveInt = Field(256, description="channels of those layers")
    condition_width: PositiveInt | None = Field(None, description="of a condition's vectors; empty: as `width`")
    input: Literal["onehot", "codes", "learned", "bits"] = Field(
        "onehot", description="onehot: a channel for each code, as published; the others as of ar"
    )
    dropout: float = Field(0.1, ge=0, lt=1, description="within the gated layers and of attention's weights")
    class_conditional: bool = Field(False, description="condition on the data's class labels")
    class_dropout: float = Field(
        0.1, ge=0, lt=1, description="chance that a training sample loses its label; 0 rules out guidance"
    )

    @model_validator(mode="after")
    def _sides(self) -> PixelSNAILConfig:
        if self.kernel % 2 == 0 or self.kernel < 3:
            raise ValueError(f"kernel {self.kernel} is not odd and at least 3")
        if self.attention and (self.width % 2 or self.width // 2 % self.heads):
            raise ValueError(f"half of the width {self.width} is not a multiple of heads {self.heads}")
        return self


_ONE_HOT = 4096  # codes of all depths together that are read as a channel each: a table of 64 MB

GeneratorModel = Annotated[ARConfig | MLMConfig | PixelSNAILConfig, Field(discriminator="name")]


class GeneratorConfig(Strict):
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
    tokenizer: TokenizerRef | None = None

    @model_validator(mode="after")
    def _fits(self) -> GeneratorConfig:
        depth, generator = self.shape[-1], self.generator
        if len(self.vocabulary) != depth:
            raise ValueError(f"{len(self.vocabulary)} vocabularies for codes of depth {depth}")
        if generator.name == "ar":
            if generator.depth_layers == 0 and depth > 1:
                raise ValueError(f"generator.depth_layers is 0, but the codes have depth {depth}")
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
        if generator.name == "mlm" and isinstance(self.conditioned_on, TextConfig) and self.conditioned_on.predicts:
            raise ValueError("loss_weight: mlm reads a text whole and predicts none of it; set it to 0")
        if (generator.input == "codes") != (self.code_channels is not None):
            raise ValueError(f"generator.input {generator.input} with code_channels {self.code_channels}")
        if generator.input == "bits" and (odd := [k for k in self.vocabulary if k < 2 or k & (k - 1)]):
            raise ValueError(f"generator.input bits needs vocabularies that are powers of two; {odd[0]} is not")
        if self.shared_codes and len(set(self.vocabulary)) > 1:
            raise ValueError("shared_codes needs equal vocabularies")
        if generator.name == "pixelsnail":
            self._fits_maps(generator)
        elif generator.positions == "rotary" and generator.width // generator.heads < 2 * len(self.grid):
            raise ValueError(
                f"rotary positions on a grid of {len(self.grid)} axes need at least {2 * len(self.grid)} channels a "
                f"head, not {generator.width // generator.heads}"
            )
        return self

    def _fits_maps(self, generator: PixelSNAILConfig) -> None:
        if len(self.grid) != 2:
            raise ValueError(f"generator pixelsnail is for codes in rows and columns; these have {len(self.grid)} axes")
        if generator.input == "onehot" and sum(self.vocabulary) > _ONE_HOT:
            raise ValueError(
                f"generator.input onehot: {sum(self.vocabulary)} codes are more than {_ONE_HOT} channels; "
                "use generator.input=learned"
            )
        side = self.condition.map
        if not side and self.condition.places > 1:
            raise ValueError("generator pixelsnail is conditioned on a class or a map of codes, not on a sequence")
        if side and (len(side) != 2 or any(mine % its for mine, its in zip(self.grid, side, strict=True))):
            raise ValueError(f"the condition's map {size_text(side)} does not divide the codes' {size_text(self.grid)}")
        if (generator.condition_layers or generator.condition_width) and not side:
            raise ValueError(
                "generator.condition_layers and condition_width are for a condition that is a map; leave them out"
            )

    @property
    def grid(self) -> tuple[int, ...]:
        """The positions along each axis: all of ``shape`` but the depth."""
        return self.shape[:-1]

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


class GeneratorEvaluationConfig(Strict):
    """What is measured of a finished generator, and how its samples are drawn (``generators.sampling.Sampling``)."""

    metrics: list[str] | None = Field(None, description="of generated images; null = all whose weights are at hand")
    samples: PositiveInt = Field(10_000, description="images drawn for them (papers: 50,000)")
    batch_size: PositiveInt = 64
    temperature: float = Field(1.0, ge=0)
    top_k: PositiveInt | None = None
    top_p: float = Field(1.0, gt=0, le=1)
    guidance: float = Field(1.0, ge=0, description="s in u + s (c - u); 1 is none")
    guidance_schedule: Literal["constant", "linear", "cosine"] = "constant"
    steps: PositiveInt = Field(12, description="decoding steps of mlm")
    choice_temperature: float = Field(4.5, ge=0, description="of the noise by which mlm chooses what to keep")

    @property
    def sampling(self) -> dict[str, Any]:
        """The settings of a draw."""
        return self.model_dump(exclude={"metrics", "samples", "batch_size"})


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
        None, description="codes of the images, depth maps or masks that the source pairs its images with"
    )
    training: TrainingConfig = TrainingConfig()
    evaluation: GeneratorEvaluationConfig = GeneratorEvaluationConfig()

    @model_validator(mode="after")
    def _fits(self) -> GeneratorRecipe:
        if self.training.freeze:
            raise ValueError("training.freeze names parts of a tokenizer, which a generator has not; leave it out")
        partner = partner_of(self.data.source)[1]
        if self.condition is not None and partner is None:
            raise ValueError("condition needs pairs: data.source=folder:IMAGES,depth=MAPS (or masks=, or images=)")
        if self.condition is None and partner is not None:
            raise ValueError(f"data.source has {partner}=, and nothing reads them: set condition.tokenizer")
        if self.condition is not None and (self.generator.class_conditional or self.generator.frames):
            raise ValueError("a generator has one condition: leave out condition, class_conditional or frames")
        return self

    def resolved(self) -> dict[str, Any]:
        """Every setting, defaults included: what the record keeps and the content address is made of."""
        return self.model_dump(mode="json")
