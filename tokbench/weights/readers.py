"""Tensors out of files that hold pickles, without running anything that a pickle asks for.

A pickle may name any function to be called while it is read. These readers know the few names that arrays need and
refuse every other one; classes of a TorchScript archive become empty holders of their attributes.
"""

from __future__ import annotations

import collections
import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tokbench.errors import TokbenchError, printable

_DTYPES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "BoolStorage": torch.bool,
}


def check_archive(path: Path) -> None:
    """TokbenchError where a zip archive unpacks to far more than it is: torch stores tensors as they are.

    Raises:
        TokbenchError: such an archive, or a directory of one that cannot be read.
    """
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
    except Exception as error:  # what the directory of a damaged archive raises is documented nowhere
        raise TokbenchError(f"{path}: truncated or damaged ({printable(str(error), 100)}); copy it again") from None
    if unpacked > 20 * path.stat().st_size + 2**20:
        raise TokbenchError(f"{path}: {path.stat().st_size:,} bytes that unpack to {unpacked:,}: not a checkpoint")


def read_numpy_pickle(path: Path) -> dict[str, np.ndarray]:
    """A pickled tree of numpy arrays (a flax checkpoint) as ``{"a.b.kernel": array}``."""
    with open(path, "rb") as file:
        tree = _read(_NumpyUnpickler(file), path)
    flat: dict[str, np.ndarray] = {}
    _flatten(tree, "", flat, path)
    return flat


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """The tensors of a TorchScript archive by the names of its module tree. Its code is not looked at."""
    check_archive(path)
    try:
        with zipfile.ZipFile(path) as archive:
            top = next(name for name in archive.namelist() if name.endswith("/data.pkl")).removesuffix("data.pkl")
            unpickler = _TorchScriptUnpickler(io.BytesIO(archive.read(f"{top}data.pkl")), archive, top)
            module = _read(unpickler, path)
    except (zipfile.BadZipFile, StopIteration, KeyError, NotImplementedError, RuntimeError, OSError, ValueError):
        raise TokbenchError(f"{path}: not a TorchScript archive") from None
    flat: dict[str, Tensor] = {}
    _collect(module, "", flat)
    return flat


def _read(unpickler: pickle.Unpickler, path: Path) -> Any:
    try:
        return unpickler.load()
    except TokbenchError as refusal:
        raise TokbenchError(f"{path}: {refusal}") from None
    except Exception as error:  # a damaged pickle can fail in any way
        reason = printable(f"{type(error).__name__}: {error}", 200)
        raise TokbenchError(f"{path}: not a readable pickle ({reason})") from None


class _NumpyUnpickler(pickle.Unpickler):
    """Knows numpy arrays and the containers that pickle has opcodes for."""

    def find_class(self, module: str, name: str) -> Any:
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return np.ndarray.__reduce__(np.empty(0))[0]  # numpy's own, wherever this version keeps it
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        raise TokbenchError(f"the file asks for {printable(f'{module}.{name}', 80)}; only numpy arrays are read")


class _Holder:
    """An object of a class that is not loaded: its attributes, and nothing it could do."""

    def __setstate__(self, state: Any) -> None:
        self.__dict__.update(state)


class _TorchScriptUnpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, archive: zipfile.ZipFile, top: str) -> None:
        super().__init__(file)
        self.archive, self.top = archive, top

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return _Holder
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if module == "torch" and name in _DTYPES:
            return name
        if module == "torch.jit._pickle" and name.startswith("build_"):
            return list
        raise TokbenchError(f"the file asks for {printable(f'{module}.{name}', 80)}; only tensors are read")

    def persistent_load(self, saved: Any) -> Tensor:
        _, storage, key, _, count = saved
        data = self.archive.read(f"{self.top}data/{key}")
        return torch.frombuffer(bytearray(data), dtype=_DTYPES[storage])[:count]


def _tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    # as_strided checks that the view stays inside the storage.
    return torch.as_strided(storage, size, stride, offset).clone()


def _collect(value: Any, prefix: str, flat: dict[str, Tensor]) -> None:
    if isinstance(value, Tensor):
        flat[prefix] = value
    elif isinstance(value, _Holder):
        for name, child in vars(value).items():
            _collect(child, f"{prefix}.{name}" if prefix else name, flat)


def _flatten(tree: Any, prefix: str, flat: dict[str, np.ndarray], path: Path) -> None:
    if isinstance(tree, np.ndarray):
        flat[prefix] = tree
    elif isinstance(tree, dict):
        for name, child in tree.items():
            _flatten(child, f"{prefix}.{name}" if prefix else str(name), flat, path)
    else:
        raise TokbenchError(f"{path}: {prefix or 'its top'} is a {type(tree).__name__}, not an array")
