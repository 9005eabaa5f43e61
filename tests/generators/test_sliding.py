"""Maps larger than the trained grid: the official codes, exact caches, every condition, and what cannot slide."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tiny_tokenizer import make_tokenizer
from torch import Tensor

from tokbench import pretrained
from tokbench.config.condition import CodesConfig
from tokbench.config.generator import ARConfig, GeneratorConfig, PixelSNAILConfig
from tokbench.errors import TokbenchError
from tokbench.generators import Generator, Sampling, ar_decoding, build
from tokbench.generators.coordinates import coordinate_codes, coordinate_map
from tokbench.generators.noise import image_keys, place_keys
from tokbench.generators.sampling import draw
from tokbench.generators.window import slide_of, windows


@pytest.fixture(scope="module")
def official(golden_conditional: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Generator, dict[str, Tensor]]:
    """The GPT of the official loop, and what came out of it."""
    given = np.load(golden_conditional / "sliding_window.npz")
    data = {key: torch.from_numpy(given[key]) for key in given.files}
    coordinates, factor = "taming.modules.misc.coord.CoordStage", 4
    gpt = {"n_head": int(data["n_head"]), "vocab_size": 20, "block_size": 512, "n_layer": 1, "n_embd": 16}
    params = {
        "transformer_config": {"params": gpt},
        "cond_stage_config": {"target": coordinates, "params": {"n_embed": 20, "down_factor": factor}},
    }
    config = tmp_path_factory.mktemp("gpt") / "c.yaml"
    config.write_text(yaml.safe_dump({"model": {"params": params}}))
    tokenizer = make_tokenizer({"name": "vq", "codebook_size": 20}, image_size=16 * factor)
    return pretrained.load_generator(
        "taming-gpt", golden_conditional / "sliding_window_gpt.pt", config, tokenizer
    ), data


@pytest.mark.parametrize("size", [(16, 16), (18, 21)])
def test_likeliest_codes_are_the_official_ones(
    official: tuple[Generator, dict[str, Tensor]], size: tuple[int, int]
) -> None:
    model, data = official
    name = "{}x{}".format(*size)
    found = model.generate(2, condition=data[f"{name}_condition"].long()[..., None], size=size, temperature=0)
    assert torch.equal(found[..., 0], data[f"{name}_argmax"].long())


def test_drawn_codes_are_the_official_ones(
    official: tuple[Generator, dict[str, Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, data = official
    uniforms = iter(data["18x21_uniforms"].flatten(1).unbind(1))

    def by_uniform(logits: Tensor, keys: Tensor, sampling: Sampling, noise: Tensor | None) -> Tensor:
        """The official code's draw: how many entries of the cumulative distribution are not above u."""
        edge = logits.topk(7).values[:, -1:]
        share = (logits / 1.3).masked_fill(logits < edge, -torch.inf).softmax(-1).double().cumsum(-1)
        return (share <= next(uniforms)[:, None] * share[:, -1:]).sum(-1)

    monkeypatch.setattr(ar_decoding, "draw", by_uniform)
    found = model.generate(2, condition=data["18x21_condition"].long()[..., None], size=(18, 21))
    assert torch.equal(found[..., 0], data["18x21_drawn_t1.3_k7"].long())


def test_the_lower_half_is_completed_as_officially(official: tuple[Generator, dict[str, Tensor]]) -> None:
    model, data = official
    mask = torch.zeros(18, 17, dtype=torch.bool)
    mask[:9] = True
    given, condition = (data[f"half_{name}"].long()[..., None] for name in ("given", "condition"))
    found = model.generate(1, condition=condition, size=(18, 17), given=given, mask=mask, temperature=0)
    assert torch.equal(found[..., 0], data["half_argmax"].long())


def test_coordinates_are_those_of_the_window(official: tuple[Generator, dict[str, Tensor]]) -> None:
    model, data = official
    codes = data["coord_codes"].long()[..., None]
    assert torch.equal(model.generate(1, condition=codes, size=(17, 18), temperature=0)[..., 0], data["coord_argmax"])


def conditioned(name: str, shape: tuple[int, ...], read: str = "causal", side: int = 1, **more: Any) -> Generator:
    """Given codes of coordinates, ``side`` of them along each of the grid's."""
    torch.manual_seed(0)
    height, width, _ = shape
    before = CodesConfig.model_validate(
        {"shape": (height * side, width * side, 1), "vocabulary": (9,), "downsampling": 2, "dropout": 0.2, "read": read}
    )
    kind, values = (ARConfig, {"layers": 2}) if name == "ar" else (PixelSNAILConfig, {"blocks": 1, "layers": 1})
    values |= {"width": 24, "heads": 2, "input": "learned", **more}
    settings = kind.model_validate(values)
    model = build(GeneratorConfig(generator=settings, shape=shape, vocabulary=(7,) * shape[-1], conditioned_on=before))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8.0)
    return model.eval()


Case = tuple[Generator, Tensor | None, dict[str, Any]]


