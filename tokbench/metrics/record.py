"""From an evaluation to the line that is kept."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from tokbench.config.yaml_files import read_yaml
from tokbench.errors import TokbenchError, TokbenchWarning
from tokbench.metrics.evaluation import Evaluation
from tokbench.models.folder import ORIGIN
from tokbench.results import environment
from tokbench.results.files import write
from tokbench.results.paired import IMAGES
from tokbench.results.record import Record


def tokenizer_record(
    evaluation: Evaluation,
    tokenizer: Any,
    *,
    name: str,
    recipe: dict[str, Any],
    cell: str,
    seed: int | None,
    training: dict[str, Any] | None = None,
    artifacts: dict[str, str] | None = None,
    weights_which: str = "ema",
) -> Record:
    """One record of kind ``tokenizer``.

    Args:
        recipe: the resolved recipe, as JSON.
        cell: the content address of what was asked for (recipe and evaluation).
        training: what the training says of itself: steps, images, seconds, batch size, data.
        artifacts: files by role, relative to the store.
        weights_which: ``"ema"``, ``"live"``, ``"published"`` or, where nothing says, ``"saved"``: averaging the
            weights moves rFID and PSNR in opposite directions, so a record says which ones were measured.
    """
    quantizer, model = tokenizer.config.quantizer, tokenizer.config.model
    parameters = tokenizer.parameter_count
    return Record.of(
        id=environment.new_id(),
        cell=cell,
        name=name,
        seed=seed,
        quantizer=quantizer.model_dump(mode="json"),
        model={**model.model_dump(mode="json"), "parameters": parameters, "image_size": tokenizer.config.image_size},
        data=evaluation.data,
        weights={"which": weights_which, "sha256": tokenizer.sha256()},
        rate=evaluation.rate,
        metrics=evaluation.metrics,
        training=training or {},
        timing=evaluation.timing,
        **environment.provenance(),
        recipe=recipe,
        recipe_hash=environment.content_hash(recipe) if recipe else None,
        artifacts=artifacts or {},
    )


def evaluation_record(
    evaluation: Evaluation, tokenizer: Any, fingerprint: str, *, by_depth: bool, name: str, weights_which: str
) -> Record:
    """The record of a tokenizer that was measured on its own: its address is of weights, images and protocol.

    Args:
        fingerprint: of the images.
        by_depth: whether prefixes of the depths were to be measured.
    """
    versions = {metric: value.version for metric, value in evaluation.metrics.items()}
    protocol = str(evaluation.data.protocol)
    return tokenizer_record(
        evaluation,
        tokenizer,
        name=name,
        recipe=tokenizer.config.model_dump(mode="json"),
        cell=evaluation_cell(tokenizer, fingerprint, protocol, by_depth, versions),
        seed=None,
        weights_which=weights_which,
    )


def with_images(record: Record, evaluation: Evaluation, folder: Path) -> Record:
    """The record, naming a file beneath ``folder`` of what each image scored; ``tokbench diff`` pairs two by it.

    Where that cannot be written the record stays as it is: the measurement is not lost over it.
    """
    name = f"images/{record.id}.csv"
    if not evaluation.per_image:
        return record
    try:
        write(folder / name, evaluation.per_image)
    except TokbenchError as error:
        warnings.warn(f"{error}; the record is kept without what each image scored", TokbenchWarning, stacklevel=2)
        return record
    return record.replace(artifacts=record.artifacts | {IMAGES: name})


def evaluation_cell(
    tokenizer: Any, fingerprint: str, protocol: str, by_depth: bool, versions: Mapping[str, str]
) -> str:
    """The address of such a record; ``versions``: of the metrics, by name."""
    return environment.content_hash(
        {
            "tokenizer": tokenizer.sha256(),
            "data": fingerprint,
            "protocol": protocol,
            "by_depth": by_depth,
            "metrics": dict(versions),
        }
    )


def saved_weights(folder: str | PathLike[str]) -> str:
    """Which weights a model's folder holds: ``"published"`` where it came by its name, ``"ema"`` or ``"live"`` by the
    recipe of its run, else ``"saved"``.

    A run keeps its ``recipe.yaml`` beside the folder ``tokenizer`` (or ``generator``) with the finished weights.
    """
    folder = Path(folder).resolve()
    if (folder / ORIGIN).is_file():
        return "published"
    try:
        recipe = read_yaml(folder.parent / "recipe.yaml")
        if recipe["kind"] != folder.name:  # a folder that only happens to lie beside a recipe
            return "saved"
        return "ema" if recipe["training"]["ema_decay"] else "live"
    except (TokbenchError, KeyError, TypeError):
        return "saved"
