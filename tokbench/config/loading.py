"""From a recipe's name or file, its ancestors and ``--set`` to one checked recipe."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from os import PathLike, fspath
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import ValidationError

from tokbench.config.explain import explain
from tokbench.config.generator import GeneratorRecipe
from tokbench.config.recipe import Recipe, TokenizerRecipe
from tokbench.config.yaml_files import parse_value, read_yaml
from tokbench.errors import TokbenchError, did_you_mean, printable, shown

# In a checkout recipes/ stands beside the package; in a wheel it is inside.
_FOLDERS = (Path(__file__).parents[1] / "recipes", Path(__file__).parents[2] / "recipes")
_GRIDS = ("sweeps", "claims")  # folders of grids of runs, not of runs
# A block whose kind changes is replaced, not merged: the old kind's settings mean nothing to the new one.
_KIND_KEYS = ("name", "architecture")
# What people write for it.
_MEANING_EXTENDS = ("base", "extend", "inherit", "inherits", "parent", "include", "defaults")
_KINDS: dict[str, type[Recipe]] = {"tokenizer": TokenizerRecipe, "generator": GeneratorRecipe}


@dataclass
class Draft:
    """A recipe before it was checked: plain values, and for each dotted key the file (or ``--set``) it came from."""

    values: dict[str, Any]
    origin: dict[str, str] = field(default_factory=dict)
    source: str = "recipe"

    def set(self, key: str, value: Any, origin: str) -> None:
        """Set one dotted key, making the blocks on the way."""
        block = self.values
        *path, leaf = key.split(".")
        for part in path:
            if not isinstance(block.get(part), dict):
                block[part] = {}
            block = block[part]
        if isinstance(block.get(leaf), dict) and isinstance(value, dict):
            value = merge(block[leaf], value)
        elif leaf in _KIND_KEYS and path and block.get(leaf, value) != value:
            block.clear()
        block[leaf] = value
        self.origin[key] = origin

    def where(self, key: str, message: str = "") -> str:
        """The file or option that set ``key``, or the nearest block above it.

        Of a whole block (keys that do not go together) the options that changed something in it: of these, the ones
        whose key ``message`` mentions, if it mentions one.
        """
        parts = key.split(".") if key else []
        for end in range(len(parts), 0 if parts else -1, -1):
            block = ".".join(parts[:end])
            inside = {k: o for k, o in self.origin.items() if o.startswith("--") and _within(k, block)}
            if inside:
                named = {k: o for k, o in inside.items() if re.search(rf"\b{re.escape(k.split('.')[-1])}\b", message)}
                return ", ".join(dict.fromkeys((named or inside).values()))
            if block in self.origin:
                return self.origin[block]
        return self.source

    def check(self) -> Recipe:
        """The checked recipe. Raises TokbenchError: one line a mistake, naming file, key and what was meant."""
        kind = self.values.get("kind", "tokenizer")
        if not isinstance(kind, str) or kind not in _KINDS:
            meant = did_you_mean(str(kind)[:64], _KINDS)
            raise TokbenchError(f"{self.where('kind')}: kind: unknown kind {shown(kind)}{meant}")
        model = _KINDS[kind]
        try:
            return model.model_validate(self.values)
        except ValidationError as error:
            message = " ".join(item["msg"] for item in error.errors(include_url=False))
            raise TokbenchError(*explain(model, error, lambda key: self.where(key, message))) from None


def _within(key: str, block: str) -> bool:
    return not block or key == block or key.startswith(f"{block}.")


def recipe_names() -> dict[str, Path]:
    """Every recipe that ships with tokbench, by name (its path under ``recipes/`` without ``.yaml``)."""
    found: dict[str, Path] = {}
    for folder in _FOLDERS:
        for path in sorted(folder.rglob("*.yaml")) if folder.is_dir() else ():
            if str(path.parent.relative_to(folder)) not in _GRIDS:
                found.setdefault(str(path.relative_to(folder).with_suffix("")), path)
    return found


def find_recipe(name: str) -> Path:
    """A file as given, or a recipe that ships with tokbench."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        if not path.is_file() and _shipped(name.removesuffix(".yaml")) is None:
            raise TokbenchError(f"{name}: no such recipe file")
        if path.is_file():
            return path
    key = name.removesuffix(".yaml")
    found = _shipped(key)
    if found is None:
        raise TokbenchError(f"{name}: no such recipe{did_you_mean(key, recipe_names())}; a file's path works too")
    return found


