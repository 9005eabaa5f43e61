"""Opening foreign files: tensors only, never code."""

from __future__ import annotations

import io
import json
import pickle
import pickletools
import re
import zipfile
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from tokbench.errors import TokbenchError, first_line, printable
from tokbench.weights.readers import check_archive, read_torchscript

from . import pickled_modules


def read_checkpoint(path: str | PathLike[str]) -> dict[str, Any]:
    """A checkpoint's dictionary on the CPU: safetensors, a pickle that holds nothing but data, or a folder of them.

    What a file is, its first bytes say, not its name.

    Raises:
        TokbenchError: no such file, not a whole file, no dictionary, or a pickle that names classes or functions
            (it is not run: the message lists them and says how to come by a file of tensors only).
    """
    from .folders import read_folder, read_index

    path = Path(path)
    if path.is_dir():
        return read_folder(path)
    if not path.is_file():
        raise TokbenchError(f"{path}: no such file")
    if path.name.endswith(".index.json"):
        return read_index(path)
    return read_file(path)


def read_file(path: Path, part_of_index: bool = False) -> dict[str, Any]:
    """One file, by its contents; see :func:`read_checkpoint`."""
    try:
        with open(path, "rb") as file:
            start = file.read(512)
    except OSError as error:
        raise TokbenchError(f"{path}: cannot be read: {error.strerror}") from error
    part = re.search(r"-(\d{5})-of-(\d{5})$", path.stem)
    if part and not part_of_index and int(part[2]) > 1:
        raise TokbenchError(f"{path}: one of the {int(part[2])} parts of a model; give their folder or their index")
    if (path.suffix == ".safetensors" and not start.startswith(_TORCH)) or _is_safetensors(start, path.stat().st_size):
        return _read_safetensors(path)
    for beginning, what in _NOT_WEIGHTS.items():
        if start.lstrip().lower().startswith(beginning):
            raise TokbenchError(f"{path}: {what}")
    if start[257:262] == b"ustar":
        raise TokbenchError(f"{path}: a tar archive; unpack it and name the file in it")
    check_archive(path)
    members = _members(path)
    if "constants.pkl" in members:  # TorchScript's, beside data.pkl
        return dict(read_torchscript(path))
    if members and "data.pkl" not in members:
        raise TokbenchError(f"{path}: not a checkpoint but a zip archive of other files; unpack it and name one in it")
    try:
        with open(path, "rb") as file:  # given a name, torch goes by how it ends
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can fail in any way
        held = sorted(set(_foreign_names(path))) if isinstance(error, pickle.UnpicklingError) else []
        if members and pickled_modules.only_modules(held):
            return _read_modules(path, held)
        if not held:
            raise TokbenchError(f"{path}: truncated or not a checkpoint{_reason(error)}; copy it again") from error
        names = ", ".join(printable(name, 60) for name in held[:4]) + (", ..." if len(held) > 4 else "")
        raise TokbenchError(
            f"{path}: the file holds more than tensors ({names}), and code in a pickle is never run here. Ask whoever "
            "made it for the weights alone as a safetensors file, or write one with the program that made it: "
            "safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')"
        ) from error
    if not isinstance(content, dict):
        raise TokbenchError(f"{path}: holds a {type(content).__name__}, not a dictionary of weights")
    return content


def _read_modules(path: Path, names: list[str]) -> dict[str, Any]:
    try:
        return dict(pickled_modules.read(path, names))
    except Exception as error:  # a damaged file can fail in any way
        raise TokbenchError(f"{path}: not a whole pickled module ({first_line(error, 160)}); copy it again") from error


_TORCH = (b"PK", b"\x80")  # torch's zip archive, a pickle
# What is called a checkpoint and is none, by its first bytes in lower case.
_NOT_WEIGHTS = {
    b"version https://git-lfs": "a pointer of Git LFS, not the weights it points to; fetch them with `git lfs pull`",
    b"<!doctype html": "a web page, not weights; the download wants a login or another address",
    b"<html": "a web page, not weights; the download wants a login or another address",
    b"\x1f\x8b": "a gzip archive; unpack it and name the file in it",
    b"7z\xbc\xaf": "a 7z archive; unpack it and name the file in it",
    b"\x89hdf": "an HDF5 file (Keras); only PyTorch's formats and safetensors are read",
    b"gguf": "a GGUF file; only PyTorch's formats and safetensors are read",
}


def _is_safetensors(start: bytes, size: int) -> bool:
    """Its header's length in eight bytes, then the header, which is JSON."""
    return len(start) > 8 and start[8:9] == b"{" and 1 < int.from_bytes(start[:8], "little") <= size - 8


