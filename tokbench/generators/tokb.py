"""The ``.tokb`` file: one image or clip as entropy-coded codes.

Little-endian: magic ``TOKB``, version, mode (0 histogram, 1 generator), 4 bytes of the tokenizer's hash, 4 of the
histogram's or generator's, the image's height and width (from which the code map's shape follows), class (-1: none),
CRC-32 of the codes, the range coder's words, and a CRC-32 of everything before it: 28 bytes beside the codes. That is
version 1. A clip is version 2, which has behind the CRC of the codes the number of frames, the frames of a window
(encoded on its own), and the frames a second as numerator and denominator: 42 bytes.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
from torch import Tensor

from tokbench.errors import TokbenchError
from tokbench.results.files import write

MAGIC, VERSION = b"TOKB", 2
IMAGE, CLIP = 1, 2
_HEADER = struct.Struct("<4sBB4s4sHHhI")
_TIME = struct.Struct("<IHII")
_CHECK = struct.Struct("<I")
MODES = ("histogram", "generator")


@dataclass(frozen=True)
class Tokb:
    """What a file says. ``words`` are the range coder's; an image has no ``frames``."""

    mode: Literal["histogram", "generator"]
    tokenizer: str  # 8 hex digits
    model: str  # 8 hex digits, of the generator or the histogram
    height: int
    width: int
    label: int
    codes_crc: int
    words: np.ndarray
    frames: int = 0
    window: int = 0
    fps: Fraction = Fraction(0)

    def write(self, path: Path) -> int:
        """Write whole or not at all; the number of bytes."""
        if max(self.height, self.width) >= 2**16:
            raise TokbenchError(f"{path}: images up to 65535 pixels per side, not {self.height}x{self.width}")
        if self.label >= 2**15:
            raise TokbenchError(f"{path}: classes up to 32767, not {self.label}")
        payload = self.words.astype("<u4").tobytes()
        head = _HEADER.pack(
            MAGIC,
            CLIP if self.frames else IMAGE,
            MODES.index(self.mode),
            bytes.fromhex(self.tokenizer),
            bytes.fromhex(self.model),
            self.height,
            self.width,
            self.label,
            self.codes_crc,
        )
        if self.frames:
            if self.window >= 2**16:
                raise TokbenchError(f"{path}: windows up to 65535 frames, not {self.window}")
            head += _TIME.pack(self.frames, self.window, self.fps.numerator, self.fps.denominator)
        body = head + payload
        write(path, body + _CHECK.pack(zlib.crc32(body)))
        return len(body) + _CHECK.size

    @classmethod
    def read(cls, path: Path) -> Tokb:
        """Raises TokbenchError: no such file, another kind of file, another version, damaged."""
        try:
            data = path.read_bytes()
        except OSError as error:
            raise TokbenchError(f"{path}: cannot be read: {error.strerror}") from None
        if data[:4] != MAGIC:
            raise TokbenchError(f"{path}: not a .tokb file")
        version = data[4] if len(data) > 4 else IMAGE
        if version not in (IMAGE, CLIP):
            raise TokbenchError(f"{path}: version {version} of the format; this tokbench reads versions 1 and 2")
        start = _HEADER.size + (_TIME.size if version == CLIP else 0)
        if len(data) < start + _CHECK.size or zlib.crc32(data[:-4]) != _CHECK.unpack(data[-4:])[0]:
            raise TokbenchError(f"{path}: damaged or cut short (its checksum does not match); copy it again")
        _, _, mode, tokenizer, model, height, width, label, codes_crc = _HEADER.unpack_from(data)
        frames, window, rate, per = _TIME.unpack_from(data, _HEADER.size) if version == CLIP else (0, 0, 0, 1)
        payload = data[start : -_CHECK.size]
        if version == CLIP and not (frames and window and per):
            raise TokbenchError(f"{path}: damaged (a clip without frames); copy it again")
        if len(payload) % 4 or mode >= len(MODES) or not height or not width:
            raise TokbenchError(f"{path}: damaged (its lengths do not fit); copy it again")
        return cls(
            mode=MODES[mode],  # type: ignore[arg-type]
            tokenizer=tokenizer.hex(),
            model=model.hex(),
            height=height,
            width=width,
            label=label,
            codes_crc=codes_crc,
            words=np.frombuffer(payload, dtype="<u4").astype(np.uint32),
            frames=frames,
            window=window,
            fps=Fraction(rate, per),
        )


def codes_crc(codes: Tensor) -> int:
    """CRC-32 of codes as little-endian int64."""
    return zlib.crc32(codes.contiguous().numpy().astype("<i8").tobytes())
