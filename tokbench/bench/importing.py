"""What importing a published model costs beside ``torch.load`` and ``load_state_dict``, and how fast it then encodes
beside the official module with the same weights."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from tokbench import pretrained
from tokbench.bench import official as known
from tokbench.bench.official import Official, official
from tokbench.bench.resident import growth, in_own_process
from tokbench.bench.timing import device_name, load, medians
from tokbench.errors import TokbenchError
from tokbench.results.environment import provenance

OURS, THEIRS = "tokbench", "official"


def bench_import(
    names: Sequence[str] = (),
    *,
    batch_size: int = 1,
    repeats: int = 5,
    memory: bool = True,
    device: str = "cpu",
    side: int | None = None,
) -> dict[str, Any]:
    """Build each model of ``names`` (none: all) with random weights, save it as it is published, import it.

    Both ways take turns within every repeat; a figure is the median of the repeats, and the first turn is not counted.

    Args:
        batch_size: images at a time that are encoded.
        memory: also the peak of each way, by the growth of a fresh process.
        device: where images are encoded; files are read on the CPU.
        side: of the images; None: each model's own.

    Returns:
        The settings, ``created``, ``git``, ``environment``, and ``rows``: one a model, with ``import`` and ``encode``
        in seconds by way, their ``ratio`` (ours over the official one), ``peak_mib`` and ``codes_equal``, the share of
        the codes that are the official module's.

    Raises:
        TokbenchError: an unknown model, a package that is missing, or an import that gives other codes.
    """
    if batch_size < 1 or repeats < 1:
        raise TokbenchError(f"nothing to time: batch size {batch_size}, repeats {repeats}")
    models = list(names or known.OFFICIAL)
    for name in models:  # what is not there is better known before the first is timed
        _ = official(name).version
    before = load()
    settings = {"batch_size": batch_size, "repeats": repeats, "device": device_name(device), "load": before}
    rows = [_row(name, batch_size, repeats, memory, device, side) for name in models]
    return {**settings, "rows": rows, **provenance()}


def _row(name: str, batch: int, repeats: int, memory: bool, device: str, side: int | None) -> dict[str, Any]:
    peer = official(name)
    theirs = peer.module()
    with tempfile.TemporaryDirectory() as folder:
        path = _save(theirs, peer, Path(folder))
        ways = {OURS: lambda: _import(name, path), THEIRS: lambda: _load(theirs, path)}
        importing = medians(ways, repeats, "cpu")
        tokenizer = _import(name, path)
        size = path.stat().st_size
        peaks = {way: in_own_process(f"{__name__}:peak", name, str(path), way, what=name) for way in ways if memory}
    shape = (batch, 3, *[side or peer.side] * 2)
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(device) * 2 - 1
    theirs, tokenizer = theirs.to(device), tokenizer.to(device)
    with torch.no_grad():
        ours, wanted = tokenizer.encode(images).flatten(), peer.encode(theirs, images).flatten()
        equal = float((ours == wanted).float().mean())
        if peer.codes_agree and equal < 0.999:  # a tie may fall either way
            raise TokbenchError(f"{name}: {equal:.1%} of the codes are those of {peer.package}: not the same model")
        ways = {OURS: lambda: tokenizer.encode(images), THEIRS: lambda: peer.encode(theirs, images)}
        encoding = medians(ways, repeats, device)
    row: dict[str, Any] = {
        "model": name,
        "official": peer.version,
        "parameters": sum(parameter.numel() for parameter in theirs.parameters()),
        "bytes": size,
        "images": list(shape),
        "codes_equal": equal,
        "import": _with_ratio(importing),
        "encode": _with_ratio(encoding),
    }
    found = {way: peak for way, peak in peaks.items() if peak is not None}
    return row | ({"peak_mib": found, "peak_of_file": found[OURS] * 2**20 / size} if found else {})


def _with_ratio(seconds: dict[str, float]) -> dict[str, float]:
    return {**seconds, "ratio": seconds[OURS] / seconds[THEIRS]}


def _save(module: nn.Module, peer: Official, folder: Path) -> Path:
    """As it is published: taming's in a Lightning checkpoint, the others as safetensors."""
    tensors = {name: tensor.detach().contiguous() for name, tensor in module.state_dict().items()}
    if peer.package.startswith("taming"):
        torch.save({"state_dict": tensors}, folder / "last.ckpt")
        return folder / "last.ckpt"
    save_file(tensors, folder / "model.safetensors")
    return folder / "model.safetensors"


def _import(name: str, path: Path) -> Any:
    return pretrained.load(name, path, official(name).settings)


def _load(module: nn.Module, path: Path) -> None:
    if path.suffix == ".safetensors":
        module.load_state_dict(load_file(path))
    else:
        module.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["state_dict"])


def peak(name: str, path: str, way: str) -> None:
    """Print the MiB by which this process grows at its peak; the official module is there before."""
    read: Callable[[], Any] = lambda: _import(name, Path(path))  # noqa: E731
    if way == THEIRS:
        module = official(name).module()
        read = lambda: _load(module, Path(path))  # noqa: E731
    print(growth(read))
