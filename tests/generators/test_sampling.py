"""Drawing: filters, guidance, and the independence of an image from its batch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from tokbench.errors import TokbenchError
from tokbench.generators import Generator, Sampling, ar_decoding
from tokbench.generators.noise import gumbel, image_keys, place_keys
from tokbench.generators.sampling import draw, filtered, guided

Make = Callable[..., Generator]
EACH = pytest.mark.parametrize("name", ["ar", "mlm", "pixelsnail"])


@EACH
@pytest.mark.parametrize("settings", [{}, {"guidance": 2.5, "guidance_schedule": "cosine", "top_p": 0.9, "top_k": 5}])
def test_an_image_is_the_same_in_any_batch(make_generator: Make, name: str, settings: dict) -> None:
    model = make_generator(name, classes=4)
    labels = [0, 1, 2, 3, 0, 1]
    together = model.generate(6, condition=labels, seed=11, **settings)
    pair = model.generate(2, condition=labels[2:4], seed=11, first=2, **settings)
    alone = model.generate(1, condition=labels[5], seed=11, first=5, **settings)
    assert torch.equal(together[2:4], pair)
    assert torch.equal(together[5:], alone)


@pytest.mark.parametrize(
    "settings", [{}, {"top_p": 0.8, "temperature": 0.7}, {"guidance": 2.0, "top_k": 7}, {"top_k": 3}]
)
def test_noise_made_ahead_changes_no_code(
    make_generator: Make, settings: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of vocabularies that differ, for as many places as there are and for two; a second image has its own."""
    model = make_generator("ar", shape=(2, 3, 2), vocabulary=(7, 4), classes=4)
    drawn = []
    for ahead in (2**16, 2 * 2 * 7, 0):
        monkeypatch.setattr(ar_decoding, "_AHEAD", ahead)
        sample = model.batch_sampler(2, Sampling(**settings))
        labels = torch.tensor([1, 2])
        drawn.append(torch.cat([sample(labels, 3, torch.arange(2) + first) for first in (0, 2)]))
    assert torch.equal(drawn[0], drawn[2]) and torch.equal(drawn[1], drawn[2])
    assert not torch.equal(drawn[0][:2], drawn[0][2:])


@EACH
def test_seeds_and_images_differ_and_repeat(make_generator: Make, name: str) -> None:
    model = make_generator(name)
    one, again, other = (model.generate(4, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert len({tuple(stack.flatten().tolist()) for stack in torch.cat([one, other])}) == 8


@EACH
def test_drawing_leaves_the_global_generator_alone(make_generator: Make, name: str) -> None:
    state = torch.get_rng_state()
    make = make_generator(name)
    torch.set_rng_state(state)
    make.generate(2, seed=5)
    assert torch.equal(torch.get_rng_state(), state)


def test_ar_draws_from_its_own_distribution(make_generator: Make) -> None:
    model = make_generator("ar", shape=(1, 2, 1), vocabulary=(3,))
    codes = model.generate(4000, seed=2)[:, 0, :, 0]
    stacks = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    expected = (-model.nll(stacks.view(-1, 1, 2, 1))).exp()
    found = torch.bincount(codes[:, 0] * 3 + codes[:, 1], minlength=9) / 4000
    assert float((found - expected).abs().max()) < 0.03  # about 4 standard errors


def test_draw_follows_the_probabilities() -> None:
    p = torch.tensor([0.5, 0.3, 0.15, 0.05])
    codes = draw(p.log().expand(50_000, 4), place_keys(image_keys(3, torch.arange(50_000)), 9), Sampling())
    torch.testing.assert_close(torch.bincount(codes) / 50_000, p, atol=0.01, rtol=0)


def test_a_large_draw_in_parts_is_the_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, 7, 50)
    keys = place_keys(image_keys(3, torch.arange(3))[:, None], torch.arange(7))
    whole = draw(logits, keys, Sampling(top_p=0.8))
    for cells in (1, 120, 1049):  # less than a row, some rows, all but one
        monkeypatch.setattr("tokbench.generators.sampling._IN_CACHE", cells)
        assert torch.equal(draw(logits, keys, Sampling(top_p=0.8)), whole)


def test_gumbel_noise_has_its_moments() -> None:
    noise = gumbel(image_keys(0, torch.arange(500)), torch.arange(400))
    assert float(noise.mean()) == pytest.approx(0.5772, abs=0.01)
    assert float(noise.var()) == pytest.approx(1.6449, abs=0.03)
    assert torch.isfinite(noise).all()


@pytest.mark.parametrize("top_p", [0.1, 0.5, 0.75, 0.9, 1.0])
@pytest.mark.parametrize("top_k", [None, 1, 3, 20])
def test_filters_keep_what_their_definition_says(top_k: int | None, top_p: float) -> None:
    torch.manual_seed(0)
    logits = torch.randn(5, 11) * 2
    kept = torch.isfinite(filtered(logits, Sampling(temperature=0.7, top_k=top_k, top_p=top_p)))
    for row, found in zip(logits / 0.7, kept, strict=True):
        order = row.argsort(descending=True).tolist()[: top_k or 11]
        p = torch.softmax(row[order], 0)
        expected, mass = set(), 0.0
        for code, share in zip(order, p.tolist(), strict=True):
            if mass < top_p:
                expected.add(code)
            mass += share
        assert {i for i in range(11) if found[i]} == expected


def test_top_p_of_a_large_vocabulary_is_what_sorting_gives() -> None:
    torch.manual_seed(0)
    for scale in (4.0, 0.1):  # few codes are enough; few codes are not enough
        logits = torch.randn(3, 5000) * scale
        ordered, order = logits.sort(dim=-1, descending=True)
        mass = ordered.double().softmax(-1).cumsum(-1)
        count = (mass < 0.9).sum(-1) + 1
        found = torch.isfinite(filtered(logits, Sampling(top_p=0.9)))
        for row in range(3):
            assert set(found[row].nonzero().flatten().tolist()) == set(order[row, : count[row]].tolist())


def test_top_k_draws_the_same_with_and_without_the_shortcut() -> None:
    torch.manual_seed(0)
    logits, keys = torch.randn(200, 30), image_keys(0, torch.arange(200))
    noise = gumbel(keys, torch.arange(30))
    slow = (filtered(logits, Sampling(top_k=4, top_p=0.8)) + noise).argmax(-1)
    assert torch.equal(draw(logits, keys, Sampling(top_k=4, top_p=0.8)), slow)


def test_guidance_is_u_plus_s_times_the_difference(make_generator: Make) -> None:
    c, u = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 1.0]])
    torch.testing.assert_close(guided(torch.cat([c, u]), 3.0), u + 3.0 * (c - u))
    torch.testing.assert_close(guided(torch.cat([c, u]), 1.0), c)
    model = make_generator("ar", classes=3)
    # Scale 0 is the unconditional model, whatever the class.
    plain = model.generate(3, seed=4)
    assert torch.equal(model.generate(3, condition=2, seed=4, guidance=0.0), plain)
    assert not torch.equal(model.generate(3, condition=2, seed=4), plain)


