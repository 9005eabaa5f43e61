"""The stages of a cell: train, evaluate; of a generator encode, train, evaluate. What is finished stays finished."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from tokbench.codes.cache import CodeCache
from tokbench.codes.encoding import is_of, write_codes
from tokbench.config.data import DataConfig
from tokbench.config.grid import axes
from tokbench.config.recipe import Recipe
from tokbench.data import open_split
from tokbench.data.base import Split
from tokbench.errors import TokbenchError
from tokbench.generators.pairs import Conditioned, conditioned
from tokbench.generators.pipeline import Pipeline
from tokbench.generators.record import generator_record
from tokbench.metrics import evaluate_tokenizer
from tokbench.metrics.record import tokenizer_record
from tokbench.metrics.registry import default_metrics
from tokbench.models import Tokenizer
from tokbench.results.files import write
from tokbench.results.locks import locked
from tokbench.results.paired import IMAGES
from tokbench.results.record import Record
from tokbench.results.store import Store
from tokbench.sweeps.generating import GeneratorCell
from tokbench.sweeps.grid import TokenizerCell
from tokbench.sweeps.pictures import tokenizer_pictures
from tokbench.sweeps.settings import cell_folder
from tokbench.training.generator_evaluation import evaluate_generator
from tokbench.training.loop import Look, make_accelerator, train

_ENCODED = "encoding.json"  # the mark of a finished code cache


@dataclass(frozen=True)
class RunContext:
    """Where and how cells run. ``stage`` is given the name of each stage as it begins."""

    out: Path
    title: str
    again: bool = False
    cpu: bool = False
    quiet: bool = False
    stage: Callable[[str], None] = lambda name: None


def run_stages(cell: TokenizerCell | GeneratorCell, context: RunContext) -> Record | None:
    """All stages that are not finished yet, and the record; None on processes that only helped to train.

    Raises KeyboardInterrupt where training was asked to stop; its checkpoint is saved.
    """
    return _tokenizer(cell, context) if isinstance(cell, TokenizerCell) else _generator(cell, context)


def _tokenizer(cell: TokenizerCell, context: RunContext) -> Record | None:
    recipe = cell.recipe
    accelerator = make_accelerator(recipe, context.cpu)
    # Several processes would have to agree to stop: their trials run to the end.
    alone = accelerator.num_processes == 1
    look = {"look": cell.trial.look(recipe)} if cell.trial is not None and alone else {}
    folder, summary = _trained(recipe, cell.key, "tokenizer", accelerator, context, **look)
    if not accelerator.is_main_process:
        return None
    context.stage("evaluate")
    tokenizer = Tokenizer.from_pretrained(folder / "tokenizer").to(accelerator.device).eval()
    data = recipe.data
    images = open_split(data, "eval")
    evaluation = evaluate_tokenizer(
        tokenizer,
        images,
        metrics=recipe.evaluation.metrics,
        batch_size=recipe.evaluation.batch_size,
        by_depth=recipe.evaluation.by_depth,
    )
    counts = [c.coalesce().values() if c.is_sparse else c for c in evaluation.histogram]  # of many codes: those seen
    histogram = {"counts": [c.tolist() for c in counts], "sizes": evaluation.rate.codebook_sizes}
    write(folder / "histogram.json", json.dumps(histogram))
    found = {"tokenizer": folder / "tokenizer", "log": folder / "log.jsonl", "histogram": folder / "histogram.json"}
    if evaluation.per_image:
        write(folder / "images.csv", evaluation.per_image)
        found[IMAGES] = folder / "images.csv"
    found |= tokenizer_pictures(tokenizer, images, folder)
    return tokenizer_record(
        evaluation,
        tokenizer,
        name=recipe.name,
        recipe=recipe.resolved(),
        cell=cell.key,
        seed=recipe.seed,
        training=_training(recipe, summary) | {"data": data.source} | tuned(cell.tuning),
        artifacts={name: str(path.relative_to(context.out)) for name, path in found.items()},
        weights_which="ema" if recipe.training.ema_decay else "live",
    )


def _generator(cell: GeneratorCell, context: RunContext) -> Record | None:
    recipe = cell.recipe
    tokenizer = model_folder(cell.tokenizer, context.out)
    if tokenizer is None:
        raise TokbenchError(f"its tokenizer (cell {cell.tokenizer.key}) is not there")
    codes, encoding = encoded(cell, tokenizer, context)
    kept = recipe.data.model_dump(include={"image_size", "channels", "kind", "crop", "workers", "stride", "fps"})
    data = DataConfig(source=f"codes:{codes}", **kept)
    placed = recipe.model_copy(update={"tokenizer": str(tokenizer), "data": data})
    accelerator = make_accelerator(placed, context.cpu)
    folder, summary = _trained(placed, cell.key, "generator", accelerator, context)
    if not accelerator.is_main_process:
        return None
    context.stage("evaluate")
    pair = Pipeline.load(folder / "generator", str(tokenizer), device=str(accelerator.device))
    config = recipe.evaluation
    size = {"image_size": config.size} if config.size is not None else {}
    images: Any = open_split(recipe.data.model_copy(update=size), "eval")
    if config.metrics is None and images.view.kind == "image" and not default_metrics(images.image_size, "generation"):
        usual = "gfvd_tf1" if len(axes(images.image_size)) == 3 else "gfid"
        config = config.model_copy(update={"metrics": [usual]})  # the record says what is missing
    trained_on = CodeCache(codes, "train").header.count // cell.passes
    found = evaluate_generator(pair, images, config, seed=recipe.seed, train_images=trained_on)
    artifacts = {"generator": folder / "generator", "log": folder / "log.jsonl"}
    pictures = sorted((folder / "pictures").glob("step-*.png"))
    artifacts |= {"samples": pictures[-1]} if pictures else {}
    return generator_record(
        pair.generator,
        pair.tokenizer,
        found.metrics,
        name=recipe.name,
        recipe=cell.recorded(),
        cell=cell.key,
        seed=recipe.seed,
        data=found.data,
        training=_training(recipe, summary)
        | {"data": recipe.data.source, "passes": cell.passes, "encoding_seconds": encoding["seconds"]}
        | {"curve": _curve(folder / "log.jsonl")},
        timing=found.timing,
        artifacts={name: str(path.relative_to(context.out)) for name, path in artifacts.items()},
        weights_which="ema" if recipe.training.ema_decay else "live",
    )


def model_folder(cell: TokenizerCell | GeneratorCell, out: Path) -> Path | None:
    """Where the newest recorded model of a cell lies; None where there is none (any more)."""
    record = Store(out / "runs.jsonl").find(cell.key)
    if record is None or record.kind not in record.artifacts:
        return None
    folder = out / record.artifacts[record.kind]
    # Codes will be written beside it: a record from elsewhere may name any place.
    inside = folder.resolve().is_relative_to(out.resolve())
    return folder if inside and (folder / "config.json").is_file() else None


def encoded(cell: GeneratorCell, tokenizer: Path, context: RunContext) -> tuple[Path, dict[str, Any]]:
    """The code cache of a cell, made unless it is there already, of the images as they are: its folder, and how long it
    took."""
    folder = tokenizer.parent / f"codes-{cell.codes_key}"
    splits: tuple[Split, ...] = ("train", "eval")
    with locked(folder.with_name(f".{folder.name}.lock")):
        images: dict[Split, Any] = {split: open_split(cell.recipe.data, split, cell.recipe.seed) for split in splits}
        for source in images.values() if cell.words else ():
            source.read_captions()
        for split in splits:  # a split's folder appears when it is whole
            passes = cell.passes if split == "train" else 1
            if (folder / split).is_dir() and not is_of(folder / split, images[split], passes):
                (folder / _ENCODED).unlink(missing_ok=True)
                shutil.rmtree(folder / split)
        try:
            return folder, json.loads((folder / _ENCODED).read_text())
        except (OSError, ValueError, RecursionError):
            pass
        context.stage("encode")
        device = "cuda" if torch.cuda.is_available() and not context.cpu else "cpu"
        pairs = _pairs(cell, device)
        beside: Any = {"condition": pairs.config, "partners": pairs.codes} if pairs is not None else {}
        model = Tokenizer.from_pretrained(tokenizer).to(device).eval()
        start, pictures = time.perf_counter(), 0
        for split in splits:
            if (folder / split).is_dir():
                continue
            if pairs is not None:
                images[split].label_count = pairs.labels
            pictures += write_codes(
                model,
                images[split],
                folder / split,
                source=str(tokenizer),
                batch_size=cell.recipe.evaluation.batch_size,
                passes=cell.passes if split == "train" else 1,
                latents=cell.latents,
                captions=bool(cell.words),
                workers=cell.recipe.data.workers,
                **beside,
            )
        made = {"address": cell.codes_key, "seconds": round(time.perf_counter() - start, 3), "pictures": pictures}
        write(folder / _ENCODED, json.dumps(made) + "\n")
        return folder, made


def _pairs(cell: GeneratorCell, device: str) -> Conditioned | None:
    """What the other half of pairs is encoded with. TokbenchError where that is not the tokenizer of the plan."""
    settings, data = cell.recipe.condition, cell.recipe.data
    named = settings.tokenizer if settings is not None else None
    pairs = conditioned(data.source, named, data.image_size, device)
    reference = pairs.config.tokenizer if pairs is not None else None
    if settings is not None and reference is not None and reference.sha256 != cell.condition:
        raise TokbenchError(
            f"condition.tokenizer {settings.tokenizer}: has other weights ({reference.sha256[:12]}) than when the "
            f"sweep was planned ({cell.condition[:12]}): run the sweep again"
        )
    return pairs


def _trained(
    recipe: Recipe,
    key: str,
    product: str,
    accelerator: Accelerator,
    context: RunContext,
    look: Look = lambda step, task: None,
) -> tuple[Path, dict[str, Any]]:
    """The folder of the finished run and its ``training.json``; trains, or continues, where there is none."""
    home = cell_folder(context.out, key)
    folder = newest_run(home)
    summary = _finished(folder, product)
    if summary is not None and context.again:
        folder, summary = _next(folder, home), None
    if summary is None:
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            # The folder is addressed by its settings: what may differ is where things lie and how often it reports.
            (folder / "recipe.yaml").unlink(missing_ok=True)
        accelerator.wait_for_everyone()
        context.stage("train")
        result = train(
            recipe,
            folder,
            resume=True,
            accelerator=accelerator,
            title=context.title,
            quiet=context.quiet,
            then="the same command continues from there",
            look=look,
        )
        if not result.finished:
            raise KeyboardInterrupt
        summary = _finished(folder, product)
        assert summary is not None
    if accelerator.num_processes > 1:
        # What follows is the first process's alone: nobody is left to answer a collective call.
        accelerator.wait_for_everyone()
        torch.distributed.destroy_process_group()
    return folder, summary


def newest_run(home: Path) -> Path:
    """A cell's run: its folder, or the newest of those that --again made beside it."""
    found = [int(n) for path in home.parent.glob(f"{home.name}-*") if (n := path.name.rpartition("-")[2]).isdigit()]
    return home.with_name(f"{home.name}-{max(found)}") if found else home


