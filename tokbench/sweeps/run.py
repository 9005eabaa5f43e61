"""Run the cells of a sweep: train, measure, record, and go on when one fails."""

from __future__ import annotations

import json
import traceback
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table as RichTable
from torch import Tensor

from tokbench.config.recipe import TokenizerRecipe
from tokbench.data import open_images
from tokbench.data.pixels import to_float, to_uint8
from tokbench.errors import TokbenchError
from tokbench.metrics import evaluate_tokenizer
from tokbench.metrics.record import tokenizer_record
from tokbench.models import Tokenizer
from tokbench.pictures import grid as picture_grid
from tokbench.pictures import save_picture
from tokbench.results.environment import describe, git_state, new_id
from tokbench.results.record import Record
from tokbench.results.store import Store
from tokbench.results.table import comparison, to_markdown, to_terminal
from tokbench.sweeps.grid import Cell, Grid
from tokbench.training.checks import check_recipe
from tokbench.training.files import write_text
from tokbench.training.loop import make_accelerator, train

_SHOWN = 8  # held-out images in the comparison picture


def run_sweep(grid: Grid, out: Path, *, again: bool = False, cpu: bool = False) -> int:
    """Finish every cell that is not yet in ``out/runs.jsonl`` and print the table. Returns how many failed.

    Each cell trains in ``out/cells/KEY``; one that was interrupted continues from its checkpoint.
    """
    console = Console(stderr=True)
    cells, impossible = grid.cells()
    for label, why in impossible:
        console.print(f"skipped {label}: {why}", highlight=False, markup=False)
    store = Store(out / "runs.jsonl")
    done = set() if again else store.cells()
    failed = 0
    for i, cell in enumerate(cells, 1):
        title = f"[{i}/{len(cells)}] {cell.label}"
        if cell.key in done:
            console.print(f"{title}: already in {store.path} (--again runs it anew)", highlight=False, markup=False)
            continue
        try:
            record = _run_cell(cell, out, title, again, cpu, console)
        except KeyboardInterrupt:
            raise
        except Exception as error:  # one cell's failure is a result; the others go on
            failed += 1
            record = _failure(cell, error)
            console.print(f"{title}: failed: {record.error}", highlight=False, markup=False, style="red")
            (out / "cells" / cell.key).mkdir(parents=True, exist_ok=True)
            write_text(out / "cells" / cell.key / "error.txt", traceback.format_exc())
        store.append(record)
    _show(cells, store, out, console)
    return failed


def print_cells(grid: Grid, out: Path) -> None:
    """What a sweep would do: its cells with rate and parameters, which are done, which are impossible."""
    cells, impossible = grid.cells()
    done = Store(out / "runs.jsonl").cells()
    table = RichTable("cell", "quantizer", "bits/image", "bits/pixel", "parameters", "steps", "state")
    for cell in cells:
        recipe = cell.recipe
        with torch.device("meta"):
            rate = Tokenizer(_config(recipe)).rate()
        table.add_row(
            cell.key,
            cell.label,
            f"{rate['bits_per_image']:,.0f}",
            f"{rate['bits_per_pixel']:.4g}",
            f"{check_recipe(recipe):,}",
            f"{recipe.training.steps:,}",
            "done" if cell.key in done else "to run",
        )
    console = Console()
    console.print(table)
    for label, why in impossible:
        console.print(f"skipped {label}: {why}", highlight=False, markup=False)


def _run_cell(cell: Cell, out: Path, title: str, again: bool, cpu: bool, console: Console) -> Record:
    recipe, folder = cell.recipe, out / "cells" / cell.key
    accelerator = make_accelerator(recipe, cpu)
    summary = _finished(folder)
    if summary is None or again:
        if summary is not None:
            folder = _fresh(folder)
        result = train(recipe, folder, resume=True, accelerator=accelerator, title=title)
        if not result.finished:
            raise KeyboardInterrupt
        summary = _finished(folder)
        assert summary is not None
    tokenizer = Tokenizer.from_pretrained(folder / "tokenizer").to(accelerator.device).eval()
    data = recipe.data
    images = open_images(data.source, "eval", image_size=data.image_size, limit=data.eval_limit)
    with console.status(f"{title}: measuring {len(images)} held-out images"):
        evaluation = evaluate_tokenizer(
            tokenizer,
            images,
            metrics=recipe.evaluation.metrics,
            batch_size=recipe.evaluation.batch_size,
            by_depth=recipe.evaluation.by_depth,
        )
    histogram = {"counts": [counts.tolist() for counts in evaluation.histogram]}
    write_text(folder / "histogram.json", json.dumps(histogram))
    found = {"tokenizer": folder / "tokenizer", "log": folder / "log.jsonl", "histogram": folder / "histogram.json"}
    found |= _pictures(tokenizer, images, folder)
    artifacts = {name: str(path.relative_to(out)) for name, path in found.items()}
    return tokenizer_record(
        evaluation,
        tokenizer,
        name=recipe.name,
        recipe=recipe.resolved(),
        cell=cell.key,
        seed=recipe.seed,
        training={k: summary[k] for k in ("steps", "images", "seconds")}
        | {"batch_size": recipe.training.batch_size, "data": data.source},
        artifacts=artifacts,
        weights_which="ema" if recipe.training.ema_decay else "live",
    )


