"""Published checkpoints in, one file per source, and tokenizers back out.

>>> tokenizer = load("taming", "last.ckpt", "model.yaml")  # an ordinary Tokenizer: saves, evaluates, trains on
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .report import ImportReport

if TYPE_CHECKING:
    from tokbench.generators import Generator
    from tokbench.models import Tokenizer

    from .weight_sets import Contents, Weights

_SIZES = (  # what configurations call it, or give it by
    "resolution",
    "image_size",
    "crop_size",
    "sample_size",
    "spatial_size",
    "num_patches",
    "v_patch_nums",
    "scale_schedule",
)

__all__ = ["ImportReport", "export", "load", "load_generator", "read", "read_generator", "sources"]


def sources() -> list[str]:
    """The names of the layouts that can be imported."""
    from .importer import IMPORTERS

    return list(IMPORTERS)


def load(
    source: str | None,
    checkpoint: str | PathLike[str],
    config: Mapping[str, Any] | str | PathLike[str] | None = None,
    weights: Weights = "auto",
) -> Tokenizer:
    """A published checkpoint as a :class:`~tokbench.models.Tokenizer`, in evaluation mode.

    Args:
        source: one of :func:`sources`; None or ``auto`` goes by the weights' names and the configuration's class.
        checkpoint: the file, or the folder of a model saved in pieces; only tensors are read, no code in it is run.
        config: the YAML or JSON it was published with, or its settings themselves; of a folder its ``config.json``
            where nothing is given. Without it the settings are read off the weights, and the image size, which they do
            not show, is taken to be 256.
        weights: ``live`` or ``ema`` where a file has both; ``auto`` takes what the official code evaluates.

    Raises:
        TokbenchError: a truncated file, a pickle with code in it, an unknown layout, weights that are missing, not
            finite or all zero, or a configuration that does not fit them.
    """
    return read(source, checkpoint, config, weights)[0]


def read(
    source: str | None,
    checkpoint: str | PathLike[str],
    config: Mapping[str, Any] | str | PathLike[str] | None = None,
    weights: Weights = "auto",
) -> tuple[Tokenizer, ImportReport]:
    """:func:`load`, and what became of every key in the file."""
    from .checkpoint import section
    from .filling import fill
    from .importer import choose

    settings, contents = _opened(checkpoint, config)
    with _one_line(contents.path):
        importer, doubts = choose(source, contents, settings)
        chosen = contents.choose(importer.recognises, weights, importer.evaluates)
        plan = importer.read(chosen.weights.tensors, settings, contents.path)
        tokenizer, report = fill(plan, importer.name, chosen, contents.path)
    report.notes += doubts
    if not any(section(settings, key) for key in _SIZES):
        report.notes.append(f"no image size was given: taken to be {plan.config.image_size}")
    return tokenizer, report


def load_generator(
    source: str | None,
    checkpoint: str | PathLike[str],
    config: Mapping[str, Any] | str | PathLike[str] | None = None,
    tokenizer: Tokenizer | str | PathLike[str] | None = None,
    weights: Weights = "auto",
) -> Generator:
    """A published generator as a :class:`~tokbench.generators.Generator`, in evaluation mode; see
    :func:`read_generator`.

    Args:
        config: as of :func:`load`.
        tokenizer: the one whose codes it models, or where that lies; None takes the one in the same file.
    """
    from tokbench.models import Tokenizer

    where = ""
    if tokenizer is not None and not isinstance(tokenizer, Tokenizer):
        where = fspath(tokenizer)
        tokenizer = Tokenizer.from_pretrained(where)
    return read_generator(source, checkpoint, config, tokenizer, tokenizer_source=where, weights=weights)[0]


def read_generator(
    source: str | None,
    checkpoint: str | PathLike[str],
    config: Mapping[str, Any] | str | PathLike[str] | None,
    tokenizer: Tokenizer | None,
    *,
    tokenizer_source: str = "",
    weights: Weights = "auto",
) -> tuple[Generator, ImportReport]:
    """A published generator on ``tokenizer``, the imported one whose codes it models, in evaluation mode.

    Its ``tokenizer`` and, where the condition is codes of another one, ``condition_tokenizer`` are set.

    Args:
        tokenizer: None takes the one in the same file, as taming keeps it.
        tokenizer_source: where ``tokenizer`` lies; recorded beside the weights. One out of the file is to be saved as
            ``tokenizer`` in the generator's folder.

    The others, and what is raised, are as of :func:`load`.
    """
    from tokbench.generators.building import TOKENIZER
    from tokbench.models.fitting import load_exactly

    from .importer import choose_generator, of_codes

    settings, contents = _opened(checkpoint, config)
    with _one_line(contents.path):
        importer = choose_generator(source, contents)
        chosen = contents.choose(importer.recognises, weights, "live")
        given = chosen.weights.tensors
        if tokenizer is None:
            tokenizer, tokenizer_source = importer.tokenizer(given, settings, contents.path), TOKENIZER
            if tokenizer is None and not importer.alone:
                raise of_codes(importer.name, contents.path)
        plan = importer.read(given, settings, tokenizer, tokenizer_source, contents.path)
        load_exactly(plan.model, plan.tensors, contents.path)
    plan.model.come_with(tokenizer, plan.condition_tokenizer)
    report = ImportReport(
        source=importer.name,
        weights=chosen.summary,
        loaded=len(given) - sum(map(len, plan.ignored.values())),
        ignored=plan.ignored,
        entries=chosen.entries,
        notes=chosen.notes,
    )
    return plan.model.eval(), report


def _opened(
    checkpoint: str | PathLike[str], config: Mapping[str, Any] | str | PathLike[str] | None
) -> tuple[dict[str, Any], Contents]:
    from .checkpoint import read_checkpoint, read_config
    from .weight_sets import Contents

    path = fspath(checkpoint)
    if config is None and (beside := Path(path, "config.json")).is_file():  # as ``save_pretrained`` leaves a folder
        config = beside
    said = dict(config) if isinstance(config, Mapping) else read_config(config)
    return said, Contents(read_checkpoint(path), path)


@contextmanager
def _one_line(path: str) -> Iterator[None]:
    from tokbench.errors import TokbenchError, printable

    try:
        yield
    except TokbenchError as error:
        raise TokbenchError(printable(str(error), 1000)) from error
    except Exception as error:  # settings read off weights of absurd shapes lead anywhere
        reason = printable(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}", 160)
        raise TokbenchError(f"{path}: no known model can be made of its weights ({reason})") from error


def export(tokenizer: Tokenizer, format: str, out: str | PathLike[str]) -> list[str]:
    """Write ``tokenizer`` in an official layout, ``taming`` or ``rqvae`` with its YAML beside it, or ``diffusers``, a
    folder; or as a folder of programs, ``onnx`` or ``torch``. The answer is the files' names.

    Raises:
        TokbenchError: an unknown format, or a tokenizer that the layout cannot hold.
    """
    from .exporter import export as write

    return write(tokenizer, format, out)
