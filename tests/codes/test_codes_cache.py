"""The code cache: what goes in comes out, in any order, and what is not right is refused."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from tiny_tokenizer import make_tokenizer

import quantizers
from tokbench.codes.cache import CodeCache, CodeLoader
from tokbench.codes.encoding import write_codes
from tokbench.codes.flips import FlippedBits
from tokbench.codes.header import CodeHeader
from tokbench.codes.soft import SoftCodes, targets_along
from tokbench.codes.writer import CodeWriter
from tokbench.data import open_images
from tokbench.errors import TokbenchError
from tokbench.generators.embedding import code_vectors
from tokbench.models import Tokenizer

HEADER = CodeHeader(
    tokenizer="made", tokenizer_sha256="ab" * 32, codebook_sizes=(70000, 5), shape=(2, 3, 2), image_size=8,
    source="made", split="train", preprocessing="", fingerprint="",
)  # fmt: skip


def write(folder: Path, n: int = 50, shard: int = 16) -> torch.Tensor:
    torch.manual_seed(0)
    codes = torch.stack([torch.randint(70000, (n, 2, 3)), torch.randint(5, (n, 2, 3))], dim=-1)
    with CodeWriter(folder / "train", HEADER, shard=shard) as writer:
        for start in range(0, n, 7):
            writer.add(codes[start : start + 7], torch.arange(start, min(n, start + 7)))
    return codes


def test_codes_come_back_across_shards_in_any_order(tmp_path: Path) -> None:
    codes = write(tmp_path)
    cache = CodeCache(tmp_path, "train")
    assert cache.header.shards == (16, 16, 16, 2) and len(cache) == 50
    order = np.random.default_rng(0).permutation(50)
    batch = cache.read(order)
    assert torch.equal(batch["codes"], codes[order]) and batch["codes"].dtype == torch.int64
    assert batch["label"].tolist() == order.tolist()
    for depth, counts in enumerate(cache.histogram):
        assert counts.tolist() == torch.bincount(codes[..., depth].flatten(), minlength=len(counts)).tolist()


def test_a_limit_is_spread_evenly(tmp_path: Path) -> None:
    write(tmp_path)
    assert CodeCache(tmp_path, "train", limit=5).read([0, 1, 2, 3, 4])["label"].tolist() == [0, 10, 20, 30, 40]


def test_the_loader_covers_an_epoch_resumes_and_splits_over_ranks(tmp_path: Path) -> None:
    write(tmp_path)
    cache = CodeCache(tmp_path, "train")
    whole = CodeLoader(cache, batch_size=8, seed=3)
    first = [batch["label"].tolist() for batch in whole]
    assert len(first) == 6 and len({x for batch in first for x in batch}) == 48
    whole.set_epoch(1)
    second = [batch["label"].tolist() for batch in whole]
    assert second != first
    later = CodeLoader(cache, batch_size=8, seed=3)
    later.set_epoch(1)
    later.start_batch = 4
    assert [batch["label"].tolist() for batch in later] == second[4:]
    ranks = [
        [b["label"].tolist() for b in CodeLoader(cache, batch_size=4, seed=3, rank=r, world_size=2)] for r in (0, 1)
    ]
    assert [a + b for a, b in zip(*ranks, strict=True)] == first


def test_nothing_is_left_when_writing_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), CodeWriter(tmp_path / "train", HEADER) as writer:
        writer.add(torch.zeros(1, 2, 3, 2, dtype=torch.int64), torch.zeros(1))
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_a_cache_that_is_not_whole_or_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TokbenchError, match="no code cache there"):
        CodeCache(tmp_path, "train")
    write(tmp_path)
    with pytest.raises(TokbenchError, match="exists already"):
        write(tmp_path)
    shard = tmp_path / "train" / "codes-00001.bin"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(TokbenchError, match=r"codes-00001.bin: .* cut short"):
        CodeCache(tmp_path, "train")
    shard.unlink()
    with pytest.raises(TokbenchError, match="missing from the cache"):
        CodeCache(tmp_path, "train")
    header = tmp_path / "train" / "header.json"
    header.write_text(json.dumps({**json.loads(header.read_text()), "format": 99}))
    with pytest.raises(TokbenchError, match=r"header.json: a code cache of format 99; this tokbench reads format 1"):
        CodeCache(tmp_path, "train")


def test_encoding_equals_the_tokenizer_and_another_tokenizer_is_refused(
    tmp_path: Path, rq_tokenizer: Tokenizer
) -> None:
    images = open_images("photos", "eval", image_size=16, limit=10)
    count = write_codes(rq_tokenizer, images, tmp_path / "eval", source="here", batch_size=4, latents=True)
    cache = CodeCache(tmp_path, "eval")
    assert count == len(cache) == 10
    batch = cache.read(list(range(10)))
    from tokbench.data import to_float

    pixels = to_float(torch.stack([images[i]["image"] for i in range(10)]))
    assert torch.equal(batch["codes"], rq_tokenizer.encode(pixels))
    expected = rq_tokenizer.latents(pixels).movedim(1, -1)
    torch.testing.assert_close(batch["latents"].float(), expected, rtol=1e-3, atol=1e-3)
    cache.check_tokenizer(rq_tokenizer.sha256(), "here")
    with pytest.raises(TokbenchError, match="codes of another tokenizer"):
        cache.check_tokenizer("0" * 64, "elsewhere")


def test_flipped_bits_come_from_latents_of_a_grid_of_their_own(tmp_path: Path) -> None:
    """Of a pyramid the cache keeps the map; what is right after the flips is what the quantizer makes of their rest."""
    options = {"name": "ms-rq", "quantizer": "bsq", "bits": 6, "scales": [1, 2, 4], "quant_resi": 0.0}
    tokenizer = make_tokenizer(options)
    images = open_images("photos", "eval", image_size=16, limit=6)
    write_codes(tokenizer, images, tmp_path / "eval", source="here", latents=True)
    batch = CodeCache(tmp_path, "eval").read(list(range(6)))
    latents = batch["latents"].float().movedim(-1, 1)
    assert latents.shape == (6, 6, 4, 4) and batch["codes"].shape == (6, 21, 1)
    known, (right,) = FlippedBits(tokenizer, 0.5, scales=2)(latents, keys=list(range(6)))
    assert not torch.equal(known[:, :5, 0], right[:, :5]) and torch.equal(known[:, 5:, 0], right[:, 5:])
    assert torch.equal(right[:, :1], tokenizer.quantizer.encode(latents)[:, :1, 0])
    rest = latents - tokenizer.quantizer.decode(known[:, :5])
    assert torch.equal(right[:, 5:], tokenizer.quantizer.inner.encode(rest.movedim(1, -1)).flatten(1))
    again, _ = FlippedBits(tokenizer, 0.5, scales=2)(latents[2:4], keys=[2, 3])
    assert torch.equal(again, known[2:4]), "flips are of the image, not of its batch"
    with pytest.raises(TokbenchError, match="the codes of vq are not bits; it is for ms-rq over bsq, lfq or gfq"):
        FlippedBits(make_tokenizer({"name": "ms-rq", "codebook_size": 16}), 0.3)


def test_soft_targets_along_hard_codes_are_the_quantizers(rq_tokenizer: Tokenizer) -> None:
    latents = rq_tokenizer.latents(torch.rand(3, 3, 16, 16) * 2 - 1)
    codes, soft = SoftCodes(rq_tokenizer, 0.5, None)(latents)
    assert soft is not None and torch.equal(codes, rq_tokenizer.quantizer.encode(latents))
    flat = latents.movedim(1, -1).flatten(1, 2)
    along = targets_along(code_vectors(rq_tokenizer.quantizer), flat, codes.flatten(1, 2), 0.5)
    for a, b in zip(soft, along, strict=True):
        torch.testing.assert_close(a, b)
        torch.testing.assert_close(a.sum(-1), torch.ones(3, 16))


def test_stochastic_codes_move_the_targets_with_them(rq_tokenizer: Tokenizer) -> None:
    torch.manual_seed(0)
    latents = rq_tokenizer.latents(torch.rand(3, 3, 16, 16) * 2 - 1)
    hard, _ = SoftCodes(rq_tokenizer, None, None)(latents)
    codes, soft = SoftCodes(rq_tokenizer, 5.0, 5.0)(latents)
    assert soft is not None and not torch.equal(codes, hard)
    tables = code_vectors(rq_tokenizer.quantizer)
    residual = latents.movedim(1, -1).flatten(1, 2) - tables[0][codes.flatten(1, 2)[..., 0]]
    expected = (-torch.cdist(residual, tables[1].expand(3, -1, -1)).square() / 5.0).softmax(-1)
    torch.testing.assert_close(soft[1], expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("shared", [True, False])
def test_codes_in_a_space_of_their_own_have_targets_there(shared: bool) -> None:
    torch.manual_seed(0)
    options = {"codebook_size": 16, "depth": 3, "codebook_dim": 4, "shared_codebook": shared, "channel_first": True}
    q = quantizers.build("rq", dim=6, **options).eval()
    q.load_codebook(torch.randn_like(q.codebook))
    tokenizer: Any = SimpleNamespace(quantizer=q)
    latents = torch.randn(3, 6, 4, 4)
    _, along_hard = SoftCodes(tokenizer, 0.5, None)(latents)
    both = SoftCodes(tokenizer, 0.5, 0.5)
    compared = q.project_in(latents.movedim(1, -1).flatten(1, 2))
    hard = targets_along(both.tables, compared, q.encode(latents).flatten(1, 2), 0.5)
    assert along_hard is not None
    for one, other in zip(along_hard, hard, strict=True):
        torch.testing.assert_close(one, other)
    codes, soft = SoftCodes(tokenizer, 2.0, 2.0)(latents)
    assert soft is not None and not torch.equal(codes, q.encode(latents))
    # The third depth's targets are distances to what the first two drawn codes leave.
    residual = compared - sum(both.tables[d][codes.flatten(1, 2)[..., d]] for d in range(2))
    expected = (-torch.cdist(residual, both.tables[2].expand(3, -1, -1)).square() / 2.0).softmax(-1)
    torch.testing.assert_close(soft[2], expected, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(psutil.Process, "io_counters"), reason="this system does not count reads")
def test_a_cache_of_imagenets_size_is_read_only_where_it_is_asked(tmp_path: Path) -> None:
    """1.28 million images of 256 codes: 0.66 GB on disk, of which opening may read next to nothing."""
    header = HEADER.model_copy(update={"codebook_sizes": (16384,), "shape": (16, 16, 1)})
    rows = torch.randint(16384, (16384, 16, 16, 1))
    with CodeWriter(tmp_path / "train", header) as writer:
        for _ in range(78):
            writer.add(rows, torch.zeros(len(rows), dtype=torch.int64))
    before = psutil.Process().io_counters().read_chars
    cache = CodeCache(tmp_path, "train")
    batch = next(iter(CodeLoader(cache, batch_size=256, seed=0)))
    assert psutil.Process().io_counters().read_chars - before < 2**20
    assert len(cache) == 78 * 16384 and batch["codes"].shape == (256, 16, 16, 1)
    assert torch.equal(cache.read([16384 * 50 + 7])["codes"][0], rows[7])


@pytest.mark.filterwarnings("error:Sparse invariant checks")
def test_codes_of_a_large_vocabulary_are_counted_as_they_occur(tmp_path: Path) -> None:
    codes = torch.tensor([2**31, 5, 5, 2**31 + 1, 5, 0]).reshape(1, 2, 3, 1)
    header = HEADER.model_copy(update={"codebook_sizes": (2**32,), "shape": (2, 3, 1)})
    with CodeWriter(tmp_path / "train", header) as writer:
        writer.add(codes, torch.tensor([0]))
    cache = CodeCache(tmp_path, "train")
    counted = np.fromfile(tmp_path / "train" / "histogram.bin", "<i8").tolist()
    assert counted == [4, 0, 5, 2**31, 2**31 + 1, 1, 3, 1, 1]
    assert torch.equal(cache.read([0])["codes"], codes) and len(cache.histogram_sha256) == 64
    with pytest.raises(TokbenchError, match="too many to code"):
        cache.histogram  # noqa: B018
