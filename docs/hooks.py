"""What nobody writes by hand on the site: the commands' help, tables of the records, pages from elsewhere here."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = {"changes.md": "CHANGELOG.md", "reference/quantizers-guide.md": "quantizers/README.md"}
_TABLE = re.compile(r"^```tokbench\n(.*?)\n```$", re.MULTILINE | re.DOTALL)
_ELSEWHERE = re.compile(r"\]\((?!https?:|#|mailto:)([^)\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the page of commands, the pages of claims with their figures, the changelog and the quantizers' own page."""
    files.append(File.generated(config, "reference/commands.md", content=commands()))
    for name, source in PAGES.items():
        text = _without_outer_links((ROOT / source).read_text(encoding="utf-8"))
        files.append(File.generated(config, name, content=text))
    claims = ROOT / "results" / "claims"
    for path in sorted([*claims.glob("**/*.md"), *claims.glob("**/*.svg"), *claims.glob("**/*.png")]):
        if path.name != "table.md":
            files.append(File.generated(config, f"claims/{path.relative_to(claims)}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """A block of ``tokbench`` commands becomes what these print, the commands below; quantizers are all listed."""
    markdown = markdown.replace("<!-- every registered quantizer -->", _quantizers())
    return _TABLE.sub(lambda block: "\n\n".join(map(_printed, block[1].splitlines())), markdown)


def _quantizers() -> str:
    import quantizers

    kinds = (quantizers.get(name) for name in quantizers.names())
    return "\n".join(f'::: {kind.__module__}.{kind.__name__}\n    options: {{filters: ["!^_"]}}\n' for kind in kinds)


def _printed(line: str) -> str:
    """What a command prints as Markdown, run in the checkout."""
    from tokbench.cli.app import app

    page, here = io.StringIO(), Path.cwd()
    os.chdir(ROOT)
    try:
        with contextlib.redirect_stdout(page):
            app(shlex.split(line)[1:], standalone_mode=False)
    finally:
        os.chdir(here)
    shown = line.replace(" --format markdown", "")
    # A section's title says what was measured on what; as a heading it would fill the contents.
    return re.sub(r"^### (.*)$", r"**\1**", page.getvalue(), flags=re.MULTILINE) + f"\n`{shown}`\n"


def _without_outer_links(text: str) -> str:
    """Links of a page that lies elsewhere in the checkout lead nowhere on the site."""
    return re.sub(r"\[([^\]]+)\]\((?!https?:|#)[^)]+\)", r"\1", text)


def commands() -> str:
    """Every command with its arguments, options and defaults, from the code that reads them."""
    from typer.main import get_command

    from tokbench.cli.app import app

    lines = ["# Commands", "", "`-h` or `--help` after any of them prints the same.", ""]
    root = get_command(app)
    lines += _command("tokbench", root)
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        lines += [f"## tokbench {name}", "", *_command(f"tokbench {name}", command)]
        for inner, each in getattr(command, "commands", {}).items():
            full = f"tokbench {name} {inner}"
            lines += [f"### {full}", "", *_command(full, each)]
    return "\n".join(lines) + "\n"


def _command(path: str, command: Any) -> list[str]:
    from tokbench.results.render import markdown

    context = command.make_context(path, [], resilient_parsing=True)
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    lines = [markdown(" ".join(part.split())) + "\n" for part in (command.help or "").split("\n\n")]
    lines += ["```text", usage, "```", ""]
    rows = []
    for each in command.get_params(context):
        if each.name != "help" and not each.hidden:
            name, _ = each.get_help_record(context) or (each.name, "")
            name = name.replace("|", "\\|")
            rows.append(f"| `{name}` | {markdown(' '.join((each.help or '').split()))} | {_default(each.default)} |")
    if rows:
        lines += ["| option | what it does | default |", "| --- | --- | --- |", *rows, ""]
    return lines


def _default(value: Any) -> str:
    if value in (None, False, True, (), [], "") or callable(value):
        return ""
    return f"`{getattr(value, 'value', value)}`"
