"""Raw video streams taken apart: which of their bytes carry pictures, and which only say how to read them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tokbench.errors import TokbenchError

# Annex B puts a start code before every unit, with a zero more where it likes; a unit ends with a byte that is not 0.
_START = re.compile(rb"\x00\x00\x01")

_PARAMETERS = {
    # H.264 7.4.1: SEI, SPS, PPS, delimiter, ends, filler.
    "h264": (lambda unit: unit[0] & 31, {6, 7, 8, 9, 10, 11, 12}),
    # H.265 7.4.2.2: VPS, SPS, PPS, delimiter, ends, filler, SEI before and after.
    "hevc": (lambda unit: unit[0] >> 1 & 63, {32, 33, 34, 35, 36, 37, 38, 39, 40}),
    # H.266 7.4.2.2: OPI, DCI, VPS, SPS, PPS, delimiter, ends, SEI, filler. Adaptation sets are a picture's filters.
    "vvc": (lambda unit: unit[1] >> 3, {12, 13, 14, 15, 16, 20, 21, 22, 23, 24, 25}),
    # AV1 6.2.2: sequence header, temporal delimiter, metadata, padding.
    "obu": (lambda unit: unit[0] >> 3 & 15, {1, 2, 5, 15}),
}


def picture_bytes(stream: bytes, kind: str) -> int:
    """Bytes of a raw stream that carry pictures: slices, tiles and what belongs to one picture.

    Left out are start codes, parameter sets, sequence headers, delimiters, messages (SEI) and padding: what a tokenizer
    does not write either, since its decoder knows the model and the size.

    Args:
        kind: ffmpeg's name of the format: ``h264``, ``hevc``, ``vvc`` (Annex B) or ``obu`` (AV1).

    Raises:
        TokbenchError: bytes that are not such a stream.
    """
    number, parameters = _PARAMETERS[kind]
    units = _obus(stream) if kind == "obu" else _annex_b(stream)
    found = sum(len(unit) for unit in units if number(unit) not in parameters)
    if not found:
        raise TokbenchError(f"{len(stream):,} bytes are not a stream of {kind} with pictures in it")
    return found


def _annex_b(stream: bytes) -> Iterator[bytes]:
    starts = [found.span() for found in _START.finditer(stream)]
    for (_, begin), (end, _) in zip(starts, [*starts[1:], (len(stream), 0)], strict=False):
        unit = stream[begin:end].rstrip(b"\x00")
        if len(unit) > 1:
            yield unit


def _obus(stream: bytes) -> Iterator[bytes]:
    """Units of the low-overhead format, in which each says its size."""
    at = 0
    while at < len(stream):
        begin, header = at, stream[at]
        at += 2 if header & 4 else 1
        if header & 0x80 or not header & 2:
            raise TokbenchError(f"byte {begin} of the stream does not begin a unit of AV1 that says its size")
        size = shift = 0
        while True:
            if at >= len(stream) or shift > 56:
                raise TokbenchError(f"the stream of AV1 breaks off at byte {at}")
            byte = stream[at]
            size |= (byte & 127) << shift
            at, shift = at + 1, shift + 7
            if not byte & 128:
                break
        at += size
        if at > len(stream):
            raise TokbenchError(f"the stream of AV1 breaks off at byte {len(stream)}")
        yield stream[begin:at]
