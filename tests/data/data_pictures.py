"""Small images and shards that the data tests make for themselves."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed: int, width: int = 24, height: int = 20) -> Image.Image:
    """A smooth random RGB image: JPEG keeps it recognisable."""
    small = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "PNG", **settings: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **settings)
    return out.getvalue()


def write_shard(path: Path, keys: range, classes: int = 7) -> None:
    """A WebDataset shard: KEY.jpg and KEY.cls for every key."""
    with tarfile.open(path, "w") as archive:
        for key in keys:
            for extension, data in (("jpg", encoded(picture(key), "JPEG")), ("cls", str(key % classes).encode())):
                member = tarfile.TarInfo(f"{key:06d}.{extension}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
