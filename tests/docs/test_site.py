"""The documentation site: what its pages show is typed or run here, and its links lead somewhere."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from recipes_tiny import TINY
from sweeps_tiny import TINY_GENERATOR
from typer.main import get_command
from typer.testing import CliRunner

from tokbench.cli.app import app

ROOT = Path(__file__).parents[2]
SITE = ROOT / "docs"
PAGES = sorted([*SITE.rglob("*.md"), ROOT / "README.md"])
RUN = "<!-- test: run -->\n"


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, *languages: str) -> list[tuple[str, bool]]:
    """The page's code in these languages, and whether it is run as it stands."""
    fences = re.compile(rf"^({RUN})?```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
    found = fences.findall(page.read_text(encoding="utf-8"))
    return [(code, bool(run)) for run, language, code in found if language in languages]


def typed(code: str) -> Iterator[list[str]]:
    """The ``tokbench`` commands of a block, as words without the first."""
    for line in code.replace("\\\n", " ").splitlines():
        for part in line.split("&&"):
            if "tokbench" not in part:
                continue
            words = shlex.split(part, comments=True)
            for word in words:
                if " -m tokbench " in word:  # srun bash -c '...'
                    yield from typed(word)
            if "tokbench" in words and words[0] in ("tokbench", "accelerate", "torchrun"):
                yield words[words.index("tokbench") + 1 :]


def test_every_command_shown_can_be_typed() -> None:
    """Options, values and arguments are what the command takes. README's lines with / or | name several at once."""
    root: Any = get_command(app)
    seen = 0
    for page in PAGES:
        for code, _ in blocks(page, "", "bash", "tokbench"):
            for words in typed(code):
                if "|" in words or "/" in words or "..." in words:
                    continue
                command, path = root, "tokbench"
                while words and words[0] in getattr(command, "commands", {}):
                    command, path = command.commands[words[0]], f"{path} {words[0]}"
                    words = words[1:]
                assert not hasattr(command, "commands") or not words or words[0].startswith("-"), (
                    f"{named(page)}: {path} {words}"
                )
                try:
                    command.make_context(path, [word for word in words if word != "IMAGE"])
                except Exception as error:
                    pytest.fail(f"{named(page)}: {path} {shlex.join(words)}: {error}")
                seen += 1
    assert seen > 100


def run_python(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's Python, top to bottom."""
    import quantizers.registry

    code = "\n".join(code for code, _ in blocks(page, "python"))
    with monkeypatch.context() as patch:  # a page may register a quantizer
        patch.setattr(quantizers.registry, "_CLASSES", dict(quantizers.registry._CLASSES))
        exec(compile(code, named(page), "exec"), {"__name__": "page"})


WITH_PYTHON = [page for page in PAGES if page not in (SITE / "index.md", ROOT / "README.md") and blocks(page, "python")]


@pytest.mark.parametrize("page", WITH_PYTHON, ids=named)
def test_python_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_python(page, monkeypatch)


@pytest.fixture
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the pages speak of: a folder of images, and the records of this checkout."""
    (tmp_path / "my-images").mkdir()
    for number in range(12):
        Image.effect_noise((24, 20), 40 + number).convert("RGB").save(tmp_path / "my-images" / f"{number}.png")
    (tmp_path / "results").symlink_to(ROOT / "results")
    monkeypatch.chdir(tmp_path)


def shortened(words: list[str], tokenizer: Path) -> list[str]:
    """The same command on something that takes a second."""
    words = [str(tokenizer) if word == "TOKENIZER" else word for word in words]
    words = [word.replace("=TOKENIZER", f"={tokenizer}").replace("96x128", "16x24") for word in words]
    if words[0] in ("train", "sweep"):
        generator = words[1].startswith("generators/")
        own = {word.partition("=")[0] for word in words}
        settings = [f"data.{s}=8" for s in ("limit", "eval_limit")] + ["data.image_size=16"] if generator else TINY
        settings = (
            [*settings, *TINY_GENERATOR]
            if generator
            else [*settings, "evaluation.metrics=[psnr,ssim,usage,perplexity]"]
        )
        if "--from" in words:
            settings = [s for s in settings if not s.startswith(("model.", "data.image_size"))]
        if any(word.startswith("data.source=codes:") for word in words):
            settings = [s for s in settings if not s.startswith("data.") or "image_size" in s]
        words += [part for s in settings if s.partition("=")[0] not in own for part in ("--set", s)]
        if "--generator" in words:
            words += [part for s in TINY_GENERATOR for part in ("--set-generator", s)]
    if words[0] == "evaluate" and "--metrics" not in words:
        words += ["--metrics", "psnr"]
    if words[0] in ("evaluate", "encode", "evaluate-generator"):
        words += ["--limit", "4"]
    return words


def run_page(page: Path, tokenizer: Path) -> int:
    from accelerate.state import AcceleratorState

    tokenizer, count = Path(shutil.copytree(tokenizer, "rq-tokenizer")), 0  # evaluating writes its card
    for code, run in blocks(page, "bash"):
        for words in typed(code) if run else ():
            AcceleratorState._reset_state(True)  # each is a process of its own, of another precision perhaps
            done = CliRunner().invoke(app, shortened(words, tokenizer), catch_exceptions=False)
            assert done.exit_code == 0, f"{named(page)}: {shlex.join(words)}: {done.output}"
            count += 1
    return count


def test_the_first_page_runs(at_home: None, rq_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_page(SITE / "index.md", rq_folder) == 4
    run_python(SITE / "index.md", monkeypatch)  # on what the commands left


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if RUN in page.read_text() and page.stem != "index"], ids=named
)
def test_what_a_page_says_to_type_runs(page: Path, at_home: None, rq_folder: Path) -> None:
    assert run_page(page, rq_folder)


def test_links_within_the_checkout_hold() -> None:
    """Of the pages as they stand; ``make docs`` holds the site's, anchors and generated pages included."""
    made = {"reference/commands.md", "reference/quantizers-guide.md", "changes.md"}
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text(encoding="utf-8")):
            path = (page.parent / target).resolve()
            inside = path.relative_to(SITE.resolve()).as_posix() if path.is_relative_to(SITE.resolve()) else ""
            if inside.startswith("claims/"):
                path = ROOT / "results" / inside
            assert inside in made or path.exists(), f"{named(page)}: {target}"


def test_every_page_is_in_the_menu() -> None:
    menu = (ROOT / "mkdocs.yml").read_text()
    for page in SITE.rglob("*.md"):
        assert f": {page.relative_to(SITE)}\n" in menu, page


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "reference" / "commands.html").read_text()
    assert 'id="tokbench-sweep"' in page and "--codebook-size" in page
    assert "<table>" in (tmp_path / "choose.html").read_text()
    external = re.findall(r'(?:src|href)="(https?://[^"]+\.(?:js|css|woff2?))"', (tmp_path / "index.html").read_text())
    assert not external
