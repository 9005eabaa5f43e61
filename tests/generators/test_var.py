"""VAR beside the official transformer; what it draws scale by scale is what it says of the whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_tokenizer import make_tokenizer
from torch import Tensor

from tokbench import pretrained
from tokbench.config.generator import ARConfig, GeneratorRecipe, VARGeneratorConfig
from tokbench.errors import TokbenchError
from tokbench.generators import VAR, Generator, Sampling, check_tokenizer, for_tokenizer
from tokbench.models import Tokenizer


@pytest.fixture(scope="module")
def pyramid() -> Tokenizer:
    """16x16 images to 30 codes of 16 at scales of 1, 2, 3 and 4."""
    return make_tokenizer({"name": "ms-rq", "codebook_size": 16})


def make(tokenizer: Tokenizer, classes: int = 3, seed: int = 0, **settings: Any) -> VAR:
    torch.manual_seed(seed)
    config = VARGeneratorConfig(width=16, heads=2, layers=2, class_conditional=classes > 0, **settings)
    made = for_tokenizer(config, tokenizer, source="pyramid", image_size=16, num_classes=classes)
    assert isinstance(made, VAR)
    for parameter in made.parameters():  # those that start at nothing must count
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.3)
    return made.eval()


@pytest.mark.parametrize("name", ["var_transformer", "var_transformer_saln"])
def test_official_outputs(golden_successors: Path, name: str, tmp_path: Path) -> None:
    folder = golden_successors
    tokenizer = pretrained.load("var", folder / "var_vqvae.pth", folder / "var_vqvae.json")
    got = pretrained.load_generator("var", folder / f"{name}.pth", folder / f"{name}.json", tokenizer=tokenizer)
    data = {k: torch.from_numpy(np.asarray(v)) for k, v in np.load(folder / f"{name}_io.npz").items()}
    codes, labels = data["indices"][..., None], data["labels"]
    with torch.no_grad():
        assert (got.logits(codes, labels)[0] - data["logits"]).abs().max() < 1e-4
        assert (got.logits(codes)[0] - data["logits_null"]).abs().max() < 1e-4
    drawing: dict[str, Any] = {"temperature": 0, "guidance": 1 + float(data["cfg"]), "guidance_schedule": "scales"}
    assert torch.equal(got.generate(2, condition=labels, **drawing)[..., 0], data["argmax.indices"])
    got.save_pretrained(tmp_path)
    again = Generator.from_pretrained(tmp_path)
    assert torch.equal(again.generate(2, condition=labels, seed=3), got.generate(2, condition=labels, seed=3))
    check_tokenizer(again, tokenizer)


@pytest.mark.parametrize("condition_by", ["adaln", "shared-adaln", "prefix"])
@pytest.mark.parametrize("qk_norm", [True, False])
def test_drawn_codes_have_the_likelihood_of_the_whole(pyramid: Tokenizer, condition_by: str, qk_norm: bool) -> None:
    """The likeliest codes, drawn scale by scale with caches, are the likeliest of the one pass over all of them."""
    model = make(pyramid, condition_by=condition_by, qk_norm=qk_norm)
    labels = torch.tensor([0, 2])
    codes = model.generate(2, condition=labels, temperature=0)
    with torch.no_grad():
        logits = model.logits(codes, labels)[0]
    assert codes.shape == (2, 30, 1) and torch.equal(logits.argmax(-1), codes[..., 0])
    expected = -logits.log_softmax(-1).gather(-1, codes).double().sum((1, 2))
    torch.testing.assert_close(model.nll(codes, labels), expected)
    with torch.no_grad():
        assert not torch.allclose(model.logits(codes, 1)[0], logits)


def test_a_scale_depends_on_coarser_ones_alone(pyramid: Tokenizer) -> None:
    model = make(pyramid, classes=0)
    codes = torch.randint(16, (1, 30, 1), generator=torch.Generator().manual_seed(0))
    changed = codes.clone()
    changed[:, 5:14] = (changed[:, 5:14] + 1) % 16  # the 3x3 scale
    with torch.no_grad():
        a, b = model.logits(codes)[0], model.logits(changed)[0]
    assert torch.equal(a[:, :14], b[:, :14]) and not torch.equal(a[:, 14:], b[:, 14:])


def test_an_image_does_not_depend_on_its_batch_and_given_codes_stay(pyramid: Tokenizer) -> None:
    model = make(pyramid)
    four = model.generate(4, condition=[0, 1, 2, 0], seed=5, top_k=8, top_p=0.9)
    assert torch.equal(model.generate(2, condition=[2, 0], seed=5, first=2, top_k=8, top_p=0.9), four[2:])
    mask = torch.zeros(30, dtype=torch.bool)
    mask[:14] = True
    kept = model.generate(1, condition=0, seed=6, given=four[:1], mask=mask)
    assert torch.equal(kept[:, :14], four[:1, :14])


def test_it_learns_and_its_quantizer_does_not(pyramid: Tokenizer) -> None:
    torch.manual_seed(0)
    config = VARGeneratorConfig(width=32, heads=2, layers=2, drop_path=0.1, dropout=0.1)
    model = for_tokenizer(config, pyramid, source="pyramid", image_size=16).train()
    before = {name: tensor.clone() for name, tensor in model.quantizer.state_dict().items()}  # type: ignore[union-attr]
    images = torch.nn.functional.interpolate(torch.rand(8, 3, 2, 2), 16) * 2 - 1
    codes = pyramid.encode(images)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(30):
        loss = model.loss(codes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < 0.6 * losses[0]
    assert all(torch.equal(before[name], tensor) for name, tensor in pyramid.quantizer.state_dict().items())
    assert not model.quantizer.training  # type: ignore[union-attr]


def test_recomputed_activations_give_the_same_gradients(pyramid: Tokenizer) -> None:
    model, codes = make(pyramid, classes=0), torch.zeros(2, 30, 1, dtype=torch.int64)
    found: list[list[Tensor]] = []
    for on in (False, True):
        model.checkpoint_activations(on)
        model.zero_grad()
        model.loss(codes).backward()
        found.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_codes_of_bits_are_modelled_as_their_parts() -> None:
    tokenizer = make_tokenizer(
        {"name": "ms-rq", "quantizer": "bsq", "bits": 16, "quant_resi": 0.0}, {"code_channels": 16}
    )
    model = make(tokenizer, classes=0)
    assert model.vocabulary == (256, 256)
    codes = model.generate(1, seed=1)
    with torch.no_grad():
        images = tokenizer.decode(tokenizer.quantizer.join(codes))
    assert images.shape == (1, 3, 16, 16) and model.nll(codes).isfinite().all()


def test_both_are_timed_on_the_same_codes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tokbench.bench import next_scale
    from tokbench.bench.sampling_record import timing_records

    monkeypatch.setattr(next_scale, "VAR_SCALES", (1, 2, 3))
    sizes: dict[str, Any] = {"width": 16, "heads": 2, "layers": 2, "vocabulary": 8}
    by_var, by_ar = next_scale.compare_next_scale([2], **sizes, device="cpu", dtype=torch.float32, turns=1)
    assert (by_var.name, by_ar.name) == ("MS-RQ 14x1 by var", "MS-RQ 14x1 by ar") and by_var.seconds > 0
    assert by_var.parameters == pytest.approx(by_ar.parameters, rel=0.35)  # so narrow: equal at any usual width
    said = {**sizes, "device": "cpu", "precision": "float32"}
    records = timing_records([by_var, by_ar], settings=said, turns=1, seed=0)
    assert [record.model["generator"] for record in records] == ["var", "ar"]
    assert len({record.cell for record in records}) == len({record.experiment for record in records}) == 2


def test_what_cannot_be_is_one_line(pyramid: Tokenizer, rq_tokenizer: Tokenizer) -> None:
    with pytest.raises(
        TokbenchError, match=r"generator var goes by the scales of ms-rq, and its codes are rq's; use ar"
    ):
        make(rq_tokenizer, classes=0)
    other = make_tokenizer({"name": "ms-rq", "codebook_size": 16, "scales": [1, 4]})
    with pytest.raises(TokbenchError, match="images of 16x16 are 17 codes, the generator's are 30"):
        check_tokenizer(make(pyramid), other)
    with pytest.raises(TokbenchError, match=r"codes must be int64 \(B, 30, 1\)"):
        make(pyramid).logits(torch.zeros(1, 17, 1, dtype=torch.int64), 0)
    ar = for_tokenizer(
        ARConfig(width=16, heads=2, layers=1, input="learned", class_conditional=True),
        pyramid, source="pyramid", image_size=16, num_classes=2,
    ).eval()  # fmt: skip
    with pytest.raises(TokbenchError, match="guidance_schedule scales is for var"):
        ar.generate(1, condition=0, guidance=2, guidance_schedule="scales")
    with pytest.raises(TokbenchError, match="guidance_schedule scales is for var"):
        ar.batch_sampler(1, Sampling(guidance=2, guidance_schedule="scales"))
    recipe = {"name": "x", "tokenizer": "t", "evaluation": {"guidance": 2, "guidance_schedule": "scales"}}
    with pytest.raises(ValueError, match="evaluation.guidance_schedule scales is for var"):
        GeneratorRecipe.model_validate({**recipe, "generator": {"name": "mlm"}})
