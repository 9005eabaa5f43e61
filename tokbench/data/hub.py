"""``hub:NAME``: data sets of the Hugging Face hub (or of a local folder in its layout) through ``datasets``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokbench.data.base import Split
from tokbench.data.crops import View
from tokbench.data.registry import register
from tokbench.data.stream import StreamedImages, streamed_evaluation
from tokbench.data.table import TableImages, columns_of, split_beside, table_images, undecoded
from tokbench.data.whole import own_cache
from tokbench.errors import TokbenchError
from tokbench.hub import reachable_or_offline

EVAL_SPLITS = ("validation", "valid", "val", "test", "eval")


@dataclass(frozen=True)
class Known:
    """A data set under its usual name. ``held_out_from``: row at which the held-out part of its only split begins."""

    repository: str
    image: str
    label: str | None
    train: str
    held_out: str
    held_out_from: int | None = None
    note: str = ""


KNOWN = {
    "cifar10": Known("uoft-cs/cifar10", "img", "label", "train", "test"),
    "imagenet-1k": Known(
        "ILSVRC/imagenet-1k", "image", "label", "train", "validation",
        note="it is gated: accept its terms on its hub page, then run `hf auth login`",
    ),
    "ffhq": Known("merkol/ffhq-256", "image", None, "train", "train", held_out_from=60_000),
}  # fmt: skip
"""FFHQ: the first 60,000 images are for training, the others for validation (README of NVlabs/ffhq-dataset)."""


@register(
    {
        "hub:NAME[:CONFIG][:streaming]": "the Hugging Face hub; known names: cifar10, imagenet-1k, ffhq",
        "hub:NAME[:CONFIG],masks=COLUMN": "the same in pairs, for a generator's condition: also depth= and images=",
    }
)
def open_hub(source: str, rest: str, split: Split, view: View, limit: int | None) -> TableImages | StreamedImages:
    """``NAME[:CONFIG][:streaming]``; NAME is a known name, ``owner/name`` or a folder. Of pairs with ``,masks=COLUMN``
    (or ``depth=``, ``images=``) behind.

    The evaluation split is ``validation``, else ``valid``, ``val``, ``test``, ``eval``; where there is only ``train``,
    one row in ten is held out. No code from the hub is run.

    Raises:
        TokbenchError: unreachable and not in the cache, no such data set, gated, no image column, no such split.
    """
    rest, beside = split_beside(rest)
    name, config, streaming = parse(rest, source)
    if beside is not None and streaming:
        raise TokbenchError(f"{source}: {beside.kind}= goes with a table that is there as a whole: no :streaming")
    known = KNOWN.get(name)
    repository = known.repository if known else name
    with _at_hub(repository), _explained(source, name, known):
        import datasets

        if known:
            chosen, divide = (known.train if split == "train" else known.held_out), False
            names = list({known.train: None, known.held_out: None})
        else:
            names = datasets.get_dataset_split_names(repository, config)
            chosen, divide = _split_of(names, split, source)
        # Of a folder in the hub's layout: what is streamed is read anew, what is loaded is kept by its files' times.
        files = sorted(p for p in Path(repository).rglob("*") if p.is_file()) if Path(repository).is_dir() else []
        cache = {"cache_dir": own_cache(files)} if files and not streaming else {}
        rows = datasets.load_dataset(repository, config, split=chosen, streaming=streaming, **cache)
    image, label = (known.image, known.label) if known else (None, None)
    if streaming:
        if divide or (known and known.held_out_from is not None):
            raise TokbenchError(f"{source}: it has no evaluation split and a stream cannot be divided: no :streaming")
        if rows.features is None:
            raise TokbenchError(f"{source}: its columns are not declared, so it cannot be streamed; no :streaming")
        image, label = columns_of(rows.features, source, view.media, image, label)
        rows = undecoded(rows, image)
        info = rows.info.splits or {}
        length = info[chosen].num_examples if chosen in info else None
        places = folders(repository)
        if split == "eval":
            return streamed_evaluation(source, view, rows, image, label, limit, length, folders=places)
        return StreamedImages(source, view, rows, image, label, limit, length, content=str(info), folders=places)
    positions = None
    if known and known.held_out_from is not None:
        whole = range(len(rows))
        positions = whole[: known.held_out_from] if split == "train" else whole[known.held_out_from :]

    def elsewhere(column: str) -> Iterator[object]:
        """Labels of the other splits, which came with this one; numbers stand for themselves."""
        for other in names if _is_text(rows, column) else ():
            if other != chosen:
                with _at_hub(repository), _explained(source, name, known):
                    yield from datasets.load_dataset(repository, config, split=other, **cache).unique(column)

    settings: dict[str, Any] = {"divide": divide, "image": image, "label": label, "positions": positions}
    settings["beside"] = beside
    places = folders(repository)
    return table_images(source, split, view, rows, limit, **settings, others=elsewhere, files=files, folders=places)


def _is_text(rows: Any, column: str) -> bool:
    return str(getattr(rows.features[column], "dtype", "")) in ("string", "large_string")


def folders(repository: str) -> list[Path]:
    """Where ``datasets`` keeps the files of a repository, or the folder that ``repository`` is."""
    import datasets
    from huggingface_hub import constants

    kept = (datasets.config.HF_DATASETS_CACHE, datasets.config.DOWNLOADED_DATASETS_PATH, constants.HF_HUB_CACHE)
    return [Path(folder) for folder in ((repository,) if Path(repository).is_dir() else kept)]


def parse(rest: str, source: str) -> tuple[str, str | None, bool]:
    """``NAME[:CONFIG][:streaming]`` -> (name, config, streaming)."""
    name, *options = rest.split(":")
    streaming = "streaming" in options
    configs = [option for option in options if option != "streaming"]
    if not name or len(configs) > 1 or not all(configs):
        raise TokbenchError(f"{source!r} is not hub:NAME[:CONFIG][:streaming] (known names: {', '.join(KNOWN)})")
    return name, configs[0] if configs else None, streaming


def _split_of(names: list[str], split: Split, source: str) -> tuple[str, bool]:
    """(the data set's split, whether it has yet to be divided)."""
    held_out = next((name for name in EVAL_SPLITS if name in names), None)
    if "train" in names:
        return ("train", False) if split == "train" and held_out else (held_out or "train", held_out is None)
    if split == "eval" and held_out:
        return held_out, False
    raise TokbenchError(f"{source}: it has no {split} split (it has: {', '.join(names)})")


def _at_hub(repository: str) -> AbstractContextManager[None]:
    return nullcontext() if Path(repository).exists() else reachable_or_offline()


@contextmanager
def _explained(source: str, name: str, known: Known | None) -> Iterator[None]:
    """Errors of ``datasets`` as one line that says what to do."""
    try:
        yield
    except TokbenchError:
        raise
    except Exception as error:
        text = " ".join(str(error).split())
        chain = [error, error.__cause__, error.__context__]
        kinds = {type(e).__name__ for e in chain if e is not None}
        if "GatedRepo" in " ".join(kinds) or "gated" in text.lower():
            advice = (known.note if known else "") or "it is gated: accept its terms on its hub page, then log in"
        elif isinstance(error, ConnectionError) or "OfflineModeIsEnabled" in kinds:
            advice = "the hub does not answer and the data set is not in the cache; go online once, or use folder:PATH"
            advice += f" ({known.note})" if known and known.note else ""
        elif isinstance(error, FileNotFoundError):
            advice = f"no such data set on the hub (known names: {', '.join(KNOWN)}; others as owner/name)"
        else:
            advice = text[:300] or type(error).__name__
        raise TokbenchError(f"{source}: {name} cannot be loaded: {advice}") from None