def _shipped(key: str) -> Path | None:
    """The recipe that ``recipe_names`` has under this name, without reading the folders for it."""
    plain = PurePosixPath(key)
    if not key or str(plain) != key or plain.is_absolute() or ".." in plain.parts or str(plain.parent) in _GRIDS:
        return None
    try:
        return next((path for folder in _FOLDERS if (path := folder / f"{key}.yaml").is_file()), None)
    except OSError:  # a name longer than a file's may be
        return None


def draft_recipe(name: str, overrides: Sequence[str] = ()) -> Draft:
    """Read a recipe and what it extends, and apply ``a.b=c`` overrides, without checking it yet."""
    draft = _read(find_recipe(name), seen=())
    apply_overrides(draft, overrides)
    return draft


def apply_overrides(draft: Draft, overrides: Sequence[str]) -> None:
    """Set ``a.b=c`` for each override. Raises TokbenchError for one that is not of this form."""
    # What changes a block's kind goes first: the order on the command line must not matter.
    for override in sorted(overrides, key=lambda text: text.partition("=")[0].split(".")[-1] not in _KIND_KEYS):
        key, equals, text = override.partition("=")
        key = key.strip()
        if not equals or not all(key.split(".")):
            raise TokbenchError(f"--set {printable(override, 80)}: expected key=value, e.g. training.steps=2000")
        draft.set(key, parse_value(text), f"--set {printable(override, 80)}")


def load_recipe(name: str | PathLike[str], overrides: Sequence[str] = ()) -> Recipe:
    """The settings of one run, checked.

    Examples:
        >>> recipe = tokbench.load_recipe("demo", ["training.steps=200", "quantizer.name=fsq"])
        >>> recipe.training.steps, recipe.quantizer.name, recipe.resolved()["data"]["image_size"]
        (200, 'fsq', 64)

    Args:
        name: a YAML file, or a recipe that ships with tokbench (``tokbench list recipes``).
        overrides: changes, as ``--set`` takes them.

    Raises:
        TokbenchError: no such recipe, an unknown key, a value that does not fit: file and key are named.
    """
    return draft_recipe(fspath(name), [overrides] if isinstance(overrides, str) else overrides).check()


def merge(base: dict[str, Any], delta: dict[str, Any]) -> dict[str, Any]:
    """``delta`` over ``base``, block by block; a block that changes its kind is replaced."""
    if any(k in delta and k in base and delta[k] != base[k] for k in _KIND_KEYS):
        return dict(delta)
    merged = dict(base)
    for key, value in delta.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = merge(base[key], value) if both else value
    return merged


def _read(path: Path, seen: tuple[Path, ...]) -> Draft:
    path = path.resolve() if path.is_symlink() else path
    if path in seen:
        raise TokbenchError(f"{path}: extends itself by way of {' -> '.join(p.name for p in seen)}")
    values = read_yaml(path)
    for word in _MEANING_EXTENDS:
        if word in values:
            raise TokbenchError(f"{path}: {word}: unknown key; a recipe builds on another with `extends: NAME`")
    parent = values.pop("extends", None)
    draft = Draft({}, source=str(path))
    if parent is not None:
        if not isinstance(parent, str):
            raise TokbenchError(f"{path}: extends: expected the name of one recipe, got {parent!r}")
        beside = path.parent / f"{parent.removesuffix('.yaml')}.yaml"
        try:
            found = beside if beside.is_file() else find_recipe(parent)
        except TokbenchError as error:
            raise TokbenchError(f"{path}: extends: {error}") from None
        draft = _read(found, (*seen, path))
        draft.source = str(path)
    top = {k: v for k, v in draft.values.items() if k not in ("name", "description")} if parent else {}
    # The name is the recipe's own: it is no "kind" of the whole file.
    named: dict[str, Any] = {k: values.pop(k) for k in ("name", "description") if k in values}
    draft.values = {"name": path.stem} | merge(top, values) | named
    for key in _leaves(values):
        draft.origin[key] = str(path)
    draft.origin.update(dict.fromkeys(named, str(path)))
    return draft


def _leaves(values: dict[str, Any], prefix: str = "") -> Iterable[str]:
    for key, value in values.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
