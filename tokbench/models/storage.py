"""Tokenizers on disk and on the hub: ``config.json`` and ``model.safetensors``, written whole or not at all."""

from __future__ import annotations

import json
import os
import re
import tempfile
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tokbench.config.model import TokenizerConfig
from tokbench.errors import TokbenchError

if TYPE_CHECKING:
    from .tokenizer import Tokenizer

CONFIG, WEIGHTS = "config.json", "model.safetensors"


def save(tokenizer: Tokenizer, folder: str | PathLike[str]) -> None:
    """Write both files to temporary names in ``folder`` and rename them into place."""
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise TokbenchError(f"{folder}: a file is in the way; give the name of a folder")
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tokenizer.state_dict().items()}
    with tempfile.TemporaryDirectory(dir=folder, prefix=".saving-") as scratch:
        save_file(tensors, Path(scratch) / WEIGHTS, metadata={"format": "pt"})
        (Path(scratch) / CONFIG).write_text(config_text(tokenizer.config), encoding="utf-8")
        for name in (WEIGHTS, CONFIG):
            os.replace(Path(scratch) / name, folder / name)


def config_text(config: TokenizerConfig) -> str:
    """``config.json``'s contents."""
    return json.dumps(config.model_dump(mode="json"), indent=2) + "\n"


def load(cls: type[Tokenizer], source: str | PathLike[str], revision: str | None = None) -> Tokenizer:
    """The tokenizer of a folder or hub repository, in evaluation mode; see ``Tokenizer.from_pretrained``."""
    folder = _folder(source, revision)
    config = read_config(folder / CONFIG)
    tensors = read_weights(folder / WEIGHTS)
    tokenizer = cls(config)
    load_exactly(tokenizer, tensors, str(folder / WEIGHTS))
    return tokenizer.eval()


def start_from(tokenizer: Tokenizer, source: str | PathLike[str]) -> None:
    """Fill ``tokenizer`` with the weights of another of the same shape; TokbenchError names what does not fit."""
    path = _folder(source, None) / WEIGHTS
    load_exactly(tokenizer, read_weights(path), str(path))


def read_config(path: Path) -> TokenizerConfig:
    """A checked configuration; TokbenchError names the file and the first key that is wrong."""
    try:
        return TokenizerConfig.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TokbenchError(f"{path.parent}: no {CONFIG} there, so this is no tokenizer's folder") from error
    except (ValidationError, UnicodeDecodeError) as error:
        raise TokbenchError(f"{path}: {explain(error)}") from error


def explain(error: ValidationError | Exception) -> str:
    """The first thing a validation found wrong, in one line: where, and what."""
    if not isinstance(error, ValidationError):
        return " ".join(str(error).split())
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "the file"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{where}: {first['msg']}{more}"


def read_weights(path: Path) -> dict[str, Tensor]:
    """A safetensors file on the CPU."""
    if not path.is_file():
        raise TokbenchError(f"{path.parent}: no {WEIGHTS} there; weights in other formats come in by `tokbench import`")
    try:
        return load_file(path, device="cpu")
    except (SafetensorError, OSError) as error:
        raise TokbenchError(f"{path}: not a whole safetensors file ({error}); copy or download it again") from error


def load_exactly(module: nn.Module, tensors: dict[str, Tensor], origin: str) -> None:
    """Fill every weight and buffer of ``module``; TokbenchError lists missing, left-over and misshapen names."""
    problems = mismatches(module.state_dict(), tensors)
    if problems:
        raise TokbenchError(f"{origin}: the weights do not fit the configuration: {'; '.join(problems)}")
    with torch.no_grad():
        module.load_state_dict(tensors)


def mismatches(wanted: dict[str, Any], given: dict[str, Any], show: int = 4) -> list[str]:
    """What keeps ``given`` from filling ``wanted``, with the first few names of each kind."""

    def listed(names: list[str]) -> str:
        return ", ".join(names[:show]) + (f" and {len(names) - show} more" if len(names) > show else "")

    missing = [name for name in wanted if name not in given]
    extra = [name for name in given if name not in wanted]
    shapes = [
        f"{name} is {list(given[name].shape)}, not {list(wanted[name].shape)}"
        for name in wanted
        if name in given and given[name].shape != wanted[name].shape
    ]
    found = (("missing", missing), ("left over", extra), ("other shapes", shapes))
    return [f"{kind}: {listed(names)}" for kind, names in found if names]


def _folder(source: str | PathLike[str], revision: str | None) -> Path:
    folder = Path(source)
    if folder.is_dir():
        return folder
    name = os.fspath(source)
    if folder.exists():
        raise TokbenchError(
            f"{name}: a file, not a tokenizer's folder; published checkpoints come in by `tokbench import`"
        )
    if not re.fullmatch(r"[\w][\w.-]*/[\w][\w.-]*", name):
        raise TokbenchError(f"{name}: no such folder, and no hub repository's name (owner/repository)")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=[CONFIG, WEIGHTS]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise TokbenchError(f"{name}: no such folder here, and the hub did not give it: {reason}") from error


def push(tokenizer: Tokenizer, repository: str, private: bool, message: str) -> str:
    """Upload the two files; see ``Tokenizer.push_to_hub``."""
    from huggingface_hub import HfApi

    api = HfApi()
    name = api.create_repo(repository, private=private, exist_ok=True).repo_id
    with tempfile.TemporaryDirectory() as scratch:
        save(tokenizer, scratch)
        commit = api.upload_folder(
            repo_id=name, folder_path=scratch, commit_message=message, allow_patterns=[CONFIG, WEIGHTS]
        )
    return str(commit.commit_url)
