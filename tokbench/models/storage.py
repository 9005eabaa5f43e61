"""Models on disk and on the hub: ``config.json``, ``model.safetensors`` and a card, written whole or not at all."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tokbench.config.architecture import ImageArchitecture
from tokbench.config.model import TokenizerConfig
from tokbench.config.yaml_files import read_yaml
from tokbench.errors import TokbenchError, printable, size_text
from tokbench.reading import read_regular
from tokbench.results.card import NAME as CARD
from tokbench.results.card import Card, record_of, write_card
from tokbench.results.files import written

if TYPE_CHECKING:
    from .tokenizer import Tokenizer

CONFIG, WEIGHTS = "config.json", "model.safetensors"
LARGEST_CONFIG = 2**24  # bytes
AnyModel = TypeVar("AnyModel", bound=nn.Module)


def save(tokenizer: Tokenizer, folder: str | PathLike[str], license: str | None = None) -> None:
    """See ``Tokenizer.save_pretrained``."""
    save_model(tokenizer, config_text(tokenizer.config), Path(folder), card(tokenizer), license)


def save_model(model: nn.Module, config: str, folder: Path, about: Card, license: str | None = None) -> None:
    """Write the files to temporary names in ``folder`` and rename them into place; the card last.

    The card is made of the record and the recipe of the run that ``folder``, or the folder the model was read from,
    lies in. A README that somebody wrote is left alone.
    """
    if folder.exists() and not folder.is_dir():
        raise TokbenchError(f"{folder}: a file is in the way; give the name of a folder")
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
    with written(folder / CONFIG, sync=True) as text, written(folder / WEIGHTS, sync=True) as weights:
        save_file(tensors, weights, metadata={"format": "pt"})
        text.write_text(config, encoding="utf-8")
    write_card(folder, card_text(model, about, [folder, home_of(model)], license))


def card_text(
    model: nn.Module, about: Card, homes: Sequence[Path | None], license: str | None = None, source: str = "FOLDER"
) -> str:
    """The card of a model whose run lies in one of ``homes``."""
    digest: Any = model
    sha256 = digest.sha256()
    record = next((found for home in homes if (found := record_of(home, sha256)) is not None), None)
    recipe = next((said for home in homes if (said := recipe_of(home)) is not None), None)
    return about.text(record=record, recipe=recipe, license=license, source=source)


def recipe_of(folder: Path | None) -> dict[str, Any] | None:
    """The recipe of the run whose folder holds the model; None where there is none."""
    try:
        return read_yaml(folder.resolve().parent / "recipe.yaml") if folder is not None else None
    except (TokbenchError, OSError):
        return None


def home_of(model: nn.Module) -> Path | None:
    """The folder a model was read from; None for a new one."""
    found = getattr(model, "home", None)
    return found if isinstance(found, Path) else None


def refresh_card(model: nn.Module, folder: Path, about: Card) -> bool:
    """Write the card in ``folder`` anew, after its model was measured; whether there was one of ours, or none."""
    return write_card(folder, card_text(model, about, [folder, home_of(model)]))


def card(tokenizer: Tokenizer) -> Card:
    """What a tokenizer knows of itself."""
    config, rate = tokenizer.config, tokenizer.rate()
    options = ", ".join(f"{key} {value}" for key, value in config.quantizer.options.items())
    name, architecture = config.quantizer.name, config.model.architecture
    model, tokens = config.model, "x".join(map(str, rate["tokens"]))
    colour = {1: ", grey", 3: ""}.get(config.channels, f", {config.channels} channels")
    layout = f"(B, {config.channels}, {'H, W' if len(model.factors) == 2 else 'T, H, W'})"
    others = f"; other multiples of {tokenizer.downsampling} work too" if isinstance(model, ImageArchitecture) else ""
    return Card(
        kind="tokenizer",
        title=f"{architecture}-{model.reduction}-{name}",
        about=f"A visual tokenizer: images to codes ({name}) and back, with {architecture}'s encoder and decoder.",
        use="from tokbench.models import Tokenizer\n\n"
        'tokenizer = Tokenizer.from_pretrained("{source}")\n'
        f"codes = tokenizer.encode(images)   # float {layout} in [-1, 1] -> int64 (B, *grid, D)\n"
        "images = tokenizer.decode(codes)",
        facts=[
            ("architecture", architecture),
            ("quantizer", f"{name} ({options})" if options else name),
            ("downsampling", model.reduction.removeprefix("f")),
            ("images", f"{size_text(config.image_size)}{colour}{others}"),
            ("codes", f"{tokens}, vocabularies {', '.join(map(str, rate['codebook_sizes'][:8]))}"),
            ("rate", f"{rate['bits_per_image']:,.0f} bits an image, {rate['bits_per_pixel']:.4g} bits per pixel"),
            ("parameters", f"{tokenizer.parameter_count:,}"),
        ],
        tags=("image-tokenizer", "vector-quantization", architecture, name),
    )


def config_text(config: TokenizerConfig) -> str:
    """``config.json``'s contents."""
    return json.dumps(config.model_dump(mode="json"), indent=2) + "\n"


