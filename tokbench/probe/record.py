"""What a probe found as a record of kind ``benchmark``: a row for codes, a row for pixels."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch

from tokbench.config.grid import Grid
from tokbench.data.base import measured_on
from tokbench.metrics.clock import device_name
from tokbench.models import Tokenizer
from tokbench.probe.classifier import ProbeSettings
from tokbench.probe.run import Recognition
from tokbench.probe.samples import Labelled
from tokbench.results.definitions import Definition, Shown
from tokbench.results.environment import content_hash, new_id, provenance
from tokbench.results.record import Rate, Record, defined

VERSION = 1
FEW_HELD_OUT, FEW_A_CLASS = 1000, 50
NAMES = {"linear": "linear_top1", "ar": "ar_top1"}
"""Of what is read by one layer alone; else ``probe_top1``."""
OWN = {
    "linear_top1": Definition("top-1 of a linear probe", "higher", "%", Shown(2, usual=True)),
    "ar_top1": Definition("top-1 of a linear probe of the AR", "higher", "%", Shown(2, usual=True)),
}


def asked(
    reads: str,
    data: Labelled,
    grid: Grid,
    settings: ProbeSettings,
    tokenizer: Tokenizer | None = None,
    generator: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """What decides the result but the seed. Of pixels no tokenizer does: any of the same grid shares the row.

    ``generator``: its hash and the block that is read, of ``ar``.
    """
    trained = asdict(settings)
    if reads in NAMES:  # of one layer
        trained = {key: value for key, value in trained.items() if key not in ("width", "layers", "heads")}
    found = {
        "probe": VERSION,
        "reads": reads,
        "grid": list(grid),
        "train": data.train.fingerprint,
        "eval": data.held_out.fingerprint,
        **trained,
    }
    return found | ({"tokenizer": tokenizer.sha256()} if tokenizer is not None else {}) | (generator or {})


def cell(recipe: dict[str, Any], seed: int) -> str:
    """The address of one classifier."""
    return content_hash({**recipe, "seed": seed})


def few(data: Labelled) -> str | None:
    """What is to be said where there is too little to learn from or to try: such figures measure no recognition."""
    trained, tried = len(data.train), len(data.held_out)
    if tried >= FEW_HELD_OUT and trained >= FEW_A_CLASS * data.classes:
        return None
    return (
        f"{trained:,} samples of {data.classes} classes to learn from and {tried:,} to try: that the probe runs, not "
        f"how well anything is recognised (at least {FEW_A_CLASS} of each class and {FEW_HELD_OUT:,} to try)"
    )


def probe_record(
    found: Recognition,
    recipe: dict[str, Any],
    *,
    data: Labelled,
    settings: ProbeSettings,
    seed: int,
    name: str,
    device: torch.device,
    tokenizer: Tokenizer | None = None,
    weights_which: str = "saved",
) -> Record:
    """``tokenizer`` is None for pixels, which have no rate and no quantizer."""
    images, metric = data.held_out, NAMES.get(recipe["reads"], "probe_top1")
    label = settings.label
    if metric in OWN:
        label = settings.trained + (f"-block{recipe['block']}" if "block" in recipe else "")
    top1 = defined(
        metric,
        found.top1,
        found.n,
        f"{images.protocol}/{metric}-{VERSION}-{len(data.train)}-{label}",
        OWN.get(metric),
        stderr=found.stderr,
        note=few(data),
        extra={"classes": data.classes, "largest_class": 100 * found.most, "train_loss": found.train_loss},
    )
    of_tokenizer: dict[str, Any] = {}
    if tokenizer is not None:
        of_tokenizer = {
            "quantizer": tokenizer.config.quantizer.model_dump(mode="json"),
            "rate": Rate(**tokenizer.rate(images.image_size)),
            "weights": {"which": weights_which, "sha256": recipe["tokenizer"]},
        }
    return Record.of(
        id=new_id(),
        cell=cell(recipe, seed),
        experiment=content_hash(recipe),
        kind="benchmark",
        name=name,
        seed=seed,
        model={
            "architecture": "linear-probe" if metric in OWN else "vit-probe",
            "reads": recipe["reads"],
            "grid": recipe["grid"],
            "parameters": found.parameters,
            "input_parameters": found.input_parameters,
        },
        data=measured_on(images, found.n),
        metrics={metric: top1},
        training={
            "data": data.train.source,
            "steps": settings.steps,
            "batch_size": settings.batch_size,
            "images": len(data.train),
            "seconds": round(found.seconds, 3),
        },
        timing={"device": device_name(device), "precision": "float32", "batch_size": settings.batch_size},
        **of_tokenizer,
        **provenance(),
        recipe=recipe,
    )
