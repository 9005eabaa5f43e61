"""``tokbench models``: the published tokenizers that are known by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from tokbench.pretrained.catalogue import Entry

app = typer.Typer(help="Published tokenizers by name: list, show, get.", invoke_without_command=True)
Json = Annotated[bool, typer.Option("--json", help="As JSON.")]
Name = Annotated[str, typer.Argument(help="A name of `tokbench models`.")]


@app.callback()
def root(context: typer.Context) -> None:
    """Published tokenizers by name: list, show, get.

    A name stands wherever a tokenizer's folder does: tokbench evaluate llamagen-f16 --data folder:PATH
    """
    if context.invoked_subcommand is None:
        list_()


@app.command("list")
def list_(json: Json = False) -> None:
    """Every published tokenizer that is known: what it is, its rate, what its authors measured, whether it is here."""
    from tokbench.errors import size_text
    from tokbench.pretrained.catalogue import entries
    from tokbench.pretrained.named import origin
    from tokbench.printing import print_fitted, say, terminal
    from tokbench.results.published import verified

    if json:
        _print([_told(entry) for entry in entries().values()])
        return
    rows = []
    for entry in entries().values():
        published = entry.measured_by_authors()
        rfid = published.metrics.get("rfid") if published else None
        rate = f"{entry.tokens:,} x {entry.bits:.4g}"
        doubt = "?" if published is not None and not verified([published]) else ""
        value = f"{rfid.value:.2f}{doubt}" if rfid is not None else ""
        here = "yes" if origin(entry) else ""
        bits = f"{entry.bits_per_image:,.0f}"
        rows.append((entry.name, size_text(entry.size), rate, bits, value, here, entry.title))
    numbers: Any = [(name, "right") for name in ("size", "tokens x bits", "bits", "rFID")]
    columns = [("name", "left"), *numbers, ("here", "left"), ("what it is", "left")]
    print_fitted(terminal(), columns, rows, ("bits", "size", "what it is"))
    say("rFID as published (`tokbench models show NAME`: by whom). None of them was loaded from its real weights here.")


@app.command()
def show(name: Name, json: Json = False) -> None:
    """All that is known of one: paper, files, licence, what was published, and what nobody could look up."""
    from tokbench.pretrained.catalogue import get
    from tokbench.printing import say

    entry = get(name)
    if json:
        _print(_told(entry))
        return
    for key, value in _told(entry).items():
        for part, inner in value.items() if isinstance(value, dict) else [("", value)]:
            if inner not in (None, "", [], ()):
                text = ", ".join(map(str, inner)) if isinstance(inner, list | tuple) else inner
                say(f"{f'{key} {part}'.strip():<20} {text}")


@app.command("get")
def get_(
    name: Name, force: Annotated[bool, typer.Option("--force", help="Fetch again even if it is here.")] = False
) -> None:
    """Fetch one and import it, which its first use does too."""
    from tokbench.pretrained.catalogue import get
    from tokbench.pretrained.named import fetched
    from tokbench.printing import say

    say(f"{name}: {fetched(get(name), again=force, say=say)}")


def _told(entry: Entry) -> dict[str, Any]:
    from tokbench.pretrained.named import origin

    facts = entry.model_dump(mode="json", exclude={"row"})
    record = entry.measured_by_authors()
    published: dict[str, Any] = {}
    if record is not None:
        published = {metric: value.value for metric, value in record.metrics.items()}
        published |= {"system": record.name, "by": record.provenance}
    here = origin(entry) or {}
    return {**facts, "bits_per_image": entry.bits_per_image, "page": entry.page, "published": published, "here": here}


def _print(value: Any) -> None:
    import json

    from tokbench.errors import visible

    for line in json.dumps(value, indent=2, ensure_ascii=False).split("\n"):
        print(visible(line))