def _next(folder: Path, home: Path) -> Path:
    return home.with_name(f"{home.name}-{2 if folder == home else int(folder.name.rpartition('-')[2]) + 1}")


def _finished(folder: Path, product: str) -> dict[str, Any] | None:
    try:
        summary = json.loads((folder / "training.json").read_text())
        return summary if summary["finished"] and (folder / product).is_dir() else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _curve(log: Path) -> dict[str, list[float]]:
    """Bits per code over the steps, on the training batch and on held-out images, wherever they were measured."""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    names = sorted({name for line in lines for name in line if name.endswith("bits_per_code")})
    measured = [line for line in lines if names and all(name in line for name in names)]
    return {name: [round(line[name], 5) for line in measured] for name in ("step", *names)} if measured else {}


def tuned(tuning: dict[str, Any]) -> dict[str, Any]:
    """What a record's ``training`` says of how settings were chosen; nothing where nobody chose them."""
    return {"tuning": tuning} if tuning else {}


def _training(recipe: Recipe, summary: dict[str, Any]) -> dict[str, Any]:
    speed = summary.get("speed", {})
    cost = {key: speed[key] for key in ("flops", "peak_memory_bytes") if speed.get(key)}
    return {k: summary[k] for k in ("steps", "images", "seconds")} | {"batch_size": recipe.training.batch_size} | cost