def _finished(folder: Path) -> dict[str, Any] | None:
    try:
        summary = json.loads((folder / "training.json").read_text())
        return summary if summary["finished"] and (folder / "tokenizer").is_dir() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _fresh(folder: Path) -> Path:
    number = 2
    while (folder.parent / f"{folder.name}-{number}").exists():
        number += 1
    return folder.parent / f"{folder.name}-{number}"


@torch.no_grad()
def _pictures(tokenizer: Tokenizer, images: Any, folder: Path) -> dict[str, Path]:
    """Grids of one layout: originals, reconstructions, and coarse to fine where codes have depth."""
    originals = _samples(images)
    device = next(tokenizer.parameters()).device
    codes = tokenizer.encode(to_float(originals.to(device)))
    depth = codes.shape[-1]
    stages = [to_uint8(tokenizer.decode(codes[..., : d + 1])).cpu() for d in range(depth)]
    zoom = max(1, 128 // originals.shape[-1])

    def rows(batch: Tensor) -> list[list[Tensor]]:
        return [list(batch[i : i + 4]) for i in range(0, len(batch), 4)]

    made = {
        "originals": save_picture(picture_grid(rows(originals), zoom=zoom), folder / "originals.png"),
        "reconstructions": save_picture(picture_grid(rows(stages[-1]), zoom=zoom), folder / "reconstructions.png"),
    }
    if depth > 1:
        columns = ["original", *(f"depth {d + 1}" for d in range(depth))]
        coarse_to_fine = [[originals[i], *(stage[i] for stage in stages)] for i in range(len(originals))]
        made["depths"] = save_picture(picture_grid(coarse_to_fine, columns=columns, zoom=zoom), folder / "depths.png")
    return made


def _samples(images: Any) -> Tensor:
    step = max(1, len(images) // _SHOWN)
    return torch.stack([images[i]["image"] for i in range(0, len(images), step)][:_SHOWN])


def _show(cells: list[Cell], store: Store, out: Path, console: Console) -> None:
    keys = {cell.key for cell in cells}
    records = [record for record in store.read() if record.cell in keys]
    if any(record.error is None for record in records):
        table = comparison(records, by_depth=True)
        Console().print(to_terminal(table))
        write_text(out / "table.md", to_markdown(table))
        console.print(f"\nrecords {store.path}, table {out / 'table.md'}", highlight=False)
    picture = _comparison_picture(cells, records, out)
    if picture is not None:
        console.print(f"picture {picture}", highlight=False)


@torch.no_grad()
def _comparison_picture(cells: list[Cell], records: list[Record], out: Path) -> Path | None:
    """Held-out originals beside what each tokenizer makes of them, for cells on the same data."""
    newest = {record.cell: record for record in records if record.error is None and "tokenizer" in record.artifacts}
    shown = [cell for cell in cells if cell.key in newest][:8]
    if not shown or len({cell.recipe.data.model_dump_json() for cell in shown}) > 1:
        return None
    data = shown[0].recipe.data
    images = open_images(data.source, "eval", image_size=data.image_size, limit=data.eval_limit)
    originals = _samples(images)
    columns, stacks = ["original"], [originals]
    for cell in shown:
        record = newest[cell.key]
        tokenizer = Tokenizer.from_pretrained(out / record.artifacts["tokenizer"])
        stacks.append(to_uint8(tokenizer.reconstruct(to_float(originals))))
        psnr = record.metrics.get("psnr")
        value = f" {psnr.value:.1f} dB" if psnr is not None and psnr.value is not None else ""
        columns.append(f"{cell.label}{value}")
    rows = [list(images) for images in zip(*stacks, strict=True)]
    zoom = max(1, 160 // originals.shape[-1])
    return save_picture(picture_grid(rows, columns=columns, zoom=zoom), out / "comparison.png")


def _failure(cell: Cell, error: Exception) -> Record:
    recipe: TokenizerRecipe = cell.recipe
    return Record(
        id=new_id(),
        cell=cell.key,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        name=recipe.name,
        seed=recipe.seed,
        quantizer=recipe.quantizer.model_dump(),
        model={"architecture": recipe.model.architecture, "downsampling": recipe.model.downsampling},
        environment=describe(),
        git=git_state(),
        recipe=recipe.resolved(),
        error=str(error) if isinstance(error, TokbenchError) else f"{type(error).__name__}: {error}",
    )


def _config(recipe: TokenizerRecipe) -> Any:
    from tokbench.config.model import TokenizerConfig

    return TokenizerConfig(image_size=recipe.data.image_size, model=recipe.model, quantizer=recipe.quantizer)
