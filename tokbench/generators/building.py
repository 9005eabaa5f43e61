"""Generators built for a tokenizer's codes, and held against it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from quantizers.ms_rq import MSRQ
from tokbench.config.condition import CodesConfig, Partner, Read, TokenizerRef
from tokbench.config.generator import GeneratorConfig
from tokbench.config.grid import Size, axes
from tokbench.config.model import QuantizerConfig, TokenizerConfig
from tokbench.config.video_model import VideoArchitecture
from tokbench.data.partner import tokenizer_input
from tokbench.errors import TokbenchError, size_text
from tokbench.generators.base import Generator
from tokbench.generators.embedding import code_vectors
from tokbench.generators.text_given import text_of
from tokbench.models.folder import explain
from tokbench.models.tokenizer import Tokenizer, chosen_size
from tokbench.models.unweighted import unweighted
from tokbench.models.weightless import weightless

# Folders inside a generator's, of tokenizers that came with it.
TOKENIZER, CONDITION_TOKENIZER = "tokenizer", "condition_tokenizer"


def class_of(settings: Any) -> type[Generator]:
    """Of an ``ARConfig``, ``MLMConfig``, ``PixelSNAILConfig`` or ``VARGeneratorConfig``."""
    from tokbench.generators.ar import AR
    from tokbench.generators.mlm import MLM
    from tokbench.generators.pixelsnail import PixelSNAIL
    from tokbench.generators.var import VAR

    return {"ar": AR, "mlm": MLM, "pixelsnail": PixelSNAIL, "var": VAR}[settings.name]


def build(config: GeneratorConfig) -> Generator:
    """The generator of a configuration, with random weights and empty code vectors."""
    return class_of(config.generator)(config)


def without_weights(generator: Any, tokenizer: TokenizerConfig, **of: Any) -> tuple[Tokenizer, Generator]:
    """A tokenizer and a generator of its codes on the meta device: to count, and to say what cannot be before training.

    Unconditional: the classes are the data's, which is not read for this; all they change is a few rows of a table.
    The arguments are those of ``configure``.
    """
    settings = generator.model_copy(update={"class_conditional": False})
    made = unweighted(tokenizer)
    with weightless():
        return made, build(configure(settings, made, **of))


def configure(
    generator: Any,
    tokenizer: Any,
    *,
    source: str,
    image_size: Size,
    num_classes: int = 0,
    tables: Sequence[Tensor] = (),
    conditioned_on: CodesConfig | None = None,
) -> GeneratorConfig:
    """The configuration of a generator for a tokenizer's code stack.

    Args:
        generator: an ``ARConfig``, ``MLMConfig``, ``PixelSNAILConfig`` or ``VARGeneratorConfig``.
        tokenizer: a :class:`~tokbench.models.Tokenizer`; on the meta device (to count parameters) it has no hash.
        source: where it was read from.
        num_classes: of the data; counts only where the generator is class-conditional.
        tables: the tokenizer's code vectors, where they are the input.
        conditioned_on: what stands before them; see ``codes_of``.

    Raises:
        TokbenchError: settings that do not go with this code stack.
    """
    quantizer = tokenizer.quantizer
    sizes = tuple(int(k) for k in quantizer.subcode_sizes)
    reference = _reference(tokenizer, source, image_size)
    image_size = reference.image_size
    try:
        return GeneratorConfig(
            generator=generator,
            shape=(*tokenizer.grid(image_size), len(sizes)),
            vocabulary=sizes,
            limits=quantizer.position_sizes(tokenizer.grid(image_size)),
            num_classes=num_classes if generator.class_conditional else 0,
            conditioned_on=conditioned_on or text_of(generator.text),
            given=_given(generator.frames, tokenizer.config, image_size),
            code_channels=quantizer.dim if generator.input == "codes" else None,
            pyramid=_pyramid(tokenizer, source) if generator.name == "var" else None,
            shared_codes=len(tables) > 1 and all(_same(tables[0], table) for table in tables),
            tokenizer=reference,
        )
    except ValidationError as error:
        raise TokbenchError(explain(error)) from None


def _pyramid(tokenizer: Any, source: str) -> QuantizerConfig:
    """The tokenizer's quantizer with all it was told. TokbenchError where its codes are not a pyramid."""
    quantizer, said = tokenizer.quantizer, tokenizer.config.quantizer
    if not isinstance(quantizer, MSRQ):
        raise TokbenchError(
            f"{source}: generator var goes by the scales of ms-rq, and its codes are {said.name}'s; use ar"
        )
    scales = [list(scale) for scale in quantizer.scales]
    return QuantizerConfig(name=said.name, **{**said.options, "dim": quantizer.dim, "scales": scales})


