"""Frame prediction: the first frames of a clip are given, the others drawn, modelled and paid for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_clips import make_clip_tokenizer
from torch import Tensor

from tokbench.config.generator import ARConfig, GeneratorConfig, MLMConfig, PixelSNAILConfig
from tokbench.config.loading import load_recipe
from tokbench.errors import TokbenchError
from tokbench.generators import Generator, build, configure
from tokbench.generators.mlm import MLM
from tokbench.generators.noise import random_keys
from tokbench.generators.sampling import Sampling

EACH = pytest.mark.parametrize("name", ["ar", "mlm", "pixelsnail"])


def made(name: str, given: int = 2, shape: tuple[int, ...] = (3, 2, 2, 2), vocabulary: int = 7) -> Generator:
    torch.manual_seed(0)
    kind = {"ar": ARConfig, "mlm": MLMConfig, "pixelsnail": PixelSNAILConfig}[name]
    more = {"hidden": 8, "kernel": 3, "blocks": 1} if name == "pixelsnail" else {}
    settings = kind.model_validate(
        {"width": 24, "heads": 2, "layers": 1, "input": "learned", "frames": 5 if given else 0, **more}
    )
    config = GeneratorConfig(generator=settings, shape=shape, vocabulary=(vocabulary,) * shape[-1], given=given)
    generator = build(config).eval()
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.mul_(4.0)
    return generator


@pytest.mark.parametrize("mode", ["None", "cond->cond"])
def test_decoding_is_magvits_step_by_step(mode: str, golden_video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    golden = np.load(golden_video / "magvit_maskgit_sampler.npz")
    tokens = torch.from_numpy(golden[f"decode/{mode}/tokens_in_at_step"]).long()  # (steps, B, T, H, W), -1 is MASK
    generator = made("mlm", 2 if mode != "None" else 0, (5, 4, 4, 1), 16)
    logits = torch.from_numpy(golden["decode/logits"]).flatten(1, 3)
    seen: list[Tensor] = []

    def fixed(self: Any, sequence: Tensor, masked: Tensor, condition: Tensor) -> Tensor:
        seen.append(sequence[..., 0].masked_fill(masked, -1))
        return logits

    monkeypatch.setattr(MLM, "_contexts", fixed)
    monkeypatch.setattr(generator, "classifiers", torch.nn.ModuleList([torch.nn.Identity()]))
    given = tokens[0, :, :2, ..., None] if mode != "None" else None
    codes = generator.generate(2, condition=given, sampling=Sampling(top_k=1, steps=12, choice_temperature=0.0))
    counts = golden[f"decode/{mode}/num_masked_at_step"]
    for step, (mine, theirs) in enumerate(zip(seen, tokens.flatten(2), strict=True)):
        # After two thirds half are masked: a whole number that float32 puts just below, so theirs are one fewer.
        extra = int(step == 8)
        assert (mine == -1).sum(-1).tolist() == (counts[step] + extra).tolist()
        assert int((mine != theirs).sum()) == 2 * extra
    assert torch.equal(codes[..., 0], torch.from_numpy(golden[f"decode/{mode}/out"]).long())


@EACH
def test_given_frames_stay_and_the_rest_follows_them(name: str) -> None:
    generator = made(name)
    given = torch.randint(0, 7, (4, 2, 2, 2, 2), generator=torch.Generator().manual_seed(1))
    drawn = generator.generate(4, condition=given, seed=3)
    assert torch.equal(drawn[:, :2], given)
    same = generator.generate(4, condition=given[:1], seed=3)
    assert torch.equal(same[:, :2], given[:1].expand(4, -1, -1, -1, -1))
    assert not torch.equal(same[1:, 2], drawn[1:, 2])  # the same noise after other frames
    sample = generator.batch_sampler(4, Sampling())
    assert torch.equal(sample(given, 3, torch.arange(4)), drawn)


@EACH
def test_a_loss_and_a_code_length_are_of_the_drawn_codes(name: str) -> None:
    generator = made(name)
    codes = torch.randint(0, 7, (6, 3, 2, 2, 2), generator=torch.Generator().manual_seed(1))
    given = generator.condition.of({"codes": codes})
    with torch.no_grad():
        for head in generator.heads if name == "pixelsnail" else generator.classifiers:  # type: ignore[union-attr]
            (head.scale if name == "pixelsnail" else head.weight).zero_()
            head.bias.zero_()
    bits = generator.nll(codes, given)
    assert generator.codes_per_image == 8
    torch.testing.assert_close(bits, torch.full_like(bits, 8 * np.log(7)), atol=1e-4, rtol=1e-5)
    assert abs(float(generator.loss(codes, given).detach()) - np.log(7)) < 1e-5


def test_training_masks_leave_out_what_is_given() -> None:
    generator = made("mlm")
    masks = generator.training_mask(random_keys(64, torch.device("cpu")))  # type: ignore[operator]
    assert not masks[:, :8].any()
    assert masks[:, 8:].any(dim=0).all() and masks.sum(-1).min() >= 1 and masks.sum(-1).max() == 4


@EACH
def test_without_frames_or_with_wrong_ones_it_is_one_line(name: str) -> None:
    generator = made(name)
    with pytest.raises(TokbenchError, match="none were given"):
        generator.generate(1)
    with pytest.raises(TokbenchError, match=r"int64 \(1, 2, 2, 2, 2\)"):
        generator.generate(1, condition=torch.zeros(1, 3, 2, 2, 2, dtype=torch.int64))
    with pytest.raises(TokbenchError, match="another tokenizer"):
        generator.generate(1, condition=torch.full((1, 2, 2, 2, 2), 7))
    with pytest.raises(TokbenchError, match="guidance"):
        generator.generate(1, condition=torch.zeros(1, 2, 2, 2, 2, dtype=torch.int64), guidance=2.0)


def test_the_frames_of_a_recipe_become_positions() -> None:
    tokenizer = make_clip_tokenizer()

    def given(frames: int) -> int:
        settings = MLMConfig(width=16, heads=2, layers=1, input="learned", frames=frames)
        return configure(settings, tokenizer, source="there", image_size=(9, 16, 16)).given

    assert [given(frames) for frames in (0, 1, 5)] == [0, 1, 2]
    with pytest.raises(TokbenchError, match=r"generator.frames: 4x16x16 is not a multiple.*5x16x16"):
        given(4)
    with pytest.raises(TokbenchError, match="leave some to draw"):
        given(9)
    with pytest.raises(TokbenchError, match="one condition"):
        load_recipe("generators/demo-mlm", ["generator.frames=5", "generator.class_conditional=true"])
    tokenizer = make_clip_tokenizer(norm_over="clip")
    with pytest.raises(TokbenchError, match="depend on later frames"):
        given(5)


@EACH
def test_they_come_back_from_disk(name: str, tmp_path: Path) -> None:
    generator = made(name)
    generator.save_pretrained(tmp_path / "generator")
    back = Generator.from_pretrained(tmp_path / "generator")
    given = torch.ones(2, 2, 2, 2, 2, dtype=torch.int64)
    assert torch.equal(back.generate(2, condition=given), generator.generate(2, condition=given))
