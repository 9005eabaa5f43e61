"""What ``tokbench bench gpu`` needs where there is no network: wheels, measuring weights, images, in parts that weigh
no more than may be brought along at a time.

    python -m tokbench.bench.gpu.bundle --have PACKAGES --data SPEC --out gpu-bundle

Parts are folders, the most needed things in the first. A file that is larger than a part is cut into pieces, which
``--bundle`` puts together again; a wheel is never cut, since it is needed before tokbench can run.
"""

from __future__ import annotations

import argparse
import io
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from tokbench import weights
from tokbench.bench.gpu.unpacking import IMAGES, MANIFEST, ROOT, Manifest, Piece, code_hash, revision_here
from tokbench.errors import TokbenchError
from tokbench.printing import say
from tokbench.reading import sha256_of
from tokbench.results.files import written

PYTHON, TORCH = "3.12", "2.11"  # of the machine with the GPU
PLATFORMS = ["manylinux_2_28", "manylinux_2_27", "manylinux_2_24", "manylinux_2_17", "manylinux2014", "manylinux1"]
# What a machine that runs torch on a GPU has; --have says it exactly.
USUAL = ["torch", "torchvision", "triton", "numpy", "pillow", "filelock", "fsspec", "jinja2", "markupsafe", "mpmath"]
USUAL += ["networkx", "sympy", "typing-extensions", "setuptools", "pip"]
WEIGHTS = ["lpips-vgg", "lpips-alex", "inception-fid"]
LIMIT = 64  # MiB that may be brought along at a time, the checkout included


def missing(have: Iterable[str]) -> list[str]:
    """``NAME==VERSION`` of all that tokbench needs there, the GPU tests and taming's module included, but is not there.

    Raises TokbenchError where the requirements cannot be met.
    """
    options = ["--extra", "peers", "--python-version", PYTHON, "--python-platform", "x86_64-manylinux_2_28"]
    with tempfile.TemporaryDirectory() as folder:
        tests, bound = Path(folder) / "tests.in", Path(folder) / "bound.txt"
        tests.write_text("pytest>=8\nhypothesis>=6.100\n")
        bound.write_text(f"torch=={TORCH}.*\n")
        files = [str(ROOT / "pyproject.toml"), str(tests), "--constraint", str(bound)]
        command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate"]
        done = subprocess.run([*command, *files, *options], capture_output=True, text=True)
    if done.returncode:
        raise TokbenchError(f"requirements for Python {PYTHON} and torch {TORCH}: {done.stderr.strip()[-400:]}")
    there = {_normal(name) for name in [*have, *USUAL]}
    lines = [line.split(";")[0].strip() for line in done.stdout.splitlines() if "==" in line]
    return [line for line in lines if (name := _normal(line.split("==")[0])) not in there and not _driver(name)]


