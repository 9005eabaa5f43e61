"""The user's cache of weights: ``<cache>/weights/NAME.safetensors``, written whole or not at all, checked when read.

Where: ``$TOKBENCH_CACHE``, else ``$XDG_CACHE_HOME/tokbench``, else ``~/.cache/tokbench``.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokbench.errors import TokbenchError, printable
from tokbench.results.files import written
from tokbench.weights.catalogue import entry

if TYPE_CHECKING:
    from torch import Tensor


def cache_dir() -> Path:
    """The folder of everything that can be made again: weights and reference statistics."""
    if own := os.environ.get("TOKBENCH_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tokbench"


def path_of(name: str) -> Path:
    return cache_dir() / "weights" / f"{entry(name).name}.safetensors"


def find(name: str) -> Path | None:
    """The file of ``name`` in the cache, or None. Unknown names are a ``TokbenchError``."""
    path = path_of(name)
    return path if path.is_file() else None


def require(name: str) -> Path:
    """The file of ``name``, or a ``TokbenchError`` whose line says how to get it."""
    path = find(name)
    if path is None:
        raise TokbenchError(
            f"no weights {name!r} ({entry(name).title}): run `tokbench weights get {name}`, "
            f"or `tokbench weights add {name} FILE` with a file you have"
        )
    return path


def load(name: str) -> dict[str, Tensor]:
    """The tensors of ``name``, checked against the hash they were stored with. Damage is an error naming both."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path, expected = require(name), digest(name)
    fix = f"run `tokbench weights get {name} --force`"
    try:
        tensors = load_file(path)
    except (SafetensorError, ValueError) as error:
        raise TokbenchError(f"{path}: damaged ({error}); {fix}") from None
    found = content_hash(tensors, entry(name).optional)
    if found != expected:
        raise TokbenchError(f"{path}: damaged: its content hash should be {expected} and is {found}; {fix}")
    return tensors


def save(name: str, tensors: Mapping[str, Tensor], source: str, file_sha256: str = "") -> Path:
    """Check ``tensors`` and put them into the cache.

    They must have the catalogue's content hash, or come from a file with the publisher's own SHA-256.

    Raises:
        TokbenchError: other tensors than ``name`` stands for (both hashes are named), or a cache that cannot be
            written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    weights = entry(name)
    found = content_hash(tensors, weights.optional)
    published = bool(weights.url_sha256) and file_sha256.startswith(weights.url_sha256)
    if found != weights.content and not published:
        raise TokbenchError(
            f"{source}: not the weights {name!r}: their content hash is {weights.content}, this file's is {found}"
        )
    path = path_of(name)
    try:
        with written(path, sync=True) as draft:
            contiguous = {key: value.contiguous() for key, value in tensors.items()}
            save_file(contiguous, draft, metadata={"source": source, "content": found})
    except SafetensorError as error:  # its word for a full disk
        raise TokbenchError(f"{path}: cannot write the weights: {error}") from None
    return path


def digest(name: str) -> str:
    """The content hash that ``name`` was stored with: features made with other weights have another one."""
    content = _header(name).get("__metadata__", {}).get("content")
    if not isinstance(content, str):
        raise _damaged(name, "no hash of its content is in it")
    return content


def tensor_names(name: str) -> list[str]:
    """The names of the stored tensors, without reading them."""
    return [key for key in _header(name) if key != "__metadata__"]


def _header(name: str) -> dict[str, Any]:
    try:
        return header(require(name))
    except ValueError as error:
        raise _damaged(name, str(error)) from None


def _damaged(name: str, why: str) -> TokbenchError:
    return TokbenchError(f"{require(name)}: damaged ({printable(why, 120)}); run `tokbench weights get {name} --force`")


def header(path: Path) -> dict[str, Any]:
    """The header of a safetensors file: tensor names with shapes, and ``__metadata__``. ValueError if it has none."""
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size > 10_000_000:
            raise ValueError("no safetensors header")
        try:
            found = json.loads(file.read(size))
        except RecursionError:
            found = None
    if not isinstance(found, dict) or not all(isinstance(value, dict) for value in found.values()):
        raise ValueError("its header is not one of safetensors")
    return found


def content_hash(tensors: Mapping[str, Tensor], optional: tuple[str, ...] = ()) -> str:
    """First 32 hex digits of SHA-256 over name, type, shape and bytes of every tensor, sorted by name.

    The file format does not matter, nor do the tensors named in ``optional`` (a classifier some files lack) and the
    batch counters of BatchNorm, which no evaluation reads.
    """
    import torch

    digest = hashlib.sha256()
    for name in sorted(tensors):
        if name in optional or name.endswith("num_batches_tracked"):
            continue
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:32]
