"""Shared fixtures. One thread a process: the suite runs two processes side by side."""

from __future__ import annotations

import functools
import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

# Before torch is loaded, and for the processes that tests start: threads of theirs would spin against each other. What
# hands the tests out to workers runs none itself, and has no need of torch: two seconds.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest  # noqa: E402

if TYPE_CHECKING:
    from fork_server import ForkServer

    from tokbench.models import Tokenizer

_USERS_CACHE = os.environ.get("TOKBENCH_CACHE")
SHARED = Path(__file__).resolve().parents[1].parent / "shared"


# The tests themselves, and what they import, are objects by the million that live to the end. Nobody has to look for
# garbage among them: not while they are gathered, and not each time that a test leaves some.


def pytest_collection() -> None:
    gc.disable()


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()
    # What is imported later is not frozen: at Python's own thresholds every tenth of the time goes into it.
    gc.set_threshold(20_000, 20, 20)
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def own_caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests and their processes leave the user's cache alone. Where measuring weights are at hand, every run of two
    images would be measured with them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOKBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def one_command_line() -> Iterator[None]:
    """typer makes all commands anew for each one that a test types, which takes longer than most of them do."""
    import typer.testing

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.testing, "_get_command", functools.cache(typer.main.get_command), raising=False)
        yield


@pytest.fixture
def users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache of whoever runs the tests, for tests of the weights that may be in it."""
    if _USERS_CACHE is None:
        monkeypatch.delenv("TOKBENCH_CACHE")
    else:
        monkeypatch.setenv("TOKBENCH_CACHE", _USERS_CACHE)


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    """Where processes of their own start with everything imported."""
    from fork_server import fork_server

    mine = tmp_path_factory.getbasetemp()
    with fork_server(mine.parent if "PYTEST_XDIST_WORKER" in os.environ else mine) as server:
        yield server


@pytest.fixture(scope="session")
def shared() -> Path:
    """Reference material beside the checkout; tests that need it are skipped where it is missing."""
    if not SHARED.is_dir():
        pytest.skip("the folder ../shared (reference data) is not beside this checkout")
    return SHARED


def _beside(shared: Path, name: str) -> Path:
    folder = shared / name
    if not folder.is_dir():
        pytest.skip(f"the folder ../shared/{name} is not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def golden(shared: Path) -> Path:
    """Inputs and outputs of the official implementations."""
    return _beside(shared, "golden")


@pytest.fixture(scope="session")
def golden_video(shared: Path) -> Path:
    """The same, with weights, of tokenizers and metrics of videos."""
    return _beside(shared, "golden-video")


@pytest.fixture(scope="session")
def golden_conditional(shared: Path) -> Path:
    """The same, with weights, of generators given a condition."""
    return _beside(shared, "golden-conditional")


@pytest.fixture(scope="session")
def golden_successors(shared: Path) -> Path:
    """The same, with weights, of what came after VQ-GAN: multi-scale codes, bits, latent queries."""
    return _beside(shared, "golden-successors")


@pytest.fixture(scope="session")
def rq_tokenizer() -> Tokenizer:
    """16x16 images to 4x4 positions of two codes of 16."""
    from tiny_tokenizer import make_tokenizer

    return make_tokenizer({"name": "rq", "codebook_size": 16, "depth": 2})


@pytest.fixture(scope="session")
def rq_folder(rq_tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where it is saved."""
    folder = tmp_path_factory.mktemp("rq") / "tokenizer"
    rq_tokenizer.save_pretrained(folder)
    return folder
