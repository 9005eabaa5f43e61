"""A checked configuration out of what an importer found."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from torch import Tensor

from tokbench.config.grid import Size
from tokbench.config.kind import Kind
from tokbench.config.model import TokenizerConfig
from tokbench.errors import TokbenchError
from tokbench.models.folder import explain

from .settings import image_channels


def checked_config(
    image_size: Size,
    model: dict[str, Any],
    quantizer: dict[str, Any],
    path: str,
    channels: int = 3,
    kind: Kind = "image",
) -> TokenizerConfig:
    """The tokenizer's configuration. TokbenchError naming ``path`` where the settings make no tokenizer."""
    shape = {"image_size": image_size, "channels": channels, "kind": kind}
    try:
        return TokenizerConfig.model_validate({**shape, "model": model, "quantizer": quantizer})
    except ValidationError as error:
        raise TokbenchError(f"{path}: {explain(error)}") from error


def config_of_weights(
    tensors: dict[str, Tensor],
    image_size: Size,
    model: dict[str, Any],
    quantizer: dict[str, Any],
    path: str,
    channels: int | None = None,
    kind: Kind = "image",
) -> TokenizerConfig:
    """The same, with the channels of the weights where none are given. TokbenchError where they are not 1 or 3."""
    return checked_config(image_size, model, quantizer, path, channels or image_channels(tensors, path), kind)
