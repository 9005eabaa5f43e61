"""A hub of files made here, in huggingface_hub's own cache, and nothing fetched."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from fake_hub import HUB, entry
from official import GRADIENT, save_llamagen, tokenizer

TINY = {"architecture": "llamagen", "channels": 32, "multipliers": [1, 2], "blocks": 1, "latent_channels": 8}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("llamagen") / "tiny.pt"
    quantizer = {**GRADIENT, "codebook_size": 16, "beta_on": "commitment", "l2_norm": True}
    save_llamagen(tokenizer({**TINY, "code_channels": 6}, quantizer), path)
    return path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing is here and nothing can be fetched; the catalogue has one model more."""
    import huggingface_hub.constants

    from tokbench.pretrained import catalogue

    monkeypatch.setenv("TOKBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    known = {**catalogue.entries(), "tiny-f2": entry()}
    monkeypatch.setattr(catalogue, "entries", lambda: known)
    return tmp_path / "cache" / "models" / "tiny-f2"


@pytest.fixture
def hub(checkpoint: Path, cache: Path, tmp_path: Path) -> Path:
    """The file as huggingface_hub's cache holds it; its blob."""
    digest, revision = hashlib.sha256(checkpoint.read_bytes()).hexdigest(), "a" * 40
    repository = tmp_path / "hub" / f"models--{HUB.replace('/', '--')}"
    blob, link = repository / "blobs" / digest, repository / "snapshots" / revision / "vq" / "tiny.pt"
    for path in (blob, link, repository / "refs" / "main"):
        path.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(checkpoint.read_bytes())
    link.symlink_to(Path("../../..") / "blobs" / digest)
    (repository / "refs" / "main").write_text(revision)
    return blob
