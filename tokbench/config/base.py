"""What every configuration model shares: unknown keys are errors, and nothing changes after it was checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)


def _file_name(value: str) -> str:
    if value != value.strip() or not value.isprintable() or set(value) & set("/\\:") or value.startswith("."):
        raise ValueError("it names a folder under runs/: plain text, no slash, no colon and no dot in front")
    return value


Name = Annotated[str, Field(min_length=1, max_length=120), AfterValidator(_file_name)]
"""What a run is called; as a folder's name it stays inside the folder of runs."""

Side = Annotated[int, Field(ge=1, le=2**16)]
"""Pixels or positions along one side."""

CodeShape = Annotated[tuple[Side, ...], Field(min_length=2, max_length=8)]
"""Of a code stack, (*grid, D): the positions along each axis, and the depth."""

Layers = Annotated[int, Field(ge=1, le=1000)]
"""How many of something are built one after the other: a slip of the keyboard must not build for ever."""

Multipliers = Annotated[tuple[PositiveInt, ...], Field(min_length=1, max_length=16)]
"""Channels of each level of a network, in units of its first."""


Betas = tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]]
"""Of Adam's two moving averages."""


class Strict(BaseModel):
    """A checked, frozen block of a recipe. An unknown key, a wrong type, inf or nan is an error, never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


class Grown(Strict):
    """One that is kept in files: those from before there were the ``later`` keys stay what they are, since these keys
    are left out where they have their defaults."""

    later: ClassVar[tuple[str, ...]]

    @model_serializer(mode="wrap")
    def _usual_unsaid(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        found: dict[str, Any] = whole(self)
        usual = {key: type(self).model_fields[key].default for key in self.later}
        return {key: value for key, value in found.items() if key not in usual or value != usual[key]}


class Headed(Strict):
    """Settings of attention whose heads share its width."""

    if TYPE_CHECKING:
        width: PositiveInt
        heads: PositiveInt

    @model_validator(mode="after")
    def _heads_divide(self) -> Headed:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self
