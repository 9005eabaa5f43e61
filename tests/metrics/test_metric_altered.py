"""pFID and iFID: distances of what the decoder makes of codes that are not the images' own."""

from __future__ import annotations

import pytest
import torch
from metric_fakes import FakeSpace, GreyTokenizer, Pictures
from tiny_tokenizer import make_tokenizer

from tokbench.data.pixels import to_float
from tokbench.errors import TokbenchError
from tokbench.metrics import evaluate_tokenizer, get
from tokbench.metrics.ifid import nearest
from tokbench.metrics.pfid import Perturbation
from tokbench.models import Tokenizer

VQ = {"name": "vq", "codebook_size": 32}


@pytest.fixture(scope="module")
def model() -> Tokenizer:
    return make_tokenizer({"name": "rq", "codebook_size": 32, "depth": 2})


def values(model: Tokenizer, pictures: Pictures, *metrics: str, batch_size: int = 4) -> dict[str, float | None]:
    found = evaluate_tokenizer(model, pictures, metrics=metrics, batch_size=batch_size, by_depth=False).metrics
    return {name: value.value for name, value in found.items()}


def test_nothing_altered_is_rfid_and_more_altered_is_further(space: FakeSpace, model: Tokenizer) -> None:
    images = Pictures(60)
    found = values(model, images, "rfid", "pfid:alpha=0", "ifid:weight=0")
    assert found["rfid"] == found["pfid"] == found["ifid"] == values(model, images, "pfid:beta=0")["pfid"]
    weak, strong = values(model, images, "pfid:alpha=0.1"), values(model, images, "pfid:alpha=1", "ifid")
    assert found["rfid"] < weak["pfid"] < strong["pfid"] and found["rfid"] < strong["ifid"]  # type: ignore[operator]


def test_values_depend_on_neither_batches_nor_company(space: FakeSpace, model: Tokenizer) -> None:
    images = Pictures(30, broken=(4,))
    together = values(model, images, "pfid", "ifid", "rfid", "psnr", batch_size=30)
    for name in ("pfid", "ifid"):
        # A batch of another size may go by another kernel, and one value of thousands round to the next of 256.
        assert values(model, images, name, batch_size=7)[name] == pytest.approx(together[name], rel=5e-4)
    assert together["psnr"] == values(model, images, "psnr")["psnr"]


def test_a_share_of_images_and_codes_becomes_one_of_the_nearest() -> None:
    q = make_tokenizer(VQ).quantizer
    codes, places = torch.randint(32, (400, 4, 4, 1)), torch.arange(400)
    made = Perturbation(alpha=0.25, beta=0.5, delta=4).perturbed(q, codes, places)
    changed = (made != codes).flatten(1)
    assert float(changed.any(1).float().mean()) == pytest.approx(0.5, abs=0.08)
    assert float(changed.float().mean()) == pytest.approx(
        0.25 * 0.5 * 3 / 4, abs=0.02
    )  # one of four is the code itself
    near = q.neighbours(codes, 4)
    assert bool((near == made[..., None]).any(-1).all())
    some = Perturbation(alpha=0.25, beta=0.5, delta=4).perturbed(q, codes[7:9], places[7:9])
    assert torch.equal(some, made[7:9])


def test_the_neighbour_is_the_nearest_of_the_others() -> None:
    kept, places = torch.randn(9, 6), torch.arange(9) * 2
    distances = torch.cdist(kept, kept).fill_diagonal_(torch.inf)
    assert torch.equal(nearest(kept, kept, places, places), distances.argmin(1))
    outside = torch.tensor([1, 3])  # images that are not among those kept
    assert torch.equal(nearest(kept[:2], kept, outside, places), torch.tensor([0, 1]))


def test_halfway_is_before_the_quantizer(space: FakeSpace) -> None:
    model, images = make_tokenizer(VQ), Pictures(20)
    seen: list[torch.Tensor] = []
    decode = model.decode

    def spy(codes: torch.Tensor) -> torch.Tensor:
        seen.append(codes)
        return decode(codes)

    model.decode = spy  # type: ignore[method-assign]
    passes: list[int] = []
    model.encoder.register_forward_hook(lambda *_: passes.append(1))
    evaluate_tokenizer(model, images, metrics=["ifid"], batch_size=20)
    assert len(passes) == 2  # to look for neighbours in, and to measure
    z = model.latents(to_float(images.batch()))
    other = torch.cdist(z.flatten(1), z.flatten(1)).fill_diagonal_(torch.inf).argmin(1)
    assert torch.equal(seen[-1], model.quantizer.encode((z + z[other]) / 2))


