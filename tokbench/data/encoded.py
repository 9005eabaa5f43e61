"""Images written as text, as tables hold them: ``data:`` addresses and base64."""

from __future__ import annotations

import base64
import binascii
from urllib.parse import unquote_to_bytes

_BASE64 = (b"/9j/", b"iVBORw0KGgo", b"UklGR", b"R0lGOD", b"data:")
"""How base64 of JPEG, PNG, WebP and GIF begins: columns of bytes hold that too."""


def bytes_of(cell: str | bytes) -> bytes:
    """An image's bytes. What is neither ``data:`` nor base64 stays as it is, and is then not an image."""
    raw = cell.strip().encode("utf-8", "surrogateescape") if isinstance(cell, str) else cell
    if isinstance(cell, bytes) and not cell.startswith(_BASE64):
        return cell
    if raw[:5].lower() == b"data:":
        head, _, body = raw.partition(b",")
        raw = unquote_to_bytes(body)
        if not head.lower().rstrip().endswith(b";base64"):
            return raw
    try:
        packed = b"".join(raw.split()).translate(bytes.maketrans(b"-_", b"+/"))
        return base64.b64decode(packed + b"=" * (-len(packed) % 4), validate=True)
    except binascii.Error:
        return raw


def is_address(cell: object) -> bool:
    """Whether a cell names an image that lies elsewhere."""
    return isinstance(cell, str) and "://" in cell[:32] and not cell[:5].lower() == "data:"
