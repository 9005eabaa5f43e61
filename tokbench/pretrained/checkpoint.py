"""Opening foreign files: tensors only, never code."""

from __future__ import annotations

import io
import json
import pickle
import pickletools
import zipfile
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from tokbench.errors import TokbenchError, printable
from tokbench.weights.readers import check_archive


def read_checkpoint(path: str | PathLike[str]) -> dict[str, Any]:
    """A checkpoint's dictionary on the CPU: a safetensors file, or a pickle that holds nothing but data.

    Raises:
        TokbenchError: no such file, not a whole file, no dictionary, or a pickle that names classes or functions
            (it is not run: the message lists them and says how to make a file of tensors only).
    """
    path = Path(path)
    if not path.is_file():
        raise TokbenchError(f"{path}: no such file" + (" (a folder; name the file in it)" if path.is_dir() else ""))
    if path.suffix == ".safetensors":
        try:
            return dict(load_file(path, device="cpu"))
        except (SafetensorError, OSError, ValueError, KeyError, RuntimeError, MemoryError) as error:
            why = _first_line(error)
            raise TokbenchError(f"{path}: not a whole safetensors file ({why}); copy or download it again") from error
    check_archive(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not (held := sorted(set(_foreign_names(path)))):
            raise TokbenchError(f"{path}: not a checkpoint that can be read: {_first_line(error)}") from error
        names = ", ".join(printable(name, 60) for name in held[:4]) + (", ..." if len(held) > 4 else "")
        raise TokbenchError(
            f"{path}: the file holds more than tensors ({names}), and "
            "code in a pickle is never run here. If you trust whoever made it, keep only the weights, once, with the "
            "packages it names installed: content = torch.load(FILE, map_location='cpu', weights_only=False); "
            "torch.save({k: content[k] for k in ('state_dict', 'model', 'ema') if k in content}, 'weights.ckpt')"
        ) from error
    except Exception as error:  # a damaged file can fail in any way
        reason = _first_line(error).partition(". ")[0].rpartition(": ")[2]
        raise TokbenchError(f"{path}: truncated or not a checkpoint ({reason}); copy it again") from error
    if not isinstance(content, dict):
        raise TokbenchError(f"{path}: holds a {type(content).__name__}, not a dictionary of weights")
    return content


def _first_line(error: BaseException) -> str:
    return printable(str(error).strip().partition("\n")[0], 160) or type(error).__name__


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


def tensors_of(content: dict[str, Any], path: str | PathLike[str], *keys: str) -> tuple[str, dict[str, Tensor]]:
    """The first of ``keys`` that is a dictionary in ``content``, or the whole; with its name, and only its tensors."""
    name = next((key for key in keys if isinstance(content.get(key), dict)), "")
    found = content[name] if name else content
    tensors = {str(key): value for key, value in found.items() if isinstance(value, Tensor)}
    if tensors and all(key.startswith("module.") for key in tensors):  # saved from inside DistributedDataParallel
        tensors = {key.removeprefix("module."): value for key, value in tensors.items()}
    if not tensors:
        entries = ", ".join(printable(str(key), 40) for key in list(content)[:8])
        raise TokbenchError(f"{path}: no weights in it (its entries: {entries or 'none'})")
    return name or "the file itself", tensors


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
