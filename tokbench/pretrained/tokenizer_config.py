"""A checked configuration out of what an importer found."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from tokbench.config.model import TokenizerConfig
from tokbench.errors import TokbenchError
from tokbench.models.storage import explain


def checked_config(image_size: int, model: dict[str, Any], quantizer: dict[str, Any], path: str) -> TokenizerConfig:
    """The tokenizer's configuration; TokbenchError naming ``path`` where the settings make no tokenizer."""
    try:
        return TokenizerConfig.model_validate({"image_size": image_size, "model": model, "quantizer": quantizer})
    except ValidationError as error:
        raise TokbenchError(f"{path}: {explain(error)}") from error
