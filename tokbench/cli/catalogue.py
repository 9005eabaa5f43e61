"""What ``tokbench list`` shows: each section is a function that gives columns and rows."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

Section = tuple[tuple[str, ...], Sequence[tuple[str, ...]]]


def _quantizers() -> Section:
    import quantizers

    rows = []
    for name in quantizers.names():
        kind = quantizers.get(name)
        rows.append((name, kind.summary, ", ".join(quantizers.options(name)), kind.paper))
    rows.append(("vqp:CLASS", "any class of vector-quantize-pytorch", "that class's own", ""))
    return ("name", "what it is", "settings", "paper"), rows


def _architectures() -> Section:
    from tokbench.config.architecture import name_of
    from tokbench.models.registry import all_settings

    rows = []
    for model in all_settings():
        summary = " ".join((model.__doc__ or "").split()).partition(" (")[0]
        rows.append((name_of(model), summary, ", ".join(k for k in model.model_fields if k != "architecture")))
    return ("name", "what it is", "settings"), rows


def _recipes() -> Section:
    from tokbench.config.loading import draft_recipe, recipe_names

    rows = []
    for name in recipe_names():
        values = draft_recipe(name).values
        quantizer = values.get("quantizer", {})
        data = values.get("data", {})
        settings = ", ".join(f"{k} {v}" for k, v in quantizer.items() if k != "name")
        source = f"{data.get('source', '')} {data.get('image_size', '')}"
        rows.append((name, str(values.get("description", "")), f"{quantizer.get('name', '')} {settings}", source))
    return ("name", "what it is", "quantizer", "data"), rows


def _metrics() -> Section:
    from tokbench import metrics
    from tokbench.results.definitions import heading

    rows = []
    for name in metrics.names():
        metric = metrics.get(name)
        label = heading(metric.label, "", metric.direction)
        rows.append((name, label, metric.definition.unit, metric.unavailable() or "ready"))
    return ("name", "metric", "unit", "state"), rows


def _importers() -> Section:
    from tokbench.pretrained.importer import IMPORTERS, Importer

    rows = []
    for name in IMPORTERS:
        importer = IMPORTERS.get(name)
        text = " ".join((sys.modules[importer.read.__module__].__doc__ or "").split())
        summary = text.partition(":")[0].partition(". ")[0]
        rows.append((name, summary, "tokenizers" if isinstance(importer, Importer) else "generators"))
    return ("name", "what it is", "of"), rows


def _data() -> Section:
    from tokbench.data import SOURCES

    return ("source", "what it is"), [line for name in SOURCES for line in SOURCES.get(name).patterns.items()]


SECTIONS: dict[str, Callable[[], Section]] = {
    "quantizers": _quantizers,
    "architectures": _architectures,
    "recipes": _recipes,
    "metrics": _metrics,
    "importers": _importers,
    "data": _data,
}