def _given(frames: int, config: TokenizerConfig, size: Size) -> int:
    """The positions in time of a clip's first ``frames`` frames. TokbenchError where there are no such positions."""
    if not frames:
        return 0
    model, clip = config.model, axes(size)
    if not isinstance(model, VideoArchitecture) or len(clip) != 3:
        raise TokbenchError(f"generator.frames is {frames}, and the codes are of images: leave it out")
    if not model.encodes_causally:
        raise TokbenchError("generator.frames: the tokenizer's first codes depend on later frames (norm_over is clip)")
    if frames >= clip[0]:
        raise TokbenchError(f"generator.frames is {frames} of {clip[0]} in a clip: leave some to draw")
    try:
        return model.grid((frames, *clip[1:]))[0]
    except ValueError as error:
        raise TokbenchError(f"generator.frames: {error}") from None


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a, b)


@torch.no_grad()
def partner_codes(tokenizer: Tokenizer, kind: Partner, partners: Tensor) -> Tensor:
    """What goes with images (``tokbench.data.partner``), (n, ...) -> codes (n, *grid, D) as a condition takes them.

    Raises:
        TokbenchError: as ``tokenizer_input``.
    """
    device = next(tokenizer.parameters()).device
    images = tokenizer_input(partners.to(device, non_blocking=True), kind, tokenizer.config.channels)
    quantizer: Any = tokenizer.quantizer
    return quantizer.subcodes(tokenizer.encode(images))


def codes_of(
    tokenizer: Any,
    partner: Partner,
    *,
    source: str,
    image_size: Size,
    dropout: float = 0.0,
    read: Read = "causal",
) -> CodesConfig:
    """The condition that codes of ``tokenizer`` are, of what goes with images of ``image_size``.

    Raises:
        TokbenchError: a size that it has no grid for, or depth for a tokenizer of several channels.
    """
    channels, sizes = tokenizer.config.channels, tuple(int(k) for k in tokenizer.quantizer.subcode_sizes)
    if partner == "depth" and channels != 1:
        raise TokbenchError(f"{source}: takes images of {channels} channels, and depth has one (data.channels=1)")
    labels = tokenizer.config.kind == "labels" or channels not in (1, 3)  # before there were kinds, by channels alone
    if labels != (partner == "masks"):
        raise TokbenchError(
            f"{source}: takes maps of {channels} labels: pair images with masks="
            if labels
            else f"{source}: takes images, and masks are label maps: give a tokenizer of data.kind=labels"
        )
    reference = _reference(tokenizer, source, image_size)
    return CodesConfig(
        shape=(*tokenizer.grid(reference.image_size), len(sizes)),
        vocabulary=sizes,
        dropout=dropout,
        partner=partner,
        tokenizer=reference,
        read=read,
    )


