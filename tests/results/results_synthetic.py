"""Records of made-up numbers, written by what writes real ones: for testing how results are shown, and nothing else."""

from __future__ import annotations

import json
import math
import random
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from PIL import Image, ImageDraw

from tokbench.config.generator import ARConfig, MLMConfig
from tokbench.config.model import TokenizerConfig
from tokbench.data.pixels import to_tensor
from tokbench.generators import Generator, for_tokenizer
from tokbench.generators.record import generator_record, rate_metrics
from tokbench.metrics.evaluation import Evaluation
from tokbench.metrics.record import tokenizer_record
from tokbench.metrics.registry import get
from tokbench.models import Tokenizer
from tokbench.pictures import grid, save_picture
from tokbench.results import environment
from tokbench.results.environment import content_hash
from tokbench.results.record import DataRef, MetricValue, Rate, Record
from tokbench.results.sheets import COLUMNS, MOST, zoom
from tokbench.results.store import Store

DATA = DataRef(spec="photos", split="eval", n=96, size=64, protocol="tokbench-v1")
PROVENANCE = {
    "created": "2025-01-01T12:00:00+00:00",
    "git": {"revision": "0123456789abcdef", "dirty": False},
    "environment": {"python": "3.11", "torch": "2.9.0", "platform": "Linux x86_64", "cpu": "a CPU", "gpus": []},
}


def metric(value: float | None, label: str, direction: str = "higher", **more: Any) -> dict[str, Any]:
    """A MetricValue as JSON, as some other tokbench might have written it."""
    n = 0 if value is None else 96
    return {"value": value, "n": n, "version": "tokbench-v1/1", "label": label, "direction": direction, **more}


def measured(name: str, value: float | None, by_depth: list[float] | None = None) -> MetricValue:
    """What a metric of tokbench says of such a value."""
    return get(name).result(value, 0 if value is None else 96, "tokbench-v1", by_depth=by_depth)


@cache
def tokenizer(size: int, depth: int, image_size: int = 64) -> Tokenizer:
    """A small one at f4: nothing is shown of it but its settings and its rate."""
    quantizer = {"name": "vq", "codebook_size": size} | ({"name": "rq", "depth": depth} if depth > 1 else {})
    model = {"architecture": "vqgan", "channels": 8, "multipliers": [1, 1, 1], "blocks": 1, "latent_channels": 8}
    plain = {"image_size": image_size, "model": {**model, "attention_resolutions": []}, "quantizer": quantizer}
    return Tokenizer(TokenizerConfig.model_validate(plain))


def record(name: str = "vq", size: int = 256, depth: int = 1, seed: int | None = 0, **changes: Any) -> Record:
    """One tokenizer's record; ``changes`` replace whole fields, ``metrics`` adds to the usual ones."""
    rng = random.Random(f"{name}{size}{depth}{seed}")
    bits = depth * math.log2(size)
    psnr = 17 + 2.2 * math.log2(1 + bits / 2) + {"rq": 0.4, "lfq": -0.5}.get(name, 0) + 0.3 * rng.random()
    by_depth = [psnr - 2.5 * (depth - d) / depth for d in range(1, depth + 1)] if depth > 1 else None
    metrics = {
        "psnr": measured("psnr", psnr, by_depth),
        "ssim": measured("ssim", 1 - 5 / psnr, [1 - 5 / p for p in by_depth] if by_depth else None),
        "lpips": measured("lpips", 3 / psnr),
        "usage": measured("usage", 0.6 + 0.4 * rng.random()),
        "perplexity": measured("perplexity", size * 0.7),
        "entropy_bpp": measured("entropy_bpp", 0.85 * bits / 16),
    }
    recipe = {
        "name": f"{name}-{size}",
        "seed": seed,
        "quantizer": {"name": name, "codebook_size": size, "depth": depth},
        "training": {"steps": 2000, "lr": 1e-3},
        "model": {"ch": 64},
    }
    timing = {
        "seconds": 3.0, "device": "cpu", "precision": "float32", "batch_size": 32, "decode_images_per_second": 210.0
    }  # fmt: skip
    made = tokenizer(size, depth)
    evaluation = Evaluation(metrics, Rate(**made.rate()), DATA, timing, [])
    training = {
        "steps": 2000,
        "seconds": 41.0 + rng.random(),
        "batch_size": 32,
        "data": "photos",
        "flops": 2e12 * depth,
    }
    with mock.patch.object(environment, "provenance", lambda: PROVENANCE):
        row = tokenizer_record(
            evaluation, made, name=f"{name}-{size}", recipe=recipe, cell=content_hash(recipe), seed=seed,
            training=training,
        )  # fmt: skip
    said = {"id": content_hash([name, size, depth, seed, "id"]), "quantizer": recipe["quantizer"], **changes}
    return row.replace(**{**said, "metrics": {**metrics, **changes.get("metrics", {})}})


@cache
def generator(kind: str, size: int) -> Generator:
    """A small one on the codes of ``tokenizer(size, 1)``."""
    settings = {"width": 16, "heads": 2, "layers": 1}
    config = ARConfig.model_validate(settings) if kind == "ar" else MLMConfig.model_validate(settings)
    return for_tokenizer(config, tokenizer(size, 1), source="a folder", image_size=64)