def load(cls: type[Tokenizer], source: str | PathLike[str], revision: str | None = None) -> Tokenizer:
    """The tokenizer of a folder or hub repository, in evaluation mode; see ``Tokenizer.from_pretrained``."""
    folder = _folder(source, revision)
    config = read_config(folder / CONFIG)
    tokenizer = load_model(lambda: cls(config), folder)
    return tokenizer.eval()


def load_model(build: Callable[[], AnyModel], folder: Path) -> AnyModel:
    """A model by ``build`` with the weights of ``folder``. What the configuration claims is held against the weights
    before there is memory for it: a line in a text file may say anything."""
    tensors = read_weights(folder / WEIGHTS)
    try:
        with torch.device("meta"):
            wanted = build().state_dict()
    except TokbenchError as error:
        raise TokbenchError(f"{folder / CONFIG}: {printable(str(error), 300)}") from None
    except (ValueError, RuntimeError, OverflowError, TypeError, ZeroDivisionError, MemoryError) as error:
        raise TokbenchError(f"{folder / CONFIG}: no model can be built of it: {printable(str(error), 200)}") from None
    check_fits(wanted, tensors, str(folder / WEIGHTS))
    model = build()
    load_exactly(model, tensors, str(folder / WEIGHTS))
    model.home = folder  # type: ignore[assignment]
    return model


def start_from(tokenizer: Tokenizer, source: str | PathLike[str]) -> list[str]:
    """Fill ``tokenizer`` with the weights of another of the same shape, or of the image tokenizer that a tokenizer of
    videos grows out of; what to tell about it. TokbenchError names what does not fit."""
    folder = _folder(source, None)
    found, wanted = read_config(folder / CONFIG).model.architecture, tokenizer.config.model.architecture
    if wanted == "magvit2-video" != found:
        from .inflation import inflate

        return inflate(type(tokenizer).from_pretrained(folder), tokenizer)
    load_exactly(tokenizer, read_weights(folder / WEIGHTS), str(folder / WEIGHTS))
    return []


def read_config(path: Path) -> TokenizerConfig:
    """A checked configuration; TokbenchError names the file and the first key that is wrong."""
    try:
        return TokenizerConfig.model_validate_json(read_regular(path, LARGEST_CONFIG))
    except FileNotFoundError as error:
        raise TokbenchError(no_model(path.parent, "tokenizer")) from error
    except (OSError, ValueError, RecursionError) as error:  # a ValidationError is a ValueError
        raise TokbenchError(f"{path}: {explain(error)}") from error


def no_model(folder: Path, kind: str) -> str:
    """What is wrong with a folder without a configuration: it is often the run's, in which the model's lies."""
    inside = next((f for f in (folder / kind, *sorted(folder.glob(f"*/{kind}"))[:1]) if (f / CONFIG).is_file()), None)
    meant = f"; did you mean {inside}?" if inside is not None else ""
    return f"{folder}: no {CONFIG} there, so this is not a {kind}'s folder{meant}"


def explain(error: ValidationError | Exception) -> str:
    """The first thing a validation found wrong, in one line: where, and what."""
    if not isinstance(error, ValidationError):
        return printable(" ".join(str(error).split()), 200)
    first = error.errors(include_url=False)[0]
    where = printable(".".join(str(part) for part in first["loc"]), 80) or "the file"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{where}: {printable(first['msg'], 240)}{more}"


