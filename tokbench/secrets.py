"""What a URL or a setting holds that nobody else may read: passwords, signatures, tokens.

A run's own ``recipe.yaml`` keeps them, since the run is continued with it. Nothing else does: records, tables, pages,
cards, what is pushed, what trackers are sent, headers of code caches, and every line on the terminal.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

HIDDEN = "***"

_URL = re.compile(r"""\b[a-z][\w+.-]{0,20}://[^\s'"<>]+""", re.IGNORECASE)
_NEXT = re.compile(r"(,(?=(?:train|eval)=|[a-z][\w+.-]{0,20}://))", re.IGNORECASE)  # of several in one data source
_USER = re.compile(r"(://)[^/]*@")
_QUERY = re.compile(r"([?#]).+")
_NAMED = re.compile(
    r"""(?<![a-z0-9])((?:(?:access|api|auth|aws|client|id|private|refresh|secret|security|session)?[-_]?
    (?:token|secret|key[-_]?id|access[-_]?key)|sig|(?:shared[-_]?access[-_]?)?signature|account[-_]?key|password|passwd|pwd|api[-_]?key|credentials?|auth)
    ["']?\s*=\s*["']?)(?!\d+(?:\b|$))[^\s&;,"']+""",
    re.IGNORECASE | re.VERBOSE,
)
_BEARER = re.compile(r"\b((?:bearer|basic)\s+)[\w.~+/=-]{8,}", re.IGNORECASE)
_KNOWN = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{8,}|gh[opsur]_[A-Za-z0-9]{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}|sk-[\w-]{20,}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[\w-]{30,}|xox[abprs]-[\w-]{10,})"
)
_HINTS = re.compile(r"://|=|hf_|gh[opsur]_|github_pat|glpat-|sk-|A[KS]IA|AIza|xox|bearer|basic", re.IGNORECASE)


def redacted(text: str) -> str:
    """``text`` with ``***`` in place of users and passwords in URLs, query strings of URLs, and tokens."""
    if not _HINTS.search(text):
        return text
    text = _URL.sub(lambda found: "".join(map(_address, _NEXT.split(found[0]))), text)
    text = _BEARER.sub(rf"\1{HIDDEN}", _NAMED.sub(rf"\1{HIDDEN}", text))
    return _KNOWN.sub(HIDDEN, text)


def _address(url: str) -> str:
    """Without user, and without the query as a whole: of a signed URL any part of it may be the secret, under a name
    of the provider's own."""
    return _QUERY.sub(rf"\1{HIDDEN}", _USER.sub(rf"\1{HIDDEN}@", url, count=1), count=1)


def without_secrets(value: Any, then: Callable[[str], str] = str) -> Any:
    """Plain values (mappings, lists, text) with every text, keys included, ``redacted``, and ``then`` applied to it.

    The value of a key that is called as secrets are (``token``, ``api_key``) is one, whatever it looks like.
    """
    if isinstance(value, Mapping):
        return {without_secrets(key, then): _of(key, inner, then) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(inner, then) for inner in value]
    return then(redacted(value)) if isinstance(value, str) else value


def _of(key: Any, value: Any, then: Callable[[str], str]) -> Any:
    if isinstance(key, str) and isinstance(value, str) and value and _NAMED.search(f"{key}=x"):
        return HIDDEN
    return without_secrets(value, then)