def generated(kind: str, size: int, gfid: float) -> Record:
    """The record of a generator on the codes of an LFQ."""
    recipe = {"kind": kind, "size": size}
    with mock.patch.object(environment, "provenance", lambda: PROVENANCE):
        row = generator_record(
            generator(kind, size), tokenizer(size, 1), {"gfid": measured("gfid", gfid)}, name=f"lfq-{size}",
            recipe=recipe, cell=content_hash(recipe), seed=0, data=DATA,
        )  # fmt: skip
    return row.replace(id=content_hash([kind, size]), quantizer={"name": "lfq", "codebook_size": size, "depth": 1})


def by_position(size: int, train_images: int) -> Record:
    """The record of a new generator on codes drawn at random, with what each position costs."""
    made, of = generator("ar", size).eval(), tokenizer(size, 1)
    codes = torch.randint(size, (2, 16, 16, 1), generator=torch.Generator().manual_seed(0))
    found = rate_metrics(made, of, codes, image_size=64, protocol="tokbench-v1", train_images=train_images)
    row = generated("ar", size, 30.0)
    return row.replace(metrics={**row.metrics, **found})


def judged(gfid_by_rate: dict[float, float], judge: str = "efficientnet-lite0") -> list[Record]:
    """What evaluate-generator records for each rate of acceptance."""
    rows = []
    for rate, gfid in gfid_by_rate.items():
        row = generated("ar", 256, gfid)
        settings = {"reject": rate, "judge": judge}
        rows.append(
            row.replace(
                name=f"{row.name}, {rate:g} kept by {judge}",
                cell=content_hash([row.cell, settings]),
                recipe={**row.recipe, "evaluation": settings},
                recipe_hash=None,
                timing={**row.timing, "rejection": {**settings, "drawn_per_kept": 1 / rate}},
            )
        )
    return rows


def sweep() -> list[Record]:
    """VQ, LFQ and RQ over sizes, depths and three seeds; generators; a failed cell."""
    rows = [record(name, size, 1, seed) for name in ("vq", "lfq") for size in (64, 256, 1024) for seed in (0, 1, 2)]
    rows += [record("rq", 256, depth, seed) for depth in (1, 2, 4) for seed in (0, 1, 2)]
    for kind, slope in (("ar", 0.4), ("mlm", -0.5)):
        rows += [generated(kind, size, 30 + slope * math.log2(size) ** 1.5) for size in (64, 256, 1024, 4096)]
    rows.append(record("fsq", 240, error="RuntimeError: loss is not finite at step 120").replace(metrics={}))
    return rows


def folder(path: Path, rows: list[Record] | None = None) -> Path:
    """A results folder with runs.jsonl, images, histograms and logs."""
    store = Store(path / "runs.jsonl")
    for index, row in enumerate(rows if rows is not None else sweep()):
        if row.kind == "tokenizer" and row.error is None:
            row = row.replace(artifacts=artifacts(path, row, index))
        store.append(row)
    return path


def artifacts(path: Path, row: Record, index: int) -> dict[str, str]:
    """Files a record points at: drawn, not trained."""
    home = path / "cells" / row.cell
    home.mkdir(parents=True, exist_ok=True)
    rng = random.Random(index)
    depth = row.rate.tokens[-1] if row.rate else 1
    blurs = [0, 4 + ord(row.name[0]) % 7, *range(10, 10 - depth, -1)]
    originals, blurred, *stages = ([scene(number, blur) for number in range(MOST)] for blur in blurs)
    for name, tiles in (("originals", originals), ("reconstructions", blurred)):
        rows = [tiles[start : start + COLUMNS] for start in range(0, MOST, COLUMNS)]
        save_picture(grid(rows, zoom=zoom(64)), home / f"{name}.png")
    made = {"originals": "originals.png", "reconstructions": "reconstructions.png", "histogram": "histogram.json"}
    if depth > 1:
        columns = ["original", *(f"depth {d + 1}" for d in range(depth))]
        rows = [list(tiles) for tiles in zip(originals, *stages, strict=True)]
        save_picture(grid(rows, columns=columns, zoom=zoom(64)), home / "depths.png")
        made["depths"] = "depths.png"
    size = row.rate.codebook_sizes[0] if row.rate else 2
    drawn = (int(1000 * rng.paretovariate(1.5)) * (rng.random() < 0.9) for _ in range(size * depth))
    counts = [[next(drawn) for _ in range(size)] for _ in range(depth)]
    (home / "histogram.json").write_text(json.dumps({"counts": counts}))
    steps = range(0, 2000, 50)
    lines = [{"step": s, "psnr": 26 - 12 * math.exp(-s / 400) + rng.random(), "loss": 1 / (1 + s)} for s in steps]
    (home / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    made["log"] = "log.jsonl"
    return {key: str((home / name).relative_to(path)) for key, name in made.items()}


@cache
def scene(number: int, blur: int) -> torch.Tensor:
    """A little landscape, uint8 (3, 64, 64), coarser with ``blur``."""
    tile, rng = 64, random.Random(number)
    made = Image.new("RGB", (tile, tile), tuple(rng.randrange(80, 220) for _ in range(3)))
    pen = ImageDraw.Draw(made)
    for _ in range(7):
        x, y, r = rng.randrange(tile), rng.randrange(tile), rng.randrange(4, 18)
        pen.ellipse((x - r, y - r, x + r, y + r), fill=tuple(rng.randrange(256) for _ in range(3)))
    if blur:
        made = made.resize((tile // blur + 2,) * 2).resize((tile, tile))
    return to_tensor(made)
