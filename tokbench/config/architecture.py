"""What the settings of every architecture answer, and the architectures by name. Torch-free.

An architecture is one file ``tokbench/models/NAME.py``: its settings, its networks, and ``@architecture(Settings)`` on
the function that builds them. The settings of those that come with tokbench stand in ``config/model.py``, so that
reading a recipe costs no torch; the others are imported when their name is met.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeAlias, TypeVar, Union

from pydantic import BeforeValidator, Field, PositiveInt, SerializeAsAny, TypeAdapter

from tokbench.config.base import Strict
from tokbench.config.grid import Grid, Size, divided, factor_text
from tokbench.errors import did_you_mean, shown
from tokbench.registry import Registry


class Architecture(Strict):
    """Settings of an encoder and a decoder. A subclass has a field ``architecture``, a literal: its name.

    ``factors``: pixels that a position stands for along each axis of the images; as many as images have axes.
    """

    if TYPE_CHECKING:
        architecture: str
    causal: ClassVar[bool] = False  # the first frame of a clip is a position of its own
    any_size: ClassVar[bool] = True  # of images that the tokenizer takes; else the configured one alone

    code_channels: PositiveInt | None = Field(
        None,
        description="channels handed to the quantizer (taming's embed_dim); empty: the quantizer's own "
        "(bits of an LFQ, levels of an FSQ), else as many as the latent has",
    )

    @property
    def factors(self) -> Grid:
        """(f, f) for images, (f_t, f, f) for clips: what their sides must be multiples of."""
        raise NotImplementedError

    def grid(self, size: Size) -> Grid:
        """The positions of an image or clip of ``size``: the axes of its codes (B, *grid, D).

        Raises:
            ValueError: one line, which begins with the size: there is no such grid.
        """
        return divided(size, self.factors, causal=self.causal)

    @property
    def prefixes(self) -> tuple[int, ...]:
        """Numbers of codes that decode (the first n of N), coarse to fine, N last; empty where only all of them do."""
        return ()

    @property
    def reduction(self) -> str:
        """The grid in short, as names of models have it: ``f8``, ``f4x8x8``."""
        return f"f{factor_text(self.factors)}"

    @property
    def default_code_channels(self) -> int:
        """The quantizer's channels where neither ``code_channels`` nor the quantizer says."""
        raise NotImplementedError


class ImageArchitecture(Architecture):
    """Images to a map, ``downsampling`` pixels per side of a position. Any size works, in tiles if memory is short."""

    @property
    def downsampling(self) -> int:
        """Pixels per side that one latent position stands for (the ``f`` of f8, f16)."""
        raise NotImplementedError

    @property
    def factors(self) -> Grid:
        return (self.downsampling, self.downsampling)


SETTINGS: Registry[type[Architecture]] = Registry("architecture", "tokbench.models")
AnySettings = TypeVar("AnySettings", bound=type[Architecture])


def settings(kind: AnySettings) -> AnySettings:
    """Class decorator: recipes may name this architecture. Twice for one class does no harm."""
    if kind not in SETTINGS.loaded():
        SETTINGS.add(name_of(kind), kind)
    return kind


def name_of(kind: type[Architecture]) -> str:
    """The value of its field ``architecture``."""
    return str(kind.model_fields["architecture"].default)


def _by_name(value: Any) -> Any:
    name = value.get("architecture") if isinstance(value, dict) else None
    if isinstance(name, str) and name not in SETTINGS:
        raise ValueError(f"unknown architecture {shown(name)}{did_you_mean(name, SETTINGS)}")
    return _any_of(tuple(SETTINGS.loaded())).validate_python(value)


@functools.cache
def _any_of(kinds: tuple[type[Architecture], ...]) -> TypeAdapter[Any]:
    union: Any = Union[kinds]  # noqa: UP007  (of as many as there are)
    return TypeAdapter(Annotated[union, Field(discriminator="architecture")])


ModelConfig: TypeAlias = Annotated[SerializeAsAny[Architecture], BeforeValidator(_by_name)]
"""The settings of one architecture, whichever: the value of its field ``architecture`` decides."""
