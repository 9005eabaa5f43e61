"""Text in images as Tesseract reads it: a program of its own, which is run where it is installed."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image, ImageOps
from torch import Tensor

from tokbench.data.pixels import to_grey
from tokbench.errors import TokbenchError

LANGUAGE = "eng"
_EM, _BORDER = 40, 20  # pixels that text is enlarged to, where it is smaller, and of white around it
_SECONDS, _KNOWN = 10, 20_000  # to read one image, and how many images are remembered


def missing() -> str | None:
    """One line on why nothing can be read here and how to get what is missing; None where it can."""
    if not program():
        return "no tesseract: install it (Debian: apt install tesseract-ocr; macOS: brew install tesseract)"
    try:
        languages = _languages()
    except TokbenchError as error:
        return str(error)
    if LANGUAGE not in languages:
        return f"tesseract has no language {LANGUAGE!r}: install it (Debian: apt install tesseract-ocr-{LANGUAGE})"
    return None


def program() -> str | None:
    """Its path."""
    return shutil.which("tesseract")


@functools.cache
def _languages() -> list[str]:
    return _said("--list-langs").split()


@functools.cache
def version() -> str:
    """Such as ``5.3.0``; empty where it does not say."""
    first = _said("--version").splitlines()[:1]
    return first[0].removeprefix("tesseract").strip(" v") if first else ""


def read(images: Tensor, sizes: Sequence[int]) -> list[str]:
    """uint8 (B, C, H, W) -> what each says, in one line, read without a dictionary; "" where nothing is read.

    ``sizes``: of the fonts, in pixels. What was read once is remembered.

    Raises TokbenchError where Tesseract fails.
    """
    pairs = list(zip(images.cpu(), sizes, strict=True))
    keys = [
        hashlib.sha256(image.numpy().tobytes() + f"{image.shape} {size}".encode()).digest() for image, size in pairs
    ]
    new = {key: k for k, key in enumerate(keys) if key not in _read}
    found = _run([_enlarged(*pairs[k]) for k in new.values()]) if new else []
    _read.update(zip(new, found, strict=True))
    for key in keys:
        _read.move_to_end(key)
    texts = [_read[key] for key in keys]
    while len(_read) > _KNOWN:
        _read.popitem(last=False)
    return texts


_read: OrderedDict[bytes, str] = OrderedDict()


def _enlarged(image: Tensor, size: int) -> Image.Image:
    """As Tesseract likes it: letters of some thirty pixels with white around them."""
    picture = Image.fromarray((to_grey(image) if len(image) == 3 else image)[0].numpy())
    factor = max(1, round(_EM / size))
    enlarged = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.BICUBIC)
    return ImageOps.expand(enlarged, _BORDER, 255)


def _run(pictures: Sequence[Image.Image]) -> list[str]:
    """What each says. One call for all of them: its network is loaded once."""
    with TemporaryDirectory(prefix="tokbench-") as folder:
        files = [Path(folder) / f"{number:06d}.pgm" for number in range(len(pictures))]
        for file, picture in zip(files, pictures, strict=True):
            picture.save(file)
        listed = Path(folder) / "files.txt"
        listed.write_text("".join(f"{file}\n" for file in files))
        options = ["-l", LANGUAGE, "--psm", "6", "--dpi", "300"]  # one block of text
        for setting in ("load_system_dawg=0", "load_freq_dawg=0", "page_separator=\f"):
            options += ["-c", setting]
        said = _said(str(listed), "stdout", *options, seconds=_SECONDS * (1 + len(files)))
    pages = said.split("\f")
    pages = pages[:-1] if len(pages) > len(pictures) else pages  # versions before 4.1 end with one
    if len(pages) != len(pictures):
        raise TokbenchError(f"tesseract read {len(pages)} of {len(pictures)} images")
    return [" ".join(page.split()) for page in pages]


def _said(*arguments: str, seconds: float = _SECONDS) -> str:
    """What it prints. Raises TokbenchError where it fails."""
    command = [program() or "tesseract", *arguments]
    environment = {**os.environ, "OMP_THREAD_LIMIT": "1"}  # its own threads only wait for each other
    try:
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=True
        )
    except subprocess.CalledProcessError as error:
        last = error.stderr.decode(errors="replace").strip().splitlines()[-1:] or [f"exit code {error.returncode}"]
        raise TokbenchError(f"tesseract failed: {last[0]}") from None
    except subprocess.TimeoutExpired:
        raise TokbenchError(f"tesseract did not end within {seconds:.0f} seconds") from None
    except OSError as error:
        raise TokbenchError(f"tesseract cannot be run: {error.strerror or error}") from None
    return done.stdout.decode(errors="replace")
