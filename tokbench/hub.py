"""The Hugging Face hub: not waited for long where it does not answer, and what went wrong in few words."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from tokbench.errors import first_line


@contextmanager
def reachable_or_offline() -> Iterator[None]:
    """Where the hub does not answer within three seconds, look in its caches only: its own retries take a minute."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or answers(constants.ENDPOINT):
        yield
        return
    own = [constants, *([sys.modules["datasets"].config] if "datasets" in sys.modules else [])]
    before = [settings.HF_HUB_OFFLINE for settings in own]
    for settings in own:
        settings.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        for settings, was in zip(own, before, strict=True):
            settings.HF_HUB_OFFLINE = was


def answers(endpoint: str) -> bool:
    """Whether the hub at this address takes a connection; behind a proxy, which alone knows, always true."""
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True
    address = urlsplit(endpoint)
    try:
        socket.create_connection((address.hostname or "", address.port or 443), timeout=3).close()
    except OSError:
        return False
    return True


def reason(error: BaseException) -> str:
    """Why the hub did not give a file. Its own errors tell of requests and of settings of its library first."""
    from huggingface_hub import constants, errors

    if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "no connection"
    if isinstance(error, errors.GatedRepoError):
        return "gated: accept its terms on its page, then `hf auth login`"
    for kind, message in (
        (errors.RepositoryNotFoundError, "no such repository, or a private one: `hf auth login`"),
        (errors.RevisionNotFoundError, "no such revision"),
        (errors.EntryNotFoundError, "the repository has no such file"),
    ):
        if isinstance(error, kind):
            return message
    return first_line(error, 160)
