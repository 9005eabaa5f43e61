"""Models in folders and on the hub: ``config.json``, ``model.safetensors`` and a card, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from pydantic import BaseModel, ValidationError
from safetensors.torch import save_file
from torch import nn

from tokbench.config.generator import GeneratorConfig
from tokbench.config.model import TokenizerConfig
from tokbench.config.yaml_files import read_yaml
from tokbench.errors import TokbenchError, first_line, printable
from tokbench.hub import reachable_or_offline, reason
from tokbench.models.weightless import weightless
from tokbench.reading import read_regular
from tokbench.registry import Registry
from tokbench.results.card import NAME as CARD
from tokbench.results.card import Card, record_of, write_card
from tokbench.results.files import written

from .fitting import check_fits, load_exactly, read_weights

CONFIG, WEIGHTS = "config.json", "model.safetensors"
ORIGIN = "origin.json"
"""Beside a model that was published: of which file it was made."""
LARGEST_CONFIG = 2**24  # bytes
KINDS: dict[type[BaseModel], str] = {TokenizerConfig: "tokenizer", GeneratorConfig: "generator"}
BY_NAME: Registry[Callable[[str], Path | None]] = Registry("way to find a model by its name", "tokbench.pretrained")
AnyModel = TypeVar("AnyModel", bound="SavedModel")
AnyConfig = TypeVar("AnyConfig", bound=BaseModel)


class SavedModel(nn.Module):
    """What a tokenizer and a generator have in common: a configuration, a card, a hash, and their folder.

    ``home``: the folder it was read from; None for a new one.
    """

    Config: ClassVar[type[BaseModel]]
    config: Any
    home: Path | None = None

    @classmethod
    def of(cls: type[AnyModel], config: Any) -> AnyModel:
        """A new model of a configuration."""
        return cls(config)

    def card(self) -> Card:
        """What the model knows of itself."""
        raise NotImplementedError

    def public_config(self) -> BaseModel:
        """The configuration as strangers may read it."""
        config: BaseModel = self.config
        return config

    def sha256(self) -> str:
        """A hash of every weight and persistent buffer, by name; the same on every device and memory layout."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    @classmethod
    def from_pretrained(cls: type[AnyModel], source: str | PathLike[str], revision: str | None = None) -> AnyModel:
        """Read a folder, a published model by its name (`tokbench models`), or a repository of the hub such as
        ``name/repository``, in evaluation mode.

        Raises:
            TokbenchError: nothing there, a missing file, or weights that do not fit the configuration.
        """
        folder = find_folder(source, revision)
        config = read_config(folder, cls.Config)
        return _load(lambda: cls.of(config), folder).eval()

    def save_pretrained(self, folder: str | PathLike[str], license: str | None = None) -> None:
        """Write ``config.json``, ``model.safetensors`` and the model card ``README.md``.

        The folder's old files stay whole until the new ones are written; a README that somebody wrote stays.
        ``license`` is named in the card where it is given.
        """
        _write(self, self.config, Path(folder))
        self.write_card(Path(folder), license)

    def write_card(self, folder: Path, license: str | None = None) -> None:
        """The card in ``folder``, with the record and the recipe of the run that the folder, or ``home``, lies in."""
        write_card(folder, self._card_text([folder, self.home], license))

    def push_to_hub(
        self, repository: str, private: bool = False, message: str | None = None, license: str | None = None
    ) -> str:
        """Upload weights, configuration and model card to the Hugging Face hub; the answer is the commit's address.

        Raises:
            TokbenchError: the hub does not answer or does not take it.
        """
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError

        api = HfApi()
        try:
            name = api.create_repo(repository, private=private, exist_ok=True).repo_id
            with tempfile.TemporaryDirectory() as scratch:
                _write(self, self.public_config(), Path(scratch))
                text = self._card_text([self.home], license, source=name)
                (Path(scratch) / CARD).write_text(text, encoding="utf-8")
                message = message or f"Upload a {KINDS[self.Config]}"
                files = [CONFIG, WEIGHTS, CARD]
                commit = api.upload_folder(
                    repo_id=name, folder_path=scratch, commit_message=message, allow_patterns=files
                )
        except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
            reason = first_line(error)
            raise TokbenchError(
                f"{repository}: the hub did not take it: {reason} (logged in? `hf auth login`)"
            ) from error
        return str(commit.commit_url)

    def _card_text(self, homes: Sequence[Path | None], license: str | None, source: str = "FOLDER") -> str:
        digest = self.sha256()
        record = next((found for home in homes if (found := record_of(home, digest)) is not None), None)
        recipe = next((said for home in homes if (said := _recipe_of(home)) is not None), None)
        return self.card().text(record=record, recipe=recipe, license=license, source=source)


