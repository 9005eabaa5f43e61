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
    tensors: dict[str, Tensor],
    image_size: Size,
    model: dict[str, Any],
    quantizer: dict[str, Any],
    path: str,
    channels: int | None = None,
    kind: Kind = "image",
) -> TokenizerConfig:
    """The tokenizer's configuration, its channels those of the weights where none are given.

    TokbenchError naming ``path`` where the settings make no tokenizer, or one of other than RGB or grey images.
    """
    shape = {"image_size": image_size, "channels": channels or image_channels(tensors, path), "kind": kind}
    try:
        return TokenizerConfig.model_validate({**shape, "model": model, "quantizer": quantizer})
    except ValidationError as error:
        raise TokbenchError(f"{path}: {explain(error)}") from error