def _read_safetensors(path: Path) -> dict[str, Any]:
    """Its tensors; one that was left out because it shares another's memory stands in the header, and comes back."""
    try:
        tensors = dict(load_file(path, device="cpu"))
        with safe_open(path, framework="pt") as file:
            shared = file.metadata() or {}
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError, MemoryError) as error:
        why = first_line(error, 160)
        raise TokbenchError(f"{path}: not a whole safetensors file ({why}); copy or download it again") from error
    return tensors | {left: tensors[kept] for left, kept in shared.items() if kept in tensors and left not in tensors}


def _members(path: Path) -> set[str]:
    """The names of a zip archive's members without its top folder; empty where it is none."""
    if not zipfile.is_zipfile(path):
        return set()
    with zipfile.ZipFile(path) as archive:
        return {member.partition("/")[2] for member in archive.namelist()}


def _reason(error: Exception) -> str:
    """Why, where torch says so in words of its own; its advice to load without care is not passed on."""
    reason = first_line(error, 160).partition(". ")[0].rpartition(": ")[2]
    return "" if isinstance(error, pickle.UnpicklingError) or "weights" in reason.lower() else f" ({reason})"


# What a pickle of plain tensors names.
_PLAIN = ("torch._utils.", "torch.storage.", "torch.serialization.", "collections.OrderedDict", "torch.Size")


def _foreign_names(path: Path) -> Iterator[str]:
    """``module.name`` of every global in the pickle that is not torch's own for tensors, read without running it."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                data = [archive.read(name) for name in archive.namelist() if name.endswith("data.pkl")]
        else:
            data = [path.read_bytes()]
        for blob in data:
            stream = io.BytesIO(blob)
            while True:  # torch's older format is several pickles in a row, then raw numbers, which end this
                yield from _globals(stream)
    except Exception:  # a damaged one; what stands before the damage was told
        return


def _globals(stream: io.BytesIO) -> Iterator[str]:
    """The foreign globals of one pickle; ValueError where there is none."""
    strings: list[str] = []
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name == "GLOBAL":
            module, _, name = str(argument).partition(" ")
        elif opcode.name == "STACK_GLOBAL" and len(strings) > 1:
            module, name = strings[-2:]
        else:
            if isinstance(argument, str):
                strings.append(argument)
            continue
        full = f"{module}.{name}"
        if not full.startswith(_PLAIN) and not (module == "torch" and name.endswith("Storage")):
            yield full


_LARGEST = 2**20  # bytes


def read_config(path: str | PathLike[str] | None) -> dict[str, Any]:
    """A YAML or JSON file as plain data; empty when there is none."""
    if path is None:
        return {}
    path = Path(path)
    try:
        if path.stat().st_size > _LARGEST:
            raise TokbenchError(f"{path}: {path.stat().st_size:,} bytes; a configuration has at most {_LARGEST:,}")
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except FileNotFoundError as error:
        raise TokbenchError(f"{path}: no such file") from error
    except TokbenchError:
        raise
    except Exception as error:  # PyYAML raises KeyError, IndexError, AttributeError for `!!bool maybe` and its like
        reason = printable(" ".join(str(error).split()), 200)
        raise TokbenchError(f"{path}: not a readable YAML or JSON file: {reason}") from error
    if not isinstance(content, dict):
        raise TokbenchError(f"{path}: expected keys and values, found {type(content).__name__}")
    return content


def section(config: dict[str, Any], key: str) -> dict[str, Any]:
    """The outermost mapping that has ``key``, wherever it is nested, depth first; empty when none has."""
    waiting, seen = [config], set()
    while waiting:
        block = waiting.pop()
        if id(block) in seen:  # YAML's aliases can put one mapping in many places, itself among them
            continue
        seen.add(id(block))
        if key in block:
            return block
        waiting += [value for value in reversed(block.values()) if isinstance(value, dict)]
    return {}


def model_class(config: dict[str, Any]) -> str:
    """The class of the model that a configuration describes, without its module; empty where it names none.

    OmegaConf's ``target`` beside ``params``, or LightningCLI's ``class_path`` beside ``init_args``: the outermost whose
    settings have a ``ddconfig``. Of a ``config.json`` diffusers' ``_class_name``, or the first of transformers'
    ``architectures``.
    """
    listed = config.get("architectures")
    named = config.get("_class_name") or (listed[0] if isinstance(listed, list) and listed else "")
    if named:
        return str(named)
    waiting, seen = [config], set()
    while waiting:
        block = waiting.pop(0)
        if id(block) in seen:
            continue
        seen.add(id(block))
        for kind, settings in (("target", "params"), ("class_path", "init_args")):
            inner = block.get(settings)
            if kind in block and isinstance(inner, dict) and "ddconfig" in inner:
                return str(block[kind]).rpartition(".")[2]
        waiting += [value for value in block.values() if isinstance(value, dict)]
    return ""
