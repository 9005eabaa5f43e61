"""What every configuration model shares: unknown keys are errors, and nothing changes after it was checked."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """A checked, frozen block of a recipe. An unknown key or a wrong type is an error, never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)