def test_settings_are_part_of_the_version_and_of_nothing_else(space: FakeSpace, model: Tokenizer) -> None:
    found = evaluate_tokenizer(model, Pictures(20), metrics=["pfid:alpha=0.25:delta=16", "ifid"], by_depth=False)
    assert list(found.metrics) == ["pfid", "ifid"]
    assert found.metrics["pfid"].version == "none/pfid-1-alpha0.25-beta1-delta16"
    assert found.metrics["ifid"].version == "none/ifid-1-weight0.5"
    assert found.metrics["pfid"].label == "pFID" and get("pfid_192").label == "pFD-Inception192"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("pfid:alpa=1", r"pfid has no setting 'alpa' \(did you mean 'alpha'\?\)"),
        ("pfid:alpha", "'alpha' is not KEY=NUMBER"),
        ("pfid:alpha=2", "pfid: alpha is 2; it is a share, 0 to 1"),
        ("pfid:alpha=nan", "pfid: alpha is nan"),
        ("pfid:delta=inf", "pfid: delta is inf"),
        ("pfid:delta=2.5", "delta is 2.5; it is how many codes are near: a whole number from 2 on"),
        ("pfid:alpha=1:alpha=0.5", "alpha is given twice"),
        ("ifid:weight=-1", "ifid: weight is -1"),
        ("psnr:alpha=1", "psnr has no settings: leave out alpha"),
        ("pfdi:alpha=1", "unknown metric 'pfdi'"),
    ],
)
def test_a_wrong_setting_is_one_line(asked: str, said: str) -> None:
    with pytest.raises(TokbenchError, match=said):
        get(asked)


def test_two_settings_of_one_metric_are_one_too_many(pictures: Pictures, model: Tokenizer) -> None:
    with pytest.raises(TokbenchError, match="pfid is asked for with two settings"):
        evaluate_tokenizer(model, pictures, metrics=["pfid", "pfid:alpha=0.1"])
    assert list(evaluate_tokenizer(model, pictures, metrics=["psnr", "psnr"]).metrics) == ["psnr"]


def test_what_has_no_such_codes_says_so_and_the_rest_is_measured(space: FakeSpace, pictures: Pictures) -> None:
    few = evaluate_tokenizer(
        make_tokenizer({"name": "vq", "codebook_size": 4}), pictures, metrics=["psnr", "rfid", "pfid", "ifid"]
    ).metrics
    assert few["pfid"].value is None and few["pfid"].note == "VQ has no 8 codes near each other: a codebook has 4"
    assert all(few[name].value is not None for name in ("psnr", "rfid", "ifid"))
    many = evaluate_tokenizer(make_tokenizer({"name": "fsq", "levels": [8] * 7}), pictures, metrics=["pfid"]).metrics[
        "pfid"
    ]
    assert many.value is None and "nearest of 2,097,152 codes are not looked for" in str(many.note)
    other = evaluate_tokenizer(GreyTokenizer(), pictures, metrics=["psnr", "pfid", "ifid"]).metrics
    assert other["psnr"].value is not None and "no vectors" in str(other["pfid"].note)
    assert "no latents" in str(other["ifid"].note)
    alone = evaluate_tokenizer(make_tokenizer(VQ), Pictures(1), metrics=["ifid"]).metrics["ifid"]
    assert alone.value is None and alone.note


@pytest.mark.parametrize(
    "quantizer",
    [{"name": "ms-rq", "codebook_size": 16, "scales": [1, 2, 4]}, {"name": "gfq", "codebook_size": 16, "groups": 2}],
    ids=lambda q: str(q["name"]),
)  # fmt: skip
def test_codes_of_every_form_are_altered(space: FakeSpace, quantizer: dict[str, object]) -> None:
    found = values(make_tokenizer(quantizer), Pictures(20), "rfid", "pfid", "ifid")
    assert all(value is not None for value in found.values()) and found["pfid"] != found["rfid"]
