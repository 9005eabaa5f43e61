"""The ``.tokb`` file: one image as entropy-coded codes.

Little-endian: magic ``TOKB``, version, mode (0 histogram, 1 generator), 4 bytes of the tokenizer's hash, 4 of the
histogram's or generator's, the image's height and width (from which the code map's shape follows), class (-1: none),
CRC-32 of the codes, the range coder's words, and a CRC-32 of everything before it: 28 bytes beside the codes.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from torch import Tensor

from tokbench.errors import TokbenchError
from tokbench.results.files import write

MAGIC, VERSION = b"TOKB", 1
_HEADER = struct.Struct("<4sBB4s4sHHhI")
_CHECK = struct.Struct("<I")
MODES = ("histogram", "generator")


@dataclass(frozen=True)
class Tokb:
    """What a file says. ``words`` are the range coder's."""

    mode: Literal["histogram", "generator"]
    tokenizer: str  # 8 hex digits
    model: str  # 8 hex digits, of the generator or the histogram
    height: int
    width: int
    label: int
    codes_crc: int
    words: np.ndarray

    def write(self, path: Path) -> int:
        """Write whole or not at all; the number of bytes."""
        if max(self.height, self.width) >= 2**16:
            raise TokbenchError(f"{path}: images up to 65535 pixels per side, not {self.height}x{self.width}")
        if self.label >= 2**15:
            raise TokbenchError(f"{path}: classes up to 32767, not {self.label}")
        payload = self.words.astype("<u4").tobytes()
        head = _HEADER.pack(
            MAGIC,
            VERSION,
            MODES.index(self.mode),
            bytes.fromhex(self.tokenizer),
            bytes.fromhex(self.model),
            self.height,
            self.width,
            self.label,
            self.codes_crc,
        )
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
        if len(data) > 4 and data[4] != VERSION:
            raise TokbenchError(f"{path}: version {data[4]} of the format; this tokbench reads version {VERSION}")
        if len(data) < _HEADER.size + _CHECK.size or zlib.crc32(data[:-4]) != _CHECK.unpack(data[-4:])[0]:
            raise TokbenchError(f"{path}: damaged or cut short (its checksum does not match); copy it again")
        _, _, mode, tokenizer, model, height, width, label, codes_crc = _HEADER.unpack_from(data)
        payload = data[_HEADER.size : -_CHECK.size]
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
        )


def codes_crc(codes: Tensor) -> int:
    """CRC-32 of codes as little-endian int64."""
    return zlib.crc32(codes.contiguous().numpy().astype("<i8").tobytes())