def _write(model: SavedModel, config: BaseModel, folder: Path) -> None:
    """Configuration and weights to temporary names in ``folder``, which are then renamed into place."""
    if folder.exists() and not folder.is_dir():
        raise TokbenchError(f"{folder}: a file is in the way; give the name of a folder")
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
    with written(folder / CONFIG, sync=True) as text, written(folder / WEIGHTS, sync=True) as weights:
        save_file(tensors, weights, metadata={"format": "pt"})
        text.write_text(json.dumps(config.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8")


def _recipe_of(folder: Path | None) -> dict[str, Any] | None:
    """The recipe of the run whose folder holds the model; None where there is none."""
    try:
        return read_yaml(folder.resolve().parent / "recipe.yaml") if folder is not None else None
    except (TokbenchError, OSError):
        return None


def _load(build: Callable[[], AnyModel], folder: Path) -> AnyModel:
    """A model by ``build`` with the weights of ``folder``. What the configuration claims is held against the weights
    before there is memory for it: a line in a text file may say anything."""
    tensors = read_weights(folder / WEIGHTS)
    try:
        with weightless():
            wanted = build().state_dict()
    except TokbenchError as error:
        raise TokbenchError(f"{folder / CONFIG}: {printable(str(error), 300)}") from None
    except (ValueError, RuntimeError, OverflowError, TypeError, ZeroDivisionError, MemoryError) as error:
        raise TokbenchError(f"{folder / CONFIG}: no model can be built of it: {printable(str(error), 200)}") from None
    check_fits(wanted, tensors, str(folder / WEIGHTS))
    model = build()
    load_exactly(model, tensors, str(folder / WEIGHTS))
    model.home = folder
    return model


def read_config(folder: Path, kind: type[AnyConfig]) -> AnyConfig:
    """The checked configuration in ``folder``; TokbenchError names the file and the first key that is wrong."""
    path = folder / CONFIG
    try:
        content = read_regular(path, LARGEST_CONFIG)
        return kind.model_validate_json(content)
    except FileNotFoundError as error:
        raise TokbenchError(_nothing_there(folder, KINDS[kind])) from error
    except ValidationError as error:
        if other := next((name for of, name in KINDS.items() if of is not kind and _is_valid(of, content)), ""):
            raise TokbenchError(f"{folder}: a {other}, not a {KINDS[kind]}") from None
        raise TokbenchError(f"{path}: {explain(error)}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise TokbenchError(f"{path}: {explain(error)}") from error


def _is_valid(kind: type[BaseModel], content: str | bytes) -> bool:
    try:
        kind.model_validate_json(content)
    except ValueError:
        return False
    return True


def holds(folder: Path, kind: type[BaseModel]) -> bool:
    """Whether the configuration in ``folder`` is one of ``kind``."""
    try:
        return _is_valid(kind, read_regular(folder / CONFIG, LARGEST_CONFIG))
    except (OSError, ValueError):
        return False


def _nothing_there(folder: Path, kind: str) -> str:
    """What is wrong with a folder without a configuration: it is often the run's, in which the model's lies."""
    inside = next((f for f in (folder / kind, *sorted(folder.glob(f"*/{kind}"))[:1]) if (f / CONFIG).is_file()), None)
    meant = f"; did you mean {inside}?" if inside is not None else ""
    return f"{folder}: no {CONFIG} there, so this is not a {kind} folder{meant}"


def explain(error: ValidationError | Exception) -> str:
    """The first thing a validation found wrong, in one line: where, and what."""
    if not isinstance(error, ValidationError):
        return printable(" ".join(str(error).split()), 200)
    first = error.errors(include_url=False)[0]
    where = printable(".".join(str(part) for part in first["loc"]), 80)
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    said = printable(first["msg"].removeprefix("Value error, "), 240)
    return f"{where}: {said}{more}" if where else f"{said}{more}"


def is_hub_name(source: str) -> bool:
    """Whether ``source`` is not a folder or file here and could be a repository's name."""
    return not Path(source).exists() and re.fullmatch(r"[\w][\w.-]*/[\w][\w.-]*", source) is not None


def find_folder(source: str | PathLike[str], revision: str | None = None) -> Path:
    """The folder of that name, or of the published model or the repository of the hub of that name, fetched.

    TokbenchError where there is none of them.
    """
    folder, name = Path(source), str(source)
    try:
        there = folder.is_dir()
    except OSError as error:
        raise TokbenchError(f"{printable(name, 80)}: {error.strerror}") from None
    if there:
        return folder
    if folder.exists():
        raise TokbenchError(f"{name}: a file, not a model's folder; published checkpoints come in by `tokbench import`")
    if not is_hub_name(name):
        if (published := BY_NAME.get("named")(name)) is not None:
            return published
        raise TokbenchError(
            f"{name}: no such folder, no published model of that name (`tokbench models`), and not the name of a hub "
            "repository (owner/repository)"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        with reachable_or_offline():
            return Path(snapshot_download(name, revision=revision, allow_patterns=[CONFIG, WEIGHTS]))
    except (HfHubHTTPError, OSError, ValueError) as error:
        place = f" ({folder.parent} is here, without it)" if folder.parent.is_dir() else ""
        raise TokbenchError(
            f"{name}: no such folder here{place}, and the hub did not give it: {reason(error)}"
        ) from error