def test_guidance_schedules_rise_from_none_to_all() -> None:
    for name in ("linear", "cosine"):
        sampling = Sampling(guidance=5.0, guidance_schedule=name)
        assert [sampling.scale(x) for x in (0.0, 0.5, 1.0)] == pytest.approx([1.0, 3.0, 5.0])
    assert Sampling(guidance=5.0).scale(0.0) == 5.0


@EACH
def test_given_codes_stay_and_the_rest_follows_them(make_generator: Make, name: str) -> None:
    model = make_generator(name)
    given = model.generate(1, seed=8)
    mask = torch.zeros(3, 4, dtype=torch.bool)
    mask[0] = True
    mask[1, :2] = True
    made = model.generate(3, seed=1, given=given, mask=mask)
    assert (made[:, mask] == given[:, mask]).all()
    assert len({tuple(stack.flatten().tolist()) for stack in made}) == 3
    assert not torch.equal(made, model.generate(3, seed=1))


def test_temperature_zero_is_greedy_and_top_k_one_too(make_generator: Make) -> None:
    model = make_generator("ar")
    greedy = model.generate(2, seed=0, temperature=0.0)
    assert torch.equal(greedy[0], greedy[1])
    assert torch.equal(greedy, model.generate(2, seed=5, top_k=1))


def test_low_precision_weights_still_draw_whole_codes(make_generator: Make) -> None:
    for name in ("ar", "mlm", "pixelsnail"):
        model = make_generator(name, input="codes", classes=2).cast(torch.bfloat16)
        assert model.embedding.vectors.dtype == torch.float32
        codes = model.generate(2, condition=[0, 1], seed=0, guidance=2.0)
        model.check_codes(codes)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"top_p": 0.0}, "top_p 0.0"),
        ({"top_p": 1.5}, "top_p 1.5"),
        ({"top_k": 0}, "top_k 0"),
        ({"temperature": -1.0}, "temperature -1.0"),
        ({"temperature": float("nan")}, "temperature nan"),
        ({"steps": 0}, "steps 0"),
        ({"guidance_schedule": "cosin"}, "did you mean 'cosine'"),
        ({"topk": 3}, "no setting 'topk'.*'top_k'"),
        ({"guidance": 2.0}, "unconditional"),
        ({"condition": 1}, "unconditional"),
        ({"given": torch.zeros(1, 3, 4, 2, dtype=torch.int64)}, "go together"),
        ({"given": torch.full((1, 3, 4, 2), 7), "mask": torch.ones(3, 4, dtype=torch.bool)}, "code 7"),
        ({"given": torch.zeros(1, 3, 4, 2, dtype=torch.int64), "mask": torch.ones(4, 3, dtype=torch.bool)}, "mask"),
    ],
)
def test_what_cannot_be_drawn_is_one_clear_line(make_generator: Make, settings: dict, said: str) -> None:
    with pytest.raises(TokbenchError, match=said):
        make_generator("ar").generate(2, **settings)


def test_wrong_classes_and_guidance_without_a_null_class(make_generator: Make) -> None:
    model = make_generator("ar", classes=3)
    with pytest.raises(TokbenchError, match="class 3 does not exist: the generator knows 0 to 2"):
        model.generate(2, condition=[0, 3])
    for wrong in ("cat", 1.5, [0.0, 1.0], True, [None, 1], 2**70):
        with pytest.raises(TokbenchError, match="class id"):
            model.generate(2, condition=wrong)
    with pytest.raises(TokbenchError, match="a class for every image"):
        model.generate(2, guidance=2.0)
    with pytest.raises(TokbenchError, match="3 labels for 2 images"):
        model.generate(2, condition=[0, 1, 2])
    strict = make_generator("ar", classes=3, class_dropout=0.0)
    with pytest.raises(TokbenchError, match="class_dropout above 0"):
        strict.generate(1, condition=0, guidance=2.0)
    with pytest.raises(TokbenchError, match="needs a class"):
        strict.generate(1)


def test_ar_refuses_to_complete_what_comes_before(make_generator: Make) -> None:
    model = make_generator("ar")
    mask = torch.zeros(3, 4, dtype=torch.bool)
    mask[2] = True
    with pytest.raises(TokbenchError, match="raster order"):
        model.generate(1, given=torch.zeros(1, 3, 4, 2, dtype=torch.int64), mask=mask)