def read_weights(path: Path) -> dict[str, Tensor]:
    """A safetensors file on the CPU."""
    if not path.is_file():
        raise TokbenchError(f"{path.parent}: no {WEIGHTS} there; weights in other formats come in by `tokbench import`")
    try:
        with path.open("rb"):  # or a file that may not be read passes for a damaged one
            pass
    except OSError as error:
        raise TokbenchError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        return load_file(path, device="cpu")
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError, MemoryError) as error:
        reason = printable(str(error), 120)
        raise TokbenchError(f"{path}: not a whole safetensors file ({reason}); copy or download it again") from error


def load_exactly(module: nn.Module, tensors: dict[str, Tensor], origin: str) -> None:
    """Fill every weight and buffer of ``module``; TokbenchError lists missing, left-over and misshapen names."""
    check_fits(module.state_dict(), tensors, origin)
    with torch.no_grad():
        module.load_state_dict(tensors)


def check_fits(wanted: dict[str, Any], tensors: dict[str, Tensor], origin: str) -> None:
    """TokbenchError that lists missing, left-over and misshapen names."""
    problems = mismatches(wanted, tensors)
    if problems:
        told = printable("; ".join(problems), 320)
        raise TokbenchError(f"{origin}: the weights do not fit the configuration: {told}")


def mismatches(wanted: dict[str, Any], given: dict[str, Any], show: int = 4) -> list[str]:
    """What keeps ``given`` from filling ``wanted``, with the first few names of each kind."""

    def listed(names: list[str]) -> str:
        first = ", ".join(printable(name, 100) for name in names[:show])
        return first + (f" and {len(names) - show} more" if len(names) > show else "")

    missing = [name for name in wanted if name not in given]
    extra = [name for name in given if name not in wanted]
    shapes = [
        f"{name} is {list(given[name].shape)}, not {list(wanted[name].shape)}"
        for name in wanted
        if name in given and given[name].shape != wanted[name].shape
    ]
    found = (("missing", missing), ("left over", extra), ("other shapes", shapes))
    return [f"{kind}: {listed(names)}" for kind, names in found if names]


def is_hub_name(source: str) -> bool:
    """Whether ``source`` is no folder or file here and could be a repository's name."""
    return not Path(source).exists() and re.fullmatch(r"[\w][\w.-]*/[\w][\w.-]*", source) is not None


def _folder(source: str | PathLike[str], revision: str | None) -> Path:
    folder = Path(source)
    if folder.is_dir():
        return folder
    name = str(source)
    if folder.exists():
        raise TokbenchError(
            f"{name}: a file, not a tokenizer's folder; published checkpoints come in by `tokbench import`"
        )
    if not is_hub_name(name):
        raise TokbenchError(f"{name}: no such folder, and no hub repository's name (owner/repository)")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=[CONFIG, WEIGHTS]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise TokbenchError(f"{name}: no such folder here, and the hub did not give it: {reason}") from error


def push(tokenizer: Tokenizer, repository: str, private: bool, message: str, license: str | None) -> str:
    """See ``Tokenizer.push_to_hub``."""
    return push_model(tokenizer, config_text(tokenizer.config), repository, card(tokenizer), private, message, license)


def push_model(
    model: nn.Module, config: str, repository: str, about: Card, private: bool, message: str, license: str | None
) -> str:
    """Upload the files and the card; the answer is the commit's address. TokbenchError where the hub refuses."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    api = HfApi()
    try:
        name = api.create_repo(repository, private=private, exist_ok=True).repo_id
        with tempfile.TemporaryDirectory() as scratch:
            save_model(model, config, Path(scratch), about)
            text = card_text(model, about, [home_of(model)], license, source=name)
            (Path(scratch) / CARD).write_text(text, encoding="utf-8")
            commit = api.upload_folder(
                repo_id=name, folder_path=scratch, commit_message=message, allow_patterns=[CONFIG, WEIGHTS, CARD]
            )
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        reason = printable(str(error).strip().partition("\n")[0] or type(error).__name__, 200)
        raise TokbenchError(f"{repository}: the hub did not take it: {reason} (logged in? `hf auth login`)") from error
    return str(commit.commit_url)
