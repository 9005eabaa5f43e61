"""What the commands do, for a script: values go in, records and tensors come out, and little is printed.

Nothing heavy is imported before a function is called.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator
    from torch import Tensor

    from tokbench.config.grid import Size
    from tokbench.data import ImageDataset, Split
    from tokbench.models import Tokenizer
    from tokbench.reconstruction import Reconstruction
    from tokbench.results.record import Record
    from tokbench.results.store import Records

    Source: TypeAlias = Tokenizer | str | PathLike[str]


def evaluate(
    tokenizer: Source,
    data: ImageDataset | str = "photos",
    *,
    split: Split = "eval",
    size: Size | None = None,
    metrics: Sequence[str] | str | None = None,
    protocol: str | None = None,
    train_data: ImageDataset | None = None,
    limit: int | None = None,
    batch_size: int = 64,
    workers: int = 0,
    by_depth: bool = True,
    name: str | None = None,
    results: str | PathLike[str] | None = None,
    device: torch.device | str | None = None,
    accelerator: Accelerator | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Record:
    """Measure a tokenizer: fidelity, code use and rate, as one record.

    Examples:
        >>> record = tokbench.evaluate("runs/demo/tokenizer", "folder:eval=my-images", metrics=["psnr", "ssim"])
        >>> record.metrics["psnr"].value, record.rate.bits_per_pixel

    Args:
        tokenizer: a model, a folder of one, or a repository of the hub.
        data: a spec string (``tokbench.open_images``), or images that are already open; ``split``, ``size`` and
            ``limit`` are then theirs.
        size: of the images in pixels: a side, or (H, W), or (T, H, W) of clips; default the tokenizer's own.
        metrics: names (``tokbench list metrics``), or ``"psnr,ssim"``; default all that can be computed here. One that
            was asked for and cannot be computed has the value None and a note that says why.
        protocol: how images are made square: a name of ``tokbench.data.PROTOCOLS``; default ``tokbench-v1``, or that
            of the open images.
        train_data: training images, which ``rfid_train`` compares with.
        limit: at most so many images, spread evenly.
        workers: processes that decode images.
        by_depth: also measure the first 1, 2, ... D - 1 codes of every position.
        name: the record's name; default that of the tokenizer's folder.
        results: a ``runs.jsonl``, or the folder of one, that the record is appended to; default none.
        device: default that of a model that was given, else a GPU where there is one.
        accelerator: of ``accelerate``, where several processes share the images; the first one appends.
        progress: called with (images done, images in all) after every batch.

    Raises:
        TokbenchError: no such tokenizer, images, metric or protocol; a size that is not a multiple of f; a
            file of records that cannot be written, which is found out before anything is measured.
    """
    from tokbench.config.kind import SHOWN
    from tokbench.data import PROTOCOLS, ImageDataset, open_images
    from tokbench.errors import TokbenchError, TokbenchWarning, noun_of, shown, size_text
    from tokbench.memory import explained
    from tokbench.metrics import evaluate_tokenizer, get
    from tokbench.metrics.record import evaluation_record, saved_weights, with_images
    from tokbench.models.tokenizer import chosen_size
    from tokbench.results.store import Store, records_of

    if isinstance(metrics, str):
        metrics = [metric.strip() for metric in metrics.split(",")]
    for metric in metrics or ():
        get(metric)  # a misspelt name costs a second, not a pass over the images
    if protocol is not None:
        PROTOCOLS.get(protocol)
    store = Store(records_of(Path(results))) if results is not None else None
    writes = store is not None and (accelerator is None or accelerator.is_main_process)
    if store is not None and writes:
        store.check()
    model = _tokenizer(tokenizer, None if accelerator is not None else device)
    if isinstance(data, str):
        size = chosen_size(model, size, "size", single=True)
        protocol = protocol or "tokbench-v1"
        shape: Any = {"image_size": size, "crop": PROTOCOLS.get(protocol).crop, "channels": model.config.channels}
        shape["kind"] = model.config.kind
        data = open_images(data, split, limit=limit, **shape)
    elif not isinstance(data, ImageDataset):
        raise TokbenchError(f"data must be a spec such as 'photos', or what open_images gives, got {shown(data)}")
    elif size is not None or limit is not None:
        raise TokbenchError("size and limit belong to open_images where data is already open")
    if data.view.channels != (channels := model.config.channels):
        raise TokbenchError(f"the tokenizer's images have {channels} channel(s): open_images(..., channels={channels})")
    if data.view.kind != (kind := model.config.kind):
        raise TokbenchError(f"the tokenizer is of {SHOWN[kind]}: open_images(..., kind={kind!r})")
    size = chosen_size(model, data.image_size, "image_size", single=True)
    with explained(
        f"measuring {batch_size} {noun_of(size)}s of {size_text(size)} at a time", "batch_size", "a larger machine"
    ):
        found = evaluate_tokenizer(
            model,
            data,
            metrics=metrics,
            batch_size=batch_size,
            protocol=protocol,
            by_depth=by_depth,
            workers=workers,
            accelerator=accelerator,
            train_dataset=train_data,
            progress=progress,
        )
    given = tokenizer if isinstance(tokenizer, str | PathLike) else None
    record = evaluation_record(
        found,
        model,
        data.fingerprint,
        by_depth=by_depth,
        name=name or Path(given or model.home or model.config.quantizer.name).resolve().name,
        weights_which="saved" if given is None else saved_weights(model.home or given),
    )
    if store is not None and writes:
        try:
            record = with_images(record, found, store.path.parent)
            store.append(record)
        except TokbenchError as error:  # what was measured is not lost
            warnings.warn(f"{error}; the record is returned all the same", TokbenchWarning, stacklevel=2)
    return record


def reconstruct(
    tokenizer: Source, image: Tensor | str | PathLike[str], *, device: torch.device | str | None = None
) -> Reconstruction:
    """One image of any size through a tokenizer's codes.

    Examples:
        >>> made = tokbench.reconstruct(tokenizer, "my.jpg")
        >>> made.image, made.stages[0], made.codes.shape, made.psnr

    Args:
        tokenizer: a model, a folder of one, or a repository of the hub (for many images: a model, which is read once).
        image: a file, or uint8 (C, H, W), C the tokenizer's channels: 3, or 1 for grey; of a tokenizer of maps
            labels int64 (1, H, W), or depth float (1, H, W) in [-1, 1].
        device: default that of a model that was given, else a GPU where there is one.

    Returns:
        uint8 tensors (C, H, W) on the CPU: the image as it was read, and what comes back of its first 1, 2, ... D
        codes; the codes (h, w, D); PSNR, SSIM and bits per pixel.

    Raises:
        TokbenchError: no such tokenizer, a file that is not a readable image, a tensor of another shape or type, an
            image that memory does not suffice for.
    """
    import torch

    from tokbench.data.maps import check_map, read_sample
    from tokbench.errors import TokbenchError, shown
    from tokbench.memory import IMAGE_TOO_LARGE, explained
    from tokbench.reconstruction import reconstruct_image

    model = _tokenizer(tokenizer, device)
    what = str(image) if isinstance(image, str | PathLike) else "the image"
    channels = model.config.channels
    kind = model.config.kind
    pixels = read_sample(Path(image), kind, channels) if isinstance(image, str | PathLike) else image
    if kind != "image" and isinstance(pixels, torch.Tensor):
        check_map(pixels, kind, channels)
    elif not isinstance(pixels, torch.Tensor):
        raise TokbenchError(f"image must be a file or a uint8 tensor ({channels}, H, W), got {shown(pixels)}")
    elif pixels.dtype != torch.uint8 or pixels.ndim != 3 or pixels.shape[0] != channels or not pixels.numel():
        raise TokbenchError(f"image must be uint8 ({channels}, H, W), got {pixels.dtype} {tuple(pixels.shape)}")
    training = model.training
    try:
        with explained(f"reconstructing {what}", *IMAGE_TOO_LARGE):
            return reconstruct_image(model.eval(), pixels)
    finally:
        model.train(training)


def sweep(
    file: str | PathLike[str] | None = None, *, again: bool = False, cpu: bool = False, **options: Any
) -> list[Record]:
    """Train and measure a grid of tokenizers, and generators on their codes.

    Examples:
        >>> records = tokbench.sweep(quantizer=["vq", "rq"], depth=4, set={"training.steps": 200}, out="runs/mine")
        >>> {record.name: record.metrics["psnr"].value for record in records if record.error is None}

    Killed half-way, the same call continues where it stopped; finished cells are not run again. Progress is shown on
    stderr, the comparison table on stdout.

    Args:
        file: options as YAML keys, or the name of a sweep that ships with tokbench.
        again: run cells that have a record too.
        cpu: stay on the CPU where there is a GPU.
        options: those of ``tokbench sweep``, with underscores (``tokbench.sweeps.settings.SweepSettings``): axes such
            as ``quantizer``, ``codebook_size``, ``depth``, ``bits``, ``seed`` take a value or a list; ``set`` changes
            recipe keys, ``vary`` makes axes of them; ``out`` is the folder of the records.

    Returns:
        The newest record of every cell that has one, in the order of the cells. A cell that failed says why in
        ``error``.

    Raises:
        TokbenchError: an unknown option or recipe key, a value out of range, a grid of which nothing is possible.
    """
    from tokbench.results.store import Store
    from tokbench.sweeps.plan import Plan
    from tokbench.sweeps.run import run_sweep
    from tokbench.sweeps.settings import load_sweep
    from tokbench.sweeps.tune import tuned_plan

    if "out" in options:
        options["out"] = os.fspath(options["out"])
    settings = load_sweep(os.fspath(file) if file is not None else None, options, option=lambda _: "sweep")
    run_sweep(settings, again=again, cpu=cpu)
    newest = {record.cell: record for record in Store(Path(settings.out) / "runs.jsonl").read()}
    plan = Plan.make(settings, cpu=cpu) if settings.tune is None else tuned_plan(settings, cpu)
    return [newest[cell.key] for cell in plan.cells if cell.key in newest]


def read_records(path: str | PathLike[str] = "results") -> Records:
    """What was measured: the records of a ``runs.jsonl``, or of the folder that holds one, in the order of its lines.

    Examples:
        >>> for record in tokbench.read_records("runs/demo"):
        ...     print(record.name, record.rate.bits_per_pixel, record.metrics["psnr"].value)

    Lines that cannot be used are left out: ``.damaged`` has their numbers and reasons, and a warning counts them.

    Raises:
        TokbenchError: there is no such file, or it cannot be read.
    """
    from tokbench.errors import TokbenchWarning, counted
    from tokbench.results.store import Store, existing_records

    file = existing_records(Path(path))
    records = Store(file).read()
    if records.damaged:
        number, reason = records.damaged[0]
        lines = counted(len(records.damaged), "line")
        warnings.warn(f"{file}: {lines} not used; line {number}: {reason}", TokbenchWarning, stacklevel=2)
    return records


def _tokenizer(source: Source, device: torch.device | str | None) -> Tokenizer:
    """The model itself, on ``device`` where one is given, or the one that is read, on a GPU where there is one."""
    import torch

    from tokbench.errors import TokbenchError, shown
    from tokbench.models import Tokenizer

    if isinstance(source, Tokenizer) and device is None:
        return source
    if not isinstance(source, Tokenizer | str | PathLike):
        kinds = "a Tokenizer, a folder, a published model's name or a hub repository"
        raise TokbenchError(f"tokenizer must be {kinds}, got {shown(source)}")
    model = source if isinstance(source, Tokenizer) else Tokenizer.from_pretrained(source)
    try:
        return model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    except (RuntimeError, AssertionError) as error:  # no such device, or none of its kind here
        raise TokbenchError(f"device {device}: {str(error).splitlines()[0]}") from None
