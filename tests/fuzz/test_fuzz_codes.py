"""Code caches and ``.tokb`` files: mutated headers, cut or altered shards, files whose checksums are right."""

from __future__ import annotations

import json
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fuzzing import EXAMPLES, Refused, altered, damaged, fuzz, survives
from hypothesis import given, settings
from hypothesis import strategies as st

from tokbench.codes.cache import CodeCache, CodeLoader
from tokbench.codes.header import CodeHeader
from tokbench.codes.writer import CodeWriter
from tokbench.config.generator import ARConfig
from tokbench.config.model import TokenizerConfig
from tokbench.generators import for_tokenizer
from tokbench.generators.compression import Codec
from tokbench.models import Tokenizer

SIZES, SHAPE = (16, 16), (4, 4, 2)


def write_cache(folder: Path) -> None:
    header = CodeHeader(
        tokenizer="mine", tokenizer_sha256="ab" * 32, codebook_sizes=SIZES, shape=SHAPE, image_size=16, source="photos",
        split="train", preprocessing="16x16", fingerprint="f" * 16, classes=("cat", "dog"), latent_channels=3,
    )  # fmt: skip
    random = torch.Generator().manual_seed(0)
    with CodeWriter(folder / "train", header, shard=5) as writer:
        for count in (3, 4, 4):
            codes = torch.randint(0, 16, (count, *SHAPE), generator=random)
            writer.add(codes, torch.randint(0, 2, (count,), generator=random), torch.zeros(count, *SHAPE[:2], 3))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a good cache."""
    folder = tmp_path_factory.mktemp("cache")
    write_cache(folder)
    return {path.name: path.read_bytes() for path in (folder / "train").iterdir()}


def look(folder: Path) -> None:
    """All that is ever read of a cache."""
    opened = CodeCache(folder, "train")
    histogram = opened.histogram
    assert [len(counts) for counts in histogram] == list(opened.header.codebook_sizes)
    for batch in CodeLoader(opened, batch_size=2, seed=0):
        codes = batch["codes"]
        assert codes.shape == (2, *opened.header.shape) and codes.min() >= 0
        assert all(codes[..., d].max() < size for d, size in enumerate(opened.header.codebook_sizes))
        assert batch["label"].min() >= -1
        assert not opened.header.classes or batch["label"].max() < len(opened.header.classes)
    CodeCache(folder, "train", limit=3).read([0, 2])


def lay_out(folder: Path, files: dict[str, bytes]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "train").mkdir(parents=True)
    for name, content in files.items():
        (folder / "train" / name).write_bytes(content)


@given(data=st.data())
@fuzz
def test_a_cache_with_a_damaged_file(space: Path, cache: dict[str, bytes], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(cache)))
    lay_out(space / "cache-files", {**cache, name: data.draw(damaged([cache[name]]))})
    survives(lambda: look(space / "cache-files"), space, "cache-files")


@given(data=st.data())
@fuzz
def test_a_cache_with_another_header(space: Path, cache: dict[str, bytes], data: st.DataObject) -> None:
    header = data.draw(altered([json.loads(cache["header.json"])]))
    lay_out(space / "cache-header", {**cache, "header.json": json.dumps(header).encode()})
    survives(lambda: look(space / "cache-header"), space, "cache-header")


HEADERS = {
    "10^12 images": {"count": 10**12, "shards": [10**12]},
    "10^12 codes an image": {"shape": [10**6, 10**6, 2]},
    "sides below nothing": {"shape": [-4, -4, 2]},
    "shards that do not add up": {"shards": [5, 5]},
    "no depth": {"shape": [4, 4, 0], "codebook_sizes": []},
    "another depth": {"codebook_sizes": [16]},
    "a large vocabulary": {"codebook_sizes": [2**40, 2**40]},
    "10^12 channels": {"latent_channels": 10**12},
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers_that_claim_too_much(space: Path, cache: dict[str, bytes], name: str) -> None:
    header = {**json.loads(cache["header.json"]), **HEADERS[name]}
    lay_out(space / "claims", {**cache, "header.json": json.dumps(header).encode()})
    assert isinstance(survives(lambda: look(space / "claims"), space, "claims"), Refused)


def test_a_header_nested_without_end(space: Path, cache: dict[str, bytes]) -> None:
    lay_out(space / "nested", {**cache, "header.json": b'{"a":' * 100_000})
    assert isinstance(survives(lambda: look(space / "nested"), space, "nested"), Refused)


# .tokb ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def codecs() -> dict[str, Codec]:
    torch.manual_seed(0)
    model = {"architecture": "vit", "patch_size": 4, "width": 8, "depth": 1, "heads": 1, "code_channels": 4}
    quantizer = {"name": "rq", "codebook_size": 16, "depth": 2}
    config = TokenizerConfig.model_validate({"image_size": 16, "model": model, "quantizer": quantizer})
    tokenizer = Tokenizer(config).eval()
    settings = ARConfig(width=8, heads=1, layers=1, depth_layers=1)
    generator = for_tokenizer(settings, tokenizer, source="mine", image_size=16).eval()
    counts = np.random.default_rng(0).integers(0, 50, (2, 16))
    return {"histogram": Codec(tokenizer, histogram=list(counts)), "generator": Codec(tokenizer, generator=generator)}


@pytest.fixture(scope="module")
def tokbs(codecs: dict[str, Codec], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder, made = tmp_path_factory.mktemp("tokb"), {}
    for name, codec in codecs.items():
        codec.write(torch.rand(1, 3, 30, 21) * 2 - 1, folder / name)
        made[name] = (folder / name).read_bytes()
    return made


def with_checksum(content: bytes) -> bytes:
    return content[:-4] + struct.pack("<I", zlib.crc32(content[:-4]))


def opened(codec: Codec, path: Path) -> Any:
    picture = codec.read(path)
    assert picture.shape[:2] == (1, 3) and picture.numel() > 0
    return picture


def tried(codecs: dict[str, Codec], name: str, content: bytes, space: Path) -> Any:
    path = space / "own.tokb"
    path.write_bytes(content)
    return survives(lambda: opened(codecs[name], path), space, "own.tokb")


@given(data=st.data(), mode=st.sampled_from(("histogram", "generator")), sign=st.booleans())
@fuzz
def test_tokb(
    space: Path, codecs: dict[str, Codec], tokbs: dict[str, bytes], data: st.DataObject, mode: str, sign: bool
) -> None:
    content = data.draw(damaged([tokbs[mode]]))
    tried(codecs, mode, with_checksum(content) if sign else content, space)


@given(data=st.data(), mode=st.sampled_from(("histogram", "generator")))
@settings(fuzz, max_examples=max(10, EXAMPLES // 4))
def test_tokb_of_other_sides_and_codes(
    space: Path, codecs: dict[str, Codec], tokbs: dict[str, bytes], data: st.DataObject, mode: str
) -> None:
    """Signed, of the right tokenizer and model: all that a hostile sender can choose."""
    content = bytearray(tokbs[mode])
    sides = st.sampled_from((0, 1, 15, 16, 17, 33, 200, 4096, 65535))
    content[14:18] = struct.pack("<HH", data.draw(sides), data.draw(sides))
    content[18:20] = struct.pack("<h", data.draw(st.sampled_from((-(2**15), -2, -1, 0, 7, 2**15 - 1))))
    words = data.draw(st.lists(st.integers(0, 2**32 - 1), max_size=20))
    content[24:] = struct.pack(f"<{len(words)}I", *words) + b"\0" * 4
    tried(codecs, mode, with_checksum(bytes(content)), space)


@pytest.mark.parametrize("mode", ["histogram", "generator"])
def test_a_small_file_of_a_huge_picture(
    space: Path, codecs: dict[str, Codec], tokbs: dict[str, bytes], mode: str
) -> None:
    content = bytearray(tokbs[mode])
    content[14:18] = struct.pack("<HH", 65535, 65535)
    assert isinstance(tried(codecs, mode, with_checksum(bytes(content)), space), Refused)
    assert not isinstance(tried(codecs, mode, tokbs[mode], space), Refused)
