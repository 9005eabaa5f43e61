"""What was written before grids and conditions (revision fa09436) is still read, and means the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tokbench.config.generator import GeneratorConfig
from tokbench.data.codes import CodeCache
from tokbench.generators import Generator
from tokbench.generators.compression import Codec
from tokbench.models import Tokenizer

OLD = Path(__file__).parent / "old_files"
EXPECTED = json.loads((OLD / "expected.json").read_text())


@pytest.mark.parametrize("name", ["ar", "mlm"])
def test_a_generator_draws_and_measures_what_it_did(name: str, tmp_path: Path) -> None:
    generator = Generator.from_pretrained(OLD / name)
    codes = generator.generate(2, condition=[0, 2], seed=3, guidance=1.5)
    assert codes.flatten().tolist() == EXPECTED[name]["codes"]
    found = generator.nll(codes, torch.tensor([0, 2]))
    assert found.tolist() == pytest.approx(EXPECTED[name]["nll"], rel=1e-4)
    generator.save_pretrained(tmp_path)
    assert (tmp_path / "config.json").read_text() == (OLD / name / "config.json").read_text()
    assert GeneratorConfig.model_validate_json((OLD / name / "config.json").read_text()).grid == (4, 4)


def test_a_code_cache_holds_the_codes_of_its_tokenizer() -> None:
    cache, tokenizer = CodeCache(OLD / "cache", "eval"), Tokenizer.from_pretrained(OLD / "tokenizer")
    cache.check_tokenizer(tokenizer.sha256(), "old_files/tokenizer")
    batch = cache.read([5, 0])
    assert torch.equal(tokenizer.quantizer.encode(batch["latents"].float().movedim(-1, 1))[1], batch["codes"][1])
    assert cache.header.shape == (4, 4, 2) and len(cache) == 6


def test_a_compressed_image_is_decoded() -> None:
    codec = Codec(Tokenizer.from_pretrained(OLD / "tokenizer"), generator=Generator.from_pretrained(OLD / "ar"))
    codes, size = codec.read_codes(OLD / "image.tokb")
    assert codes.flatten().tolist() == EXPECTED["tokb"] and size == (11, 9)
