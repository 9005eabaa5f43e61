"""The model card: the README.md beside a model's weights, made of its configuration and of the record of its run.

Front matter as the Hugging Face hub reads it (its metadata specification: ``library_name``, ``tags``, ``license``,
``datasets``, ``model-index``); below it, what was trained, on what, and what was measured, each number with its n.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tokbench.errors import TokbenchError, noun_of, size_text, visible
from tokbench.results.definitions import heading
from tokbench.results.record import Record
from tokbench.results.render import plain_table
from tokbench.secrets import redacted, without_secrets

NAME = "README.md"
MARK = "<!-- Written by tokbench. Without this line the file is yours and is left alone. -->"
_UP = 5  # folders above a model's in which the records of its run may lie: runs/demo/cells/KEY/tokenizer


@dataclass(frozen=True)
class Card:
    """What a model knows of itself.

    Args:
        kind: ``tokenizer`` or ``generator``.
        title: the first line.
        about: one sentence.
        use: Python that loads it, with ``{source}`` where the model lies.
        facts: name and value of what it is made of.
    """

    kind: str
    title: str
    about: str
    use: str
    facts: Sequence[tuple[str, str]]
    tags: Sequence[str] = field(default=())

    def text(
        self,
        *,
        record: Record | None = None,
        recipe: Mapping[str, Any] | None = None,
        license: str | None = None,
        source: str = "FOLDER",
    ) -> str:
        """The whole file. ``license`` is named only where it was given: nobody else can know it."""
        recipe = without_secrets(record.recipe if record is not None and record.recipe else recipe or {})
        data = _trained_on(record, recipe)
        parts = [f"# {_plain(self.title)}", _plain(self.about), _code(self.use.format(source=source), "python")]
        parts += ["## What it is", plain_table(("", ""), [(_plain(k), _plain(v)) for k, v in self.facts])]
        if record is not None and record.metrics:
            parts += ["## Measured", _measured(record)]
        if training := _training(record, recipe, data):
            parts += ["## Trained", plain_table(("", ""), training)]
        if recipe:
            text = yaml.safe_dump(_public(recipe), sort_keys=False, allow_unicode=True)
            parts += ["## Recipe", _code(text.rstrip("\n"), "yaml")]
        return f"---\n{self._front(record, data, license)}---\n{MARK}\n\n" + "\n\n".join(parts) + "\n"

    def _front(self, record: Record | None, data: str | None, license: str | None) -> str:
        front: dict[str, Any] = {"library_name": "tokbench"}
        if license is not None:
            front["license"] = license
        front["tags"] = ["tokbench", self.kind, *self.tags]
        if data is not None and (hub := re.fullmatch(r"(?:cached:)?hub:([\w.-]+/[\w.-]+)(?::.*)?", data)):
            front["datasets"] = [hub[1]]
        if record is not None and (index := _model_index(self, record)):
            front["model-index"] = index
        return yaml.safe_dump(without_secrets(front, visible), sort_keys=False, allow_unicode=True)


def write_card(folder: Path, text: str) -> bool:
    """Write the card unless there is a README that somebody wrote; whether it was written."""
    from tokbench.results.files import write

    path = folder / NAME
    try:
        if path.exists() and MARK not in path.read_text(encoding="utf-8", errors="replace"):
            return False
    except OSError:
        return False
    write(path, text)
    return True


def record_of(folder: Path | None, sha256: str) -> Record | None:
    """The newest record of a model with these weights in the records nearest above ``folder``; None without.

    Looked into are ``runs.jsonl`` and ``results/runs.jsonl`` of each folder on the way up.
    """
    from tokbench.results.store import Store

    whole = folder.resolve() if folder is not None else None
    for home in [whole, *whole.parents][: _UP + 1] if whole is not None else ():
        for file in (home / "runs.jsonl", home / "results" / "runs.jsonl"):
            try:
                records = Store(file).read()
            except TokbenchError:
                continue
            found = (r for r in reversed(records) if r.weights.sha256 == sha256 and r.error is None)
            if (record := next(found, None)) is not None:
                return record
    return None


def _model_index(card: Card, record: Record) -> list[dict[str, Any]]:
    """What the hub shows beside the model: every metric that has a value, with its n, definition and protocol."""
    values = [
        {
            "type": name,
            "name": f"{m.label}{f' ({m.unit})' if m.unit else ''}",
            "value": m.value,
            "args": {"n": m.n, "definition": m.version},
        }
        for name, m in record.metrics.items()
        if m.value is not None
    ]
    if not values or record.data is None:
        return []
    words = {"tokenizer": "Image reconstruction", "generator": "Image generation"}.get(card.kind, card.kind)
    data = record.data
    about = {
        "name": f"{_spec(data.spec)}, {size_text(data.size)}",
        "type": _spec(data.spec),
        "split": data.split,
        "args": {"protocol": data.protocol, "n": data.n},
    }
    task = {"type": words.lower().replace(" ", "-"), "name": words}
    return [{"name": card.title, "results": [{"task": task, "dataset": about, "metrics": values}]}]


def _measured(record: Record) -> str:
    lines = []
    for metric in record.metrics.values():
        value = "-" if metric.value is None else f"{metric.value:.6g}"
        value += f" ± {metric.stderr:.2g}" if metric.stderr is not None and metric.value is not None else ""
        note = metric.note or ""
        head = heading(metric.label, metric.unit, metric.direction)
        lines.append((head, value, f"{metric.n:,}", metric.version, note))
    table = plain_table(("metric", "value", "n", "definition", ""), [tuple(map(_plain, line)) for line in lines])
    if (data := record.data) is None:
        return table
    skipped = f", {data.skipped} could not be read" if data.skipped else ""
    spec, size = _spec(data.spec), f"{size_text(data.size)}"
    return f"{table}\n\n" + _plain(
        f"On {data.count} {noun_of(data.size)}s of {spec} ({data.split}), {size}, protocol {data.protocol}{skipped}. "
        "Numbers of another protocol or another n are not comparable."
    )


def _training(record: Record | None, recipe: Mapping[str, Any], data: str | None) -> list[tuple[str, str]]:
    said = recipe.get("training")
    settings: Mapping[str, Any] = said if isinstance(said, Mapping) else {}
    done = record.training if record is not None else {}
    lines = [("data", _spec(data))] if data else []
    for name in ("steps", "batch_size", "learning_rate", "precision"):
        value = done.get(name, settings.get(name))
        lines += [(name.replace("_", " "), str(value))] if value is not None else []
    if isinstance(seconds := done.get("seconds"), int | float):
        lines.append(("time", f"{seconds:,.0f} s"))
    seed = record.seed if record is not None else recipe.get("seed")
    lines += [("seed", str(seed))] if seed is not None else []
    if record is not None:
        which = {"ema": "averaged over training", "live": "of the last step"}.get(record.weights.which or "")
        lines += [("weights", which)] if which else []
        if record.git is not None and record.git.revision:
            changes = ", with uncommitted changes" if record.git.dirty else ""
            lines.append(("tokbench revision", f"{record.git.revision}{changes}"))
        lines += [("record", f"{record.id}, {record.created[:10]}")]
    return [(_plain(name), _plain(value)) for name, value in lines]


def _trained_on(record: Record | None, recipe: Mapping[str, Any]) -> str | None:
    found = record.training.data if record is not None else None
    block = recipe.get("data")
    found = found or (block.get("source") if isinstance(block, Mapping) else None)
    return redacted(found) if isinstance(found, str) else None


def _spec(spec: str) -> str:
    """A data spec without the folders of somebody's machine: ``parquet:/home/me/x/train.parquet`` -> its last part."""
    spec = visible(spec)
    if "://" in spec or spec.removeprefix("cached:").startswith("hub:"):
        return spec
    return re.sub(r"(?:~|\.{0,2})?(?:[^\s:,=/]*/)+(?=[^/\s]+)", "", spec)


def _public(value: Any) -> Any:
    """A recipe as it may be published: settings as they are, paths by their last part."""
    if isinstance(value, Mapping):
        return {visible(str(key)): _public(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_public(inner) for inner in value]
    if isinstance(value, str) and (value.startswith(("/", "~", "./", "../")) or re.match(r"\w+:.*/", value)):
        return _spec(value)
    return visible(value) if isinstance(value, str) else value


def _plain(text: str) -> str:
    """Text that Markdown and HTML take for nothing but text."""
    text = visible(" ".join(str(text).split()))
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\|`*\[\]~$])", r"\\\1", text)


def _code(text: str, language: str) -> str:
    """A block that nothing in ``text`` can end."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"