def _driver(name: str) -> bool:
    """Parts of CUDA, which come with torch."""
    return name.startswith(("nvidia-", "cuda-"))


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[\s=<>!~\[;@]", name.strip())[0]).lower()


def fetch_wheels(needed: Sequence[str], folder: Path) -> list[str]:
    """Wheels for the machine with the GPU into ``folder``; those that there are none of, by name."""
    options = ["--no-deps", "--only-binary=:all:", "--python-version", PYTHON, "--implementation", "cp"]
    for name in PLATFORMS:
        options += ["--platform", f"{name}_x86_64"]

    def fetched(wanted: Sequence[str]) -> bool:
        command = [sys.executable, "-m", "pip", "download", "--quiet", *options, "-d", str(folder), *wanted]
        return not subprocess.run(command, capture_output=True).returncode

    # All at once, or none comes where there is none of one.
    return [] if not needed or fetched(needed) else [wanted for wanted in needed if not fetched([wanted])]


def sample(spec: str, target: Path, counts: dict[str, int], size: int = 64) -> None:
    """Images of a source as a zip that ``zip:`` reads: PNGs of ``size`` pixels a side, so many of each split."""
    from tokbench.data import open_images
    from tokbench.pictures import to_pil

    with written(target) as draft, zipfile.ZipFile(draft, "w", zipfile.ZIP_STORED) as archive:
        for split, folder in (("train", "train"), ("eval", "val")):
            images = open_images(spec, split, image_size=size, limit=counts[split])  # type: ignore[arg-type]
            for index in range(len(images)):
                file = io.BytesIO()
                to_pil(images[index]["image"]).save(file, "PNG", optimize=True)
                archive.writestr(f"{folder}/{index:06}.png", file.getvalue())


def pack(files: Sequence[Path], out: Path, limit: int) -> list[str]:
    """Lay files, the most needed first, into ``part-1``, ``part-2`` ... of at most ``limit`` bytes each.

    A part takes what still fits; what is larger than a part is cut. What there is to say of it, a line each.
    """
    if limit < 2**20:
        raise TokbenchError("--limit: a part is 1 MiB at least")
    room = limit - 2**16  # for the manifest
    weights: list[int] = []
    parts: list[list[Piece]] = []
    for file in files:
        size = file.stat().st_size
        if size > room and file.suffix == ".whl":
            raise TokbenchError(f"{file.name}: {size / 2**20:.0f} MiB, more than a part; a wheel cannot be cut")
        digest = sha256_of(file)
        for number, start in enumerate(range(0, max(size, 1), room)):
            length = min(room, size - start)
            chosen = next((n for n, weight in enumerate(weights) if weight + length <= room), len(parts))
            if chosen == len(parts):
                parts.append([])
                weights.append(0)
            name = file.name if size <= room else f"{file.name}.{number:03}"
            parts[chosen].append(Piece(name, file.name, start, size, digest))
            weights[chosen] += length
            folder = out / f"part-{chosen + 1}"
            folder.mkdir(parents=True, exist_ok=True)
            with file.open("rb") as whole:
                whole.seek(start)
                (folder / name).write_bytes(whole.read(length))
    revision, code = revision_here(), code_hash()
    for number, pieces in enumerate(parts, 1):
        content = msgspec.json.format(msgspec.json.encode(Manifest(pieces, revision, code)), indent=1)
        (out / f"part-{number}" / MANIFEST).write_bytes(content + b"\n")
    said = ", ".join(f"part-{n} {weight / 2**20:.1f} MiB" for n, weight in enumerate(weights, 1))
    return [f"{said}, at most {limit / 2**20:.1f} MiB each"]


def _listed(file: Path) -> list[str]:
    """Names of packages, with versions or without, between commas or a line each."""
    lines = [line.partition("#")[0] for line in file.read_text().split("\n")]
    return [name for line in lines for name in line.split(",") if name.strip()]


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line of ``make gpu-bundle``."""
    parser = argparse.ArgumentParser(prog="python -m tokbench.bench.gpu.bundle", description=__doc__.split("\n")[0])
    parser.add_argument("--have", type=Path, help="a file with the packages of the machine with the GPU, one a line")
    parser.add_argument("--data", help="images to bring along: a source, as --data takes it elsewhere")
    parser.add_argument("--images", default="2000,1000", help="how many to train on, how many to measure on")
    parser.add_argument("--limit", type=int, default=LIMIT, help="MiB that may be brought along, checkout included")
    parser.add_argument("--out", type=Path, default=Path("gpu-bundle"))
    asked = parser.parse_args(arguments)
    try:
        room = asked.limit * 2**20 - checkout()
        for line in make(asked.out, asked.have, asked.data, asked.images, room):
            say(line)
    except TokbenchError as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"{error.filename}: {error.strerror}")


def checkout() -> int:
    """Bytes of the files that git keeps here, which travel with every part."""
    done = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True)
    return sum((ROOT / name).stat().st_size for name in done.stdout.split("\0") if name and (ROOT / name).is_file())


def make(out: Path, have: Path | None, data: str | None, images: str, limit: int) -> list[str]:
    """The bundle in ``out``, which is made anew; what to say of it."""
    if out.exists() and any(out.iterdir()) and not any(out.glob(f"*/{MANIFEST}")):
        raise TokbenchError(f"--out {out}: holds something else; give another folder")
    if not (counts := re.fullmatch(r"([1-9]\d*),([1-9]\d*)", images)):
        raise TokbenchError(f"--images {images}: two numbers, such as 2000,1000")
    needed = missing(_listed(have) if have is not None else [])
    with tempfile.TemporaryDirectory() as scratch:
        folder, files, lines = Path(scratch), [], []
        lost = fetch_wheels(needed, folder)
        files += sorted(folder.glob("*.whl"), key=lambda path: path.stat().st_size)
        lines += [f"{name}: no wheel for Python {PYTHON}; left out" for name in lost]
        kept = {name: weights.find(name) for name in WEIGHTS}
        lines += [
            f"{name}: not in the cache, `tokbench weights get {name}`; left out" for name, f in kept.items() if not f
        ]
        if data is not None:
            sample(data, folder / IMAGES.name, {"train": int(counts[1]), "eval": int(counts[2])})
            files.append(folder / IMAGES.name)
        files += [path for path in kept.values() if path is not None]
        if out.exists():
            shutil.rmtree(out)
        lines += pack(files, out, limit)
    lines.append(f"{len(needed) - len(lost)} wheels; there, with {out} in the checkout: make gpu MINUTES=9")
    return lines


if __name__ == "__main__":
    main()