@pytest.fixture(params=["unconditional", "classes", "rotary", "codes", "read both", "finer codes", "pixelsnail"])
def case(request: pytest.FixtureRequest, make_generator: Callable[..., Generator]) -> Case:
    """A generator of 3x4 positions, the condition of two maps of 5x7, and how they are drawn."""
    kind, shape = request.param, (3, 4, 2)
    codes = torch.randint(9, (2, 5, 7, 1), generator=torch.Generator().manual_seed(1))
    if kind == "codes":
        return conditioned("ar", shape), codes, {"guidance": 1.5, "guidance_schedule": "linear"}
    if kind == "read both":
        return conditioned("ar", shape, read="both"), codes, {}
    if kind == "finer codes":
        return conditioned("ar", shape, side=2), codes.repeat_interleave(2, 1).repeat_interleave(2, 2), {}
    if kind == "pixelsnail":
        more = {"hidden": 8, "kernel": 3, "condition_layers": 1, "condition_hidden": 8}
        return conditioned("pixelsnail", shape, **more), codes, {"top_k": 3}
    if kind == "classes":
        return make_generator("ar", shape, classes=3), torch.tensor([2, 0]), {"guidance": 2.0, "top_p": 0.9}
    return make_generator("ar", shape, positions="rotary" if kind == "rotary" else "learned"), None, {"top_k": 5}


def one_by_one(model: Generator, condition: Tensor | None, size: tuple[int, int], **settings: Any) -> Tensor:
    """The same codes without a cache: a pass over its whole window for every one of them."""
    (height, width), (down, across), depth = size, model.grid, model.depth
    sampling, keys = Sampling(**settings), image_keys(5, torch.arange(2))
    codes = torch.zeros(2, height, width, depth, dtype=torch.int64)
    finer = model.config.condition.map[0] // down if model.config.condition.map else 0
    for place, (i, j, top, left) in enumerate(windows(height, width, model.grid).tolist()):
        given = condition
        if finer and condition is not None:
            rows, columns = slice(top * finer, (top + down) * finer), slice(left * finer, (left + across) * finer)
            given = condition[:, rows, columns]
        for d in range(depth):
            seen = codes[:, top : top + down, left : left + across]
            logits = model.logits(seen, given)[d][:, (i - top) * across + j - left]
            if sampling.guidance != 1.0:
                without = model.logits(seen, None)[d][:, (i - top) * across + j - left]
                logits = without + sampling.scale(place / (height * width - 1)) * (logits - without)
            codes[:, i, j, d] = draw(logits, place_keys(keys, place * depth + d), sampling)
    return codes


def test_cached_codes_are_those_without_a_cache(case: Case) -> None:
    model, condition, settings = case
    with torch.no_grad():
        expected = one_by_one(model, condition, (5, 7), **settings)
    assert torch.equal(model.generate(2, condition=condition, seed=5, size=(5, 7), **settings), expected)


def test_a_map_is_the_same_in_any_batch_and_of_its_own_size_as_ever(make_generator: Callable[..., Generator]) -> None:
    model = make_generator("ar", classes=3)
    labels = torch.tensor([0, 1, 2])
    together = model.generate(3, condition=labels, size=(4, 9), seed=2)
    assert together.shape == (3, 4, 9, 2)
    assert torch.equal(together[1:2], model.generate(1, condition=1, size=(4, 9), seed=2, first=1))
    assert torch.equal(model.generate(3, condition=1, size=model.grid), model.generate(3, condition=1))


def test_coordinates_are_those_of_the_whole_map_unless_given() -> None:
    model = conditioned("ar", (3, 4, 1))
    whole = coordinate_codes(coordinate_map(2 * 6, 2 * 8), 9, 2).clamp(max=8)
    slide = slide_of(model.config, (6, 8))
    assert slide is not None and torch.equal(model.condition.usual_map(slide), whole)


@pytest.mark.parametrize(
    ("name", "shape", "size", "said"),
    [
        ("mlm", (3, 4, 1), (6, 8), "mlm fills in its 3x4 codes together"),
        ("ar", (3, 4, 1), (6, 3), "6x3 codes are fewer than the 3x4 that the generator draws at once"),
        ("ar", (2, 3, 4, 1), (2, 6, 8), "2x6x8 codes were asked for, and the generator draws 2x3x4"),
        ("ar", (3, 4, 1), (2.0, 8), r"size is rows and columns of positions, such as \(24, 40\), not "),
        ("ar", (3, 4, 1), 8, "size is rows and columns"),
        ("spiral", (4, 4, 1), (6, 8), "the generator's order is spiral-in"),
    ],
)
def test_what_does_not_slide_is_one_line(
    make_generator: Callable[..., Generator], name: str, shape: tuple[int, ...], size: Any, said: str
) -> None:
    order = {"order": "spiral-in"} if name == "spiral" else {}
    model = make_generator("ar" if order else name, shape, **order)
    with pytest.raises(TokbenchError, match=said):
        model.generate(1, size=size)


def test_a_condition_of_another_size_is_one_line() -> None:
    model = conditioned("ar", (3, 4, 1))
    with pytest.raises(TokbenchError, match="5x7x1 for 1 images: the generator's is 6x8x1"):
        model.generate(1, condition=torch.zeros(1, 5, 7, 1, dtype=torch.int64), size=(6, 8))
