"""Folders of weights: a model in several files, and what accelerate, DeepSpeed, Lightning and diffusers leave."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tokbench.errors import TokbenchError, printable

from .checkpoint import read_config, read_file

# Beside the weights in the folder of a training run; never the model's.
_NOT_WEIGHTS = re.compile(r"optim|sched|random_states|rng_state|scaler|training_args|sampler|dataloader")
_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
_PICKLES = (".pkl",)  # where nothing else is there: of a training run they are anything
PART = re.compile(r"-\d{5}-of-\d{5}$")
INDEX = ".index.json"
"""How the names of parts of a model end before their suffix, and that of their index."""


def read_folder(folder: Path) -> dict[str, Any]:
    """The weights in a folder: those of its one file or index, or one dictionary a file where it has several.

    Raises:
        TokbenchError: no weights in it, or weights in a format that has to be joined first.
    """
    if (folder / ".metadata").is_file() or any(folder.glob("*.distcp")):
        raise TokbenchError(
            f"{folder}: a sharded checkpoint of torch.distributed; join it first: "
            "python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER FILE"
        )
    found = _files(folder)
    if not found:
        inner = sorted(path.name for path in folder.iterdir() if path.is_dir() and _files(path))
        latest = folder / "latest"  # DeepSpeed's note of its last step
        if latest.is_file() and (last := latest.read_text(errors="replace")[:200].strip()) in inner:
            inner = [last]
        if len(inner) == 1:  # Lightning's DeepSpeed checkpoints are folders with one in them
            return read_folder(folder / inner[0])
        hint = f"its folders {', '.join(printable(name, 60) for name in inner[:4])} have some" if inner else "a folder"
        raise TokbenchError(f"{folder}: no weights in it ({hint}; name the file in it)")
    read = {path.name: read_index(path) if path.suffix == ".json" else read_file(path) for path in found}
    return next(iter(read.values())) if len(read) == 1 else read


def _files(folder: Path) -> list[Path]:
    """Indices of sharded weights and whole files; of one model in two formats, the safetensors."""
    indices = sorted(folder.glob(f"*{INDEX}"))
    whole = _whole(folder, _SUFFIXES) or _whole(folder, _PICKLES)
    kept: dict[str, Path] = {}
    for path in [*indices, *whole]:
        name = path.name.removesuffix(INDEX)
        same = {"pytorch_model": "model", "diffusion_pytorch_model": "model"}
        stem = name.rpartition(".")[0]
        stem = next((stem.replace(long, short) for long, short in same.items() if stem.startswith(long)), stem)
        if stem not in kept or (kept[stem].suffix == ".json" and ".bin" in kept[stem].name and ".safe" in path.name):
            kept[stem] = path
    return list(kept.values())


def _whole(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    return [
        path
        for suffix in suffixes
        for path in sorted(folder.glob(f"*{suffix}"))
        if path.is_file() and not _NOT_WEIGHTS.search(path.name.lower()) and not PART.search(path.stem)
    ]


def read_index(index: Path) -> dict[str, Any]:
    """The tensors of a sharded model: ``weight_map`` of its index says which file of the folder holds which.

    Raises:
        TokbenchError: a file that is missing or lies elsewhere, or a tensor that its file does not hold.
    """
    where = read_config(index).get("weight_map")
    if not isinstance(where, dict) or not all(isinstance(name, str) for name in where.values()) or not where:
        raise TokbenchError(f"{index}: no weight_map of names and files in it, so not an index of weights")
    shards: dict[str, dict[str, Any]] = {}
    for name in sorted(set(where.values())):
        if Path(name).name != name:
            raise TokbenchError(f"{index}: {printable(json.dumps(name), 80)}: weights lie in the folder of their index")
        if not (index.parent / name).is_file():
            raise TokbenchError(f"{index}: {printable(name, 80)} is missing beside it; copy every part of the model")
        shards[name] = read_file(index.parent / name, part_of_index=True)
    missing = [name for name, shard in where.items() if name not in shards[shard]]
    if missing:
        message = ", ".join(printable(str(name), 80) for name in missing[:4])
        raise TokbenchError(f"{index}: {len(missing)} tensors are not in the files it names ({message})")
    return {name: shards[shard][name] for name, shard in where.items()}
