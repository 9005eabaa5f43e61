"""Codes through a real range coder and back, at the size that the model says."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_tokenizer import make_tokenizer

from tokbench.config.generator import ARConfig, MLMConfig
from tokbench.errors import TokbenchError
from tokbench.generators import Generator, for_tokenizer
from tokbench.generators.coder import frequencies
from tokbench.generators.compression import Codec
from tokbench.generators.rate import entropy_bits, fixed_bits, model_bits
from tokbench.generators.tokb import Tokb
from tokbench.models import Tokenizer

QUANTIZERS = {
    "vq": {"name": "vq", "codebook_size": 40},
    "rq": {"name": "rq", "codebook_size": 16, "depth": 3},
    "lfq": {"name": "lfq", "codebook_size": 64, "factor_bits": [2, 4]},
}


def generator_of(tokenizer: Tokenizer) -> Generator:
    torch.manual_seed(0)
    settings = ARConfig(width=16, heads=2, layers=1, depth_layers=1)
    made = for_tokenizer(settings, tokenizer, source="here", image_size=16).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.dim() > 1:
                parameter.mul_(6.0)
    return made


def histogram_of(tokenizer: Tokenizer, image: torch.Tensor) -> list[np.ndarray]:
    codes = Codec(tokenizer, histogram=[np.ones(k, np.int64) for k in tokenizer.quantizer.codebook_sizes]).encode(image)
    sizes = tokenizer.quantizer.codebook_sizes
    return [torch.bincount(codes[..., d].flatten(), minlength=k).numpy() for d, k in enumerate(sizes)]


@pytest.mark.parametrize("coded_under", ["generator", "histogram"])
@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_codes_come_back_and_the_file_is_as_large_as_predicted(
    tmp_path: Path, quantizer: str, coded_under: str
) -> None:
    tokenizer = make_tokenizer(QUANTIZERS[quantizer])
    torch.manual_seed(1)
    image = torch.rand(1, 3, 190, 325) * 2 - 1
    if coded_under == "generator":
        codec = Codec(tokenizer, generator=generator_of(tokenizer))
    else:
        codec = Codec(tokenizer, histogram=histogram_of(tokenizer, image))
    path = tmp_path / "x.tokb"
    made = codec.write(image, path)
    codes, size = codec.read_codes(path)
    assert torch.equal(codes, codec.encode(image)) and size == (190, 325)
    assert codec.read(path).shape == image.shape
    assert made.file_bits == 8 * path.stat().st_size
    assert made.payload_bits == pytest.approx(made.predicted_bits, rel=0.005)
    assert made.file_bits == pytest.approx(made.predicted_bits, rel=0.02)


def test_damage_and_the_wrong_models_are_named(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(QUANTIZERS["vq"])
    generator, image = generator_of(tokenizer), torch.rand(1, 3, 20, 30) * 2 - 1
    codec, path = Codec(tokenizer, generator=generator), tmp_path / "x.tokb"
    codec.write(image, path)
    whole = path.read_bytes()
    for position in range(5, len(whole), 3):
        damaged = bytearray(whole)
        damaged[position] ^= 4
        path.write_bytes(damaged)
        with pytest.raises(TokbenchError, match="damaged"):
            codec.read(path)
    for cut in (5, 20, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(TokbenchError, match="damaged or cut short"):
            codec.read(path)
    path.write_bytes(b"\x89PNG" + whole)
    with pytest.raises(TokbenchError, match=r"not a \.tokb file"):
        codec.read(path)
    path.write_bytes(b"TOKB\x09" + whole[5:])
    with pytest.raises(TokbenchError, match="version 9"):
        codec.read(path)
    with pytest.raises(TokbenchError, match="cannot be read"):
        codec.read(tmp_path / "none.tokb")

    path.write_bytes(whole)
    other = make_tokenizer(QUANTIZERS["vq"], seed=5)
    with pytest.raises(TokbenchError, match="another tokenizer"):
        Codec(other, generator=generator).read(path)
    with pytest.raises(TokbenchError, match="coded under a generator"):
        Codec(tokenizer, histogram=histogram_of(tokenizer, image)).read(path)
    with torch.no_grad():
        generator.norm.weight[0] += 1
    with pytest.raises(TokbenchError, match="another generator"):
        Codec(tokenizer, generator=generator).read(path)


def test_classes_that_a_file_or_its_generator_cannot_have_are_one_line(tmp_path: Path) -> None:
    tokenizer, image = make_tokenizer(QUANTIZERS["vq"]), torch.rand(1, 3, 16, 16) * 2 - 1
    with pytest.raises(TokbenchError, match="the generator is unconditional"):
        Codec(tokenizer, generator=generator_of(tokenizer)).write(image, tmp_path / "x.tokb", label=2)
    settings = ARConfig(width=8, heads=1, layers=1, class_conditional=True)
    many = for_tokenizer(settings, tokenizer, source="here", image_size=16, num_classes=40_000).eval()
    with pytest.raises(TokbenchError, match="classes up to 32767, not 35000"):
        Codec(tokenizer, generator=many).write(image, tmp_path / "x.tokb", label=35_000)
    assert not list(tmp_path.iterdir())


def test_a_class_that_an_earlier_revision_wrote_without_effect_is_passed_over(tmp_path: Path) -> None:
    tokenizer, image = make_tokenizer(QUANTIZERS["vq"]), torch.rand(1, 3, 16, 16) * 2 - 1
    codec, path = Codec(tokenizer, generator=generator_of(tokenizer)), tmp_path / "x.tokb"
    codec.write(image, path)
    dataclasses.replace(Tokb.read(path), label=2).write(path)
    assert torch.equal(codec.read_codes(path)[0], codec.encode(image))


def test_only_what_has_a_likelihood_codes(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(QUANTIZERS["vq"])
    mlm = for_tokenizer(MLMConfig(width=16, heads=2, layers=1), tokenizer, source="here", image_size=16)
    with pytest.raises(TokbenchError, match="ar and pixelsnail only"):
        Codec(tokenizer, generator=mlm)
    with pytest.raises(TokbenchError, match="one of the two"):
        Codec(tokenizer)
    with pytest.raises(TokbenchError, match=r"vocabularies \[3\], the tokenizer's are \[40\]"):
        Codec(tokenizer, histogram=[np.ones(3, np.int64)])


def test_frequencies_ignore_rounding_errors_and_follow_the_softmax() -> None:
    torch.manual_seed(0)
    logits = torch.randn(50, 300, dtype=torch.float64) * 4
    weights = frequencies(logits)
    assert np.array_equal(weights, frequencies(logits + 1e-13 * torch.randn(50, 300, dtype=torch.float64)))
    # The coder gives every code at least the smallest probability that it knows, 2^-24.
    p = torch.from_numpy(weights / weights.sum(-1, keepdims=True)).clamp_min(2**-24)
    excess = (logits.softmax(-1) * (logits.log_softmax(-1) - p.log())).sum(-1)
    assert float(excess.max()) < 1e-5  # nats a code


def test_rates_of_known_codes() -> None:
    tokenizer = make_tokenizer(QUANTIZERS["rq"])
    generator = generator_of(tokenizer)
    codes = torch.zeros(4, 4, 4, 3, dtype=torch.int64)
    codes[2:, ..., 0] = 1
    assert entropy_bits(codes) == pytest.approx(16.0)  # one fair bit a position at the first depth, nothing else
    assert fixed_bits((16, 16, 16), 16) == 192
    per_image = model_bits(generator, codes, batch_size=3)
    together = generator.nll(codes) / torch.tensor(2.0).log()
    torch.testing.assert_close(per_image, together.double(), rtol=1e-6, atol=1e-6)
