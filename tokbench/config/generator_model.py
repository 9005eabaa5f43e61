"""The models of stage 2 and their settings: the two transformers and PixelSNAIL. Torch-free."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PositiveInt, model_validator

from tokbench.config.base import Headed, Layers, Strict
from tokbench.config.condition import TextSettings

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
Head = Literal["softmax", "bits", "masked-bits"]
Order = Literal["raster", "alternate", "spiral-in", "spiral-out", "subsample", "z-curve", "random"]


class _Transformer(Headed):
    """What both transformers have."""

    width: PositiveInt = Field(256, description="channels of the residual stream")
    heads: PositiveInt = Field(4, description="attention heads; they divide the width")
    layers: Layers = Field(8, description="transformer layers over the positions")
    input: CodeInput = Field(
        "codes",
        description="codes: the tokenizer's code vectors through a linear map; learned: a table of its own; "
        "bits: the bits of each code as +1/-1 (vocabularies must be powers of two)",
    )
    head: Head = Field(
        "softmax",
        description="softmax: a row for each code; bits: each bit of a code given those before it, so that 2^18 codes "
        "and more need no row each; masked-bits: each bit given any others, so that a few steps draw them all (BAR)",
    )
    bit_layers: Layers = Field(2, description="layers of a head of bits")
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
    def _go_together(self) -> _Transformer:
        _one_condition(self)
        if self.head == "softmax" and self.bit_layers != type(self).model_fields["bit_layers"].default:
            raise ValueError("bit_layers are of a head of bits: set head to bits or masked-bits, or leave it out")
        if self.positions == "rotary" and self.width // self.heads % 4:
            raise ValueError(f"rotary positions need a multiple of 4 channels a head, not {self.width // self.heads}")
        return self


def _one_condition(settings: Any) -> None:
    named = [key for key in ("frames", "text", "class_conditional") if getattr(settings, key)]
    if len(named) > 1:
        raise ValueError(f"{' and '.join(named)}: a generator has one condition; leave out the others")


class ARConfig(_Transformer):
    """Causal over positions, then over the codes of a position: RQ-Transformer (arXiv:2203.01941); VQ-GAN's GPT
    (arXiv:2012.09841) where the codes have depth 1 and ``depth_layers`` is 0."""

    name: Literal["ar"] = "ar"
    size: Size | None = Field(None, description="a size of the paper by name: width, heads and both numbers of layers")
    depth_layers: int = Field(
        2,
        ge=0,
        le=1000,
        description="layers over the codes of a position; 0 for codes of depth 1, or if one head says all their bits",
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
    order: Order = Field("raster", description="in which positions come one after the other, of a map (taming's)")

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
    def _heads_fit(self) -> ARConfig:
        if self.depth_heads and self.width % self.depth_heads:
            raise ValueError(f"width {self.width} is not a multiple of depth_heads {self.depth_heads}")
        if self.head != "softmax" and self.soft_targets is not None:
            raise ValueError(f"soft_targets are shares of whole codes, and head {self.head} says bits; leave it out")
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

    head: ClassVar[Head] = "softmax"

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

    text: TextSettings | None = Field(None, description="condition on the captions of the data; read by attention")
    frames: int = Field(0, ge=0, description="of a clip that are given, the others being drawn")

    @model_validator(mode="after")
    def _sides(self) -> PixelSNAILConfig:
        _one_condition(self)
        if self.kernel % 2 == 0 or self.kernel < 3:
            raise ValueError(f"kernel {self.kernel} is not odd and at least 3")
        if self.attention and (self.width % 2 or self.width // 2 % self.heads):
            raise ValueError(f"half of the width {self.width} is not a multiple of heads {self.heads}")
        return self


class VARGeneratorConfig(Headed):
    """Scale by scale over a pyramid of codes (quantizer ms-rq): VAR (Tian et al. 2024, arXiv:2404.02905)."""

    frames: ClassVar[int] = 0  # its codes are of images
    head: ClassVar[Head] = "softmax"
    input: ClassVar[str] = "maps"  # what the coarser scales decode to
    positions: ClassVar[str] = "learned"

    name: Literal["var"] = "var"
    width: PositiveInt = Field(256, description="channels of the residual stream; VAR's is 64 a layer")
    heads: PositiveInt = Field(4, description="attention heads; they divide the width (VAR: as many as layers)")
    layers: Layers = Field(8, description="transformer layers")
    mlp_ratio: float = Field(4.0, gt=0, le=100, description="width of the MLPs, in units of `width`")
    condition_by: Literal["adaln", "shared-adaln", "prefix"] = Field(
        "adaln",
        description="adaln: a class scales and shifts in each block, by a map of its own; shared-adaln: by one map for "
        "all blocks; prefix: the condition stands before the codes, as texts and other codes need",
    )
    qk_norm: bool = Field(True, description="attention between unit vectors, at a learned scale for each head")
    bit_flips: float = Field(
        0.0,
        ge=0,
        le=0.5,
        description="bits of a scale's codes that training reads wrong: at each scale of each image a share of 0 to "
        "this; the finer codes then make up for them (Infinity's bitwise self-correction: 0.3)",
    )
    flipped_scales: PositiveInt | None = Field(None, description="the first scales that have flips; empty: all")
    dropout: float = Field(0.0, ge=0, lt=1, description="of what a layer adds to the residual stream")
    drop_path: float = Field(
        0.0, ge=0, lt=1, description="chance that a sample skips the last layer, the others less; VAR: layers / 240"
    )
    class_conditional: bool = Field(False, description="condition on the data's class labels")
    class_dropout: float = Field(
        0.1, ge=0, lt=1, description="chance that a training sample loses its label; 0 rules out guidance"
    )
    text: TextSettings | None = Field(None, description="condition on the captions of the data; with prefix")

    @model_validator(mode="after")
    def _flips_have_a_share(self) -> VARGeneratorConfig:
        _one_condition(self)
        if self.flipped_scales is not None and not self.bit_flips:
            raise ValueError("flipped_scales says where bits are flipped: give bit_flips too, or leave it out")
        return self


GeneratorModel = Annotated[ARConfig | MLMConfig | PixelSNAILConfig | VARGeneratorConfig, Field(discriminator="name")]
