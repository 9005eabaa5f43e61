"""What a metric is called and how it is shown. Knows no torch: tables are made where no metric is ever computed.

A metric brings its own definition, and its records carry how it is shown. Those in ``DEFINITIONS`` are older than that:
their records, of this revision too, do not say it, and their classes read it from here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec

Direction = Literal["higher", "lower", "none"]
ARROWS = {"higher": "↑", "lower": "↓", "none": ""}


class Shown(msgspec.Struct, frozen=True, gc=False):
    """How tables and figures show a metric.

    Args:
        digits: after the point; None: four significant ones.
        usual: a column where nobody says which columns.
        over: what ``n`` counts beside images: of ``codes`` it differs between quantizers on the very same images.
        depths: whether ``by_depth`` is of the first d codes together, or of each depth alone.
    """

    digits: Annotated[int, msgspec.Meta(ge=0, le=12)] | None = None
    usual: bool = False
    over: Literal["images", "codes"] = "images"
    depths: Literal["together", "alone"] = "together"


class Definition(msgspec.Struct, frozen=True, gc=False):
    """The label in tables, the better direction, the unit, and how it is shown."""

    label: str
    direction: Direction
    unit: str = ""
    shown: Shown = Shown()


def _usual(digits: int | None = None) -> Shown:
    return Shown(digits, usual=True)


# In the order of the usual columns.
DEFINITIONS = {
    "psnr": Definition("PSNR", "higher", "dB", _usual(2)),
    "ssim": Definition("SSIM", "higher", "", _usual(4)),
    "ssim_luma": Definition("SSIM (luma)", "higher"),
    "ms_ssim": Definition("MS-SSIM", "higher", "", Shown(4)),
    "ms_ssim_luma": Definition("MS-SSIM (luma)", "higher"),
    "l1": Definition("L1", "lower", "", Shown(4)),
    "lpips": Definition("LPIPS (alex)", "lower", "", _usual(4)),
    "lpips_vgg": Definition("LPIPS (vgg)", "lower", "", _usual(4)),
    "lpips_published": Definition("LPIPS (as published)", "lower", "", _usual(4)),  # by which network is seldom said
    "rfid": Definition("rFID", "lower", "", _usual(2)),
    "rfid_train": Definition("rFID (train ref.)", "lower", "", _usual(2)),
    # Of fewer features these distances are of a smaller scale.
    "rfid_64": Definition("rFD-Inception64", "lower", "", _usual(3)),
    "rfid_192": Definition("rFD-Inception192", "lower", "", _usual(3)),
    "rfid_768": Definition("rFD-Inception768", "lower", "", _usual(3)),
    "nll_bits_per_code": Definition("NLL", "lower", "bits/code", _usual()),
    "nll_bound_bits_per_code": Definition("NLL (bound)", "lower", "bits/code", _usual()),
    "model_bpp": Definition("model-coded rate", "lower", "bpp", Shown(3, usual=True, over="codes")),
    "model_bound_bpp": Definition("model-coded rate (bound)", "lower", "bpp", Shown(3)),
    "gfid": Definition("gFID", "lower", "", _usual(2)),
    "gfid_64": Definition("gFD-Inception64", "lower", "", _usual(3)),
    "gfid_192": Definition("gFD-Inception192", "lower", "", _usual(3)),
    "gfid_768": Definition("gFD-Inception768", "lower", "", _usual(3)),
    "fid_infinity": Definition("FID∞", "lower", "", Shown(2)),
    "is": Definition("IS", "higher", "", _usual(1)),
    "kid": Definition("KID", "lower"),
    "fd_dinov2": Definition("FD-DINOv2", "lower"),
    "precision": Definition("precision", "higher"),
    "recall": Definition("recall", "higher"),
    "probe_top1": Definition("top-1 of a probe", "higher", "%", _usual(2)),
    "usage": Definition("usage", "higher", "", Shown(3, usual=True, over="codes", depths="alone")),
    "perplexity": Definition("perplexity", "higher", "", Shown(1, usual=True, over="codes", depths="alone")),
    "entropy": Definition("entropy", "higher", "bits", Shown(2, over="codes", depths="alone")),
    "entropy_bpp": Definition("entropy-coded rate", "lower", "bpp", Shown(3, over="codes")),
    "fixed_bpp": Definition("fixed-length rate", "lower", "bpp", Shown(3)),
    "seconds_per_image": Definition("drawing an image", "lower", "s", _usual()),
    "memory_mib": Definition("memory", "lower", "MiB", _usual(0)),
    "floor_seconds": Definition("reading weights and caches", "lower", "s"),
}


def shown(name: str, own: Shown | None) -> Shown:
    """How the metric of that name is shown: as its record says, else as its definition does."""
    if own is not None:
        return own
    return DEFINITIONS[name].shown if name in DEFINITIONS else Shown()


def in_order(names: Iterable[str]) -> list[str]:
    """``names`` in the order of the definitions; those that have none here come last, as they came."""
    order = {name: place for place, name in enumerate(DEFINITIONS)}
    return sorted(names, key=lambda name: order.get(name, len(order)))


def heading(label: str, unit: str, direction: Direction) -> str:
    """Label, unit and arrow: ``PSNR (dB) ↑``."""
    return f"{label}{f' ({unit})' if unit else ''} {ARROWS[direction]}".rstrip()