def coordinates_of(
    tokenizer: Any, codes: int, *, source: str, image_size: Size, dropout: float = 0.0, read: Read = "causal"
) -> CodesConfig:
    """The condition that so many codes of coordinates are, one for each of the tokenizer's positions. TokbenchError
    where these are not rows and columns of squares."""
    size = chosen_size(tokenizer, image_size, f"{source}: data.image_size")
    grid, sides = tokenizer.grid(size), axes(size)
    factor = sides[0] // grid[0]
    if len(grid) != 2 or any(side != factor * places for side, places in zip(sides, grid, strict=True)):
        raise TokbenchError(
            f"condition.coordinates: {source} makes {size_text(grid)} codes of {size_text(size)} pixels, and "
            "coordinates are of squares in rows and columns"
        )
    return CodesConfig(shape=(*grid, 1), vocabulary=(codes,), downsampling=factor, dropout=dropout, read=read)


def _reference(tokenizer: Any, source: str, image_size: Size) -> TokenizerRef:
    """For images of a size that it has a grid for; without a hash where it has no weights (a dry run)."""
    size = chosen_size(tokenizer, image_size, f"{source}: data.image_size")
    meta = next(tokenizer.parameters()).is_meta
    return TokenizerRef(source=source, sha256="" if meta else tokenizer.sha256(), image_size=size)


def for_tokenizer(
    generator: Any,
    tokenizer: Any,
    *,
    source: str,
    image_size: Size,
    num_classes: int = 0,
    conditioned_on: CodesConfig | None = None,
    meta: bool = False,
) -> Generator:
    """A new generator for a tokenizer's code stack, its code vectors filled in; see ``configure``. ``meta``: without
    the memory of its weights."""
    tables = code_vectors(tokenizer.quantizer) if generator.input == "codes" else []
    config = configure(
        generator, tokenizer, source=source, image_size=image_size, num_classes=num_classes, tables=tables,
        conditioned_on=conditioned_on,
    )  # fmt: skip
    with weightless() if meta else nullcontext():
        made = build(config)
    if tables:
        made.set_code_vectors(tables)
    if made.config.pyramid is not None:
        made.take_quantizer(tokenizer.quantizer)
    return made


def check_tokenizer(generator: Generator, tokenizer: Any, source: str = "the tokenizer") -> None:
    """TokbenchError unless ``tokenizer`` is the one whose codes ``generator`` was trained on."""
    config, quantizer = generator.config, tokenizer.quantizer
    sizes = tuple(int(k) for k in quantizer.subcode_sizes)
    if sizes != config.vocabulary:
        raise TokbenchError(
            f"{source}: its codes have vocabularies {list(sizes)}, the generator's {list(config.vocabulary)}"
        )
    size = chosen_size(tokenizer, image_size(generator, tokenizer), f"{source}: the generator's image_size")
    if (grid := tokenizer.grid(size)) != config.grid:
        mine = size_text(config.grid)
        raise TokbenchError(
            f"{source}: images of {size_text(size)} are {size_text(grid)} codes, the generator's are {mine}"
        )
    if quantizer.position_sizes(grid) != config.limits:
        raise TokbenchError(f"{source}: its positions have other numbers of codes than the generator's")
    if config.tokenizer is not None:
        if (found := tokenizer.sha256()) != config.tokenizer.sha256:
            raise TokbenchError(
                f"{source}: not the tokenizer of this generator (weights {found[:12]}, "
                f"trained on codes of {config.tokenizer.sha256[:12]} from {config.tokenizer.source})"
            )


def check_condition_tokenizer(reference: TokenizerRef, tokenizer: Any, source: str) -> None:
    """TokbenchError unless ``tokenizer`` is the one whose codes a generator is conditioned on."""
    if (found := tokenizer.sha256()) != reference.sha256:
        raise TokbenchError(
            f"{source}: not the tokenizer of this generator's condition (weights {found[:12]}, trained on codes of "
            f"{reference.sha256[:12]} from {reference.source})"
        )


def image_size(generator: Generator, tokenizer: Any) -> Size:
    """Of the images whose codes ``generator`` models: as it says, else the size that ``tokenizer`` was made for."""
    reference = generator.config.tokenizer
    return reference.image_size if reference is not None else tokenizer.config.image_size
