"""What a generator is conditioned on, as a configuration. Torch-free; ``tokbench.generators.condition`` computes it."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, model_validator

from tokbench.config.base import CodeShape, Strict
from tokbench.config.grid import Size
from tokbench.config.kind import Kind
from tokbench.errors import TokbenchError, size_text

Partner = Literal["images", "depth", "masks"]
"""What goes with an image as its condition: RGB or grey, a depth map, or a map of labels."""

KIND_OF: dict[Partner, Kind] = {"images": "image", "depth": "depth", "masks": "labels"}
"""What a tokenizer of them is of."""


Read = Literal["causal", "both"]
"""How a causal generator reads the codes of its condition: each with those before it, or with all of them."""

_PARTNER = re.compile(r",(images|depth|masks)=(.+)$", re.DOTALL)


def partner_of(source: str) -> tuple[str, Partner | None, str]:
    """``folder:A,depth=B`` -> ("folder:A", "depth", "B"); a source without partners -> (itself, None, "")."""
    found = _PARTNER.search(source)
    if found is None:
        return source, None, ""
    kind: Any = found[1]
    return source[: found.start()], kind, found[2]


class CodesSettings(Strict):
    """The ``condition`` block of a generator's recipe: the codes of what ``data.source`` pairs images with, or of where
    in its image a crop lies."""

    tokenizer: str = Field("", description="whose codes stand first: a folder, or a hub repository")
    coordinates: PositiveInt | None = Field(
        None, description="in place of a tokenizer, for crops of aligned images: codes of where they lie, so many"
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="chance that a sample loses its condition, for guidance")
    read: Read = Field(
        "causal",
        description="by ar: causal, as published, each code with those before it; both: each with all (n_unmasked)",
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> CodesSettings:
        if bool(self.tokenizer) == bool(self.coordinates):
            raise ValueError("give a tokenizer, or coordinates")
        return self


class TokenizerRef(Strict):
    """Which tokenizer codes are of."""

    source: str = Field(description="the folder or hub repository it was read from")
    sha256: str = Field(description="of its weights; another tokenizer's codes are refused")
    image_size: Size = Field(description="pixels of the images whose codes are modelled")


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
    def map(self) -> tuple[int, ...]:
        """The grid of a condition that is a map, whose places rotary positions tell apart; () of any other."""
        return ()

    @property
    def whole(self) -> int:
        """How many places, from the first on, a causal generator reads in both directions."""
        return 0

    @property
    def has_null(self) -> bool:
        """Whether training has seen samples without a condition, so that it may be left out and guided against."""
        return self.dropout > 0

    @property
    def hides(self) -> bool:
        """Whether some of its places may be hidden from the others."""
        return False

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


class CodesConfig(ConditionConfig):
    """The code stack of another image, a depth map or a segmentation, by a tokenizer of its own: VQ-GAN's spatial
    conditions (Esser et al. 2021, arXiv:2012.09841, section 3.2); or codes of coordinates, which need no tokenizer."""

    kind: Literal["codes"] = "codes"
    shape: CodeShape = Field(description="of the condition's code stack: (*grid, D)")
    vocabulary: Annotated[tuple[PositiveInt, ...], Field(max_length=1000)]
    partner: Partner | None = Field(None, description="of what they are codes; empty: coordinates, or not known")
    tokenizer: TokenizerRef | None = Field(None, description="whose codes they are; empty: as `partner`")
    downsampling: PositiveInt | None = Field(None, description="of coordinates: pixels along the side of a code")
    read: Read = Field("causal", description="by ar; both: taming's n_unmasked")

    @model_validator(mode="after")
    def _fits(self) -> CodesConfig:
        if len(self.vocabulary) != self.shape[-1]:
            raise ValueError(f"{len(self.vocabulary)} vocabularies for codes of depth {self.shape[-1]}")
        if (self.tokenizer is None) != (self.partner is None) or (self.tokenizer and self.downsampling):
            raise ValueError("codes are of a tokenizer and a partner, or of coordinates and their downsampling")
        return self

    @property
    def places(self) -> int:
        return math.prod(self.map)

    @property
    def map(self) -> tuple[int, ...]:
        return self.shape[:-1]

    @property
    def whole(self) -> int:
        return self.places if self.read == "both" else 0

    def describe(self) -> str:
        of = "coordinates" if self.downsampling else "a tokenizer that is not known"
        of = f"{self.partner} by the tokenizer {self.tokenizer.sha256[:12]}" if self.tokenizer else of
        return f"{size_text(self.shape)} codes of {of}"


Padding = Literal["read", "masked"]


class TextSettings(Strict):
    """A recipe's wish for a condition of texts, the captions of its data."""

    tokenizer: str = Field(
        min_length=1, description="of the text: a tokenizer.json, NAME-vocab.json beside NAME-merges.txt, or a hub name"
    )
    length: int = Field(32, ge=1, le=100_000, description="tokens of a text; longer captions are cut in training")
    dropout: float = Field(0.1, ge=0, lt=1, description="chance that a training sample loses its text")
    loss_weight: float = Field(
        0.1, ge=0, lt=1, description="share of predicting the text in the training loss; 0 for all but ar"
    )
    bpe_dropout: float = Field(0.0, ge=0, lt=1, description="chance that a training text's merge is left out (BPE)")
    padding: Padding = Field("read", description="read: attended to and predicted, as published; masked: neither")


class TextConfig(ConditionConfig):
    """A text of ``length`` tokens with a vocabulary of its own, filled up with ``pad`` on the right: RQ-Transformer's
    (Lee et al. 2022, arXiv:2203.01941, section 4.2). As published, padding is read and predicted like any other token
    unless it is ``masked``, and a text of padding alone stands for none."""

    kind: Literal["text"] = "text"
    length: int = Field(ge=1, le=100_000, description="tokens of a text, padding included")
    vocabulary: PositiveInt = Field(description="of the text's tokens")
    pad: int = Field(0, ge=0, description="the token of padding")
    loss_weight: float = Field(
        0.1, ge=0, lt=1, description="share of predicting the text in the training loss; the codes have the rest"
    )
    bpe_dropout: float = Field(0.0, ge=0, lt=1, description="chance that a training text's merge is left out (BPE)")
    padding: Padding = Field("read", description="read: attended to and predicted, as published; masked: neither")
    tokenizer: str = Field("", repr=False, description="the text's tokenizer.json; empty: only ids can be given")

    @model_validator(mode="after")
    def _pad_is_a_token(self) -> TextConfig:
        if self.pad >= self.vocabulary:
            raise ValueError(f"pad {self.pad} is outside the vocabulary of {self.vocabulary}")
        return self

    @property
    def places(self) -> int:
        return self.length

    @property
    def hides(self) -> bool:
        return self.padding == "masked"

    @property
    def predicts(self) -> bool:
        """Whether the text is predicted too, each token from those before it."""
        return self.loss_weight > 0 and self.length > 1

    def describe(self) -> str:
        masked = ", padding masked" if self.padding == "masked" else ""
        return f"a text of up to {self.length} tokens, vocabulary {self.vocabulary}{masked}"


def need_classes(conditional: bool, classes: int, source: str) -> None:
    """TokbenchError for a class-conditional generator of data without labels."""
    if conditional and not classes:
        raise TokbenchError(f"generator.class_conditional: {source} has no class labels")
