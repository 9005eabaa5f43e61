"""However a batch is split, over processes or micro-batches, a generator is trained to the same weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fork_server import ForkServer
from gloo_processes import run_processes
from safetensors.torch import load_file

from tokbench.codes.header import CodeHeader
from tokbench.codes.soft import SoftCodes
from tokbench.codes.writer import CodeWriter
from tokbench.config.generator import GeneratorRecipe
from tokbench.generators import Generator
from tokbench.generators.noise import batch_keys
from tokbench.models import Tokenizer
from tokbench.training.loop import make_accelerator, train

_SCRIPT = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from tokbench.config.generator import GeneratorRecipe
from tokbench.training.loop import make_accelerator, train
for path in sorted(Path(sys.argv[1]).glob("*.json")):
    recipe = GeneratorRecipe.model_validate_json(path.read_text())
    train(recipe, Path(sys.argv[1]) / "two" / path.stem, accelerator=make_accelerator(recipe, cpu=True), quiet=True)
"""
WEIGHTS = "model.safetensors"
_SMALL = {"width": 16, "heads": 2, "layers": 1}
_CLASSES = {"class_conditional": True, "class_dropout": 0.3}
# Everything that is drawn while a generator is trained, but for its dropout layers.
GENERATORS: dict[str, dict[str, Any]] = {
    "ar": {"name": "ar", **_SMALL, "depth_layers": 1, **_CLASSES, "soft_targets": 0.5, "stochastic_codes": 0.5},
    "mlm": {"name": "mlm", **_SMALL, **_CLASSES},
    "mlm-photos": {"name": "mlm", **_SMALL},
}


@pytest.fixture(scope="module")
def recipe(
    rq_tokenizer: Tokenizer, rq_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], GeneratorRecipe]:
    """The recipe of each of ``GENERATORS``: on photos, or on a cache of random codes and latents in 32 classes."""
    cache = tmp_path_factory.mktemp("cache")
    torch.manual_seed(0)
    codes, latents = torch.randint(16, (32, 4, 4, 2)), torch.randn(32, 4, 4, rq_tokenizer.quantizer.dim)
    for split in ("train", "eval"):
        header = CodeHeader(
            tokenizer="made", tokenizer_sha256=rq_tokenizer.sha256(), codebook_sizes=(16, 16), shape=(4, 4, 2),
            image_size=16, source="made", split=split, preprocessing="", fingerprint="",
            classes=tuple(map(str, range(32))), latent_channels=rq_tokenizer.quantizer.dim,
        )  # fmt: skip
        with CodeWriter(cache / split, header) as writer:
            writer.add(codes, torch.arange(32), latents.half())

    def make(name: str) -> GeneratorRecipe:
        source = "photos" if name.endswith("photos") else f"codes:{cache}"
        return GeneratorRecipe.model_validate(
            {
                "name": "test",
                "tokenizer": str(rq_folder),
                "data": {"source": source, "image_size": 16, "limit": 32, "eval_limit": 8},
                "generator": GENERATORS[name],
                "training": {
                    "steps": 6, "batch_size": 8, "log_every": 2, "picture_every": 0, "checkpoint_every": 0,
                    "learning_rate": 1e-3, "precision": "fp32",
                },
            }
        )  # fmt: skip

    return make


def run(recipe: GeneratorRecipe, out: Path, accumulation: int = 1) -> dict[str, torch.Tensor]:
    training = recipe.training.model_copy(update={"gradient_accumulation": accumulation})
    split = recipe.model_copy(update={"training": training})
    return load_file(train(split, out, accelerator=make_accelerator(split, cpu=True), quiet=True).product / WEIGHTS)


def assert_alike(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> None:
    assert one.keys() == two.keys()
    squares = sum(float(w.double().square().sum()) for w in one.values())
    apart = sum(float((two[name].double() - w.double()).square().sum()) for name, w in one.items())
    assert apart**0.5 < 1e-5 * squares**0.5
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-4, atol=2e-5, msg=name)


@pytest.mark.slow
def test_two_processes_equal_one(forks: ForkServer, recipe: Callable[[str], GeneratorRecipe], tmp_path: Path) -> None:
    for name in GENERATORS:
        (tmp_path / f"{name}.json").write_text(recipe(name).model_dump_json())
    run_processes(forks, tmp_path, _SCRIPT, str(tmp_path))
    for name in GENERATORS:
        one = run(recipe(name), tmp_path / "one" / name)
        assert_alike(one, load_file(tmp_path / "two" / name / "generator" / WEIGHTS))


@pytest.mark.parametrize("name", ["ar", "mlm"])
def test_micro_batches_equal_the_whole_batch(
    recipe: Callable[[str], GeneratorRecipe], tmp_path: Path, name: str
) -> None:
    assert_alike(run(recipe(name), tmp_path / "whole"), run(recipe(name), tmp_path / "parts", accumulation=4))


@pytest.mark.parametrize("name", ["ar", "mlm", "pixelsnail"])
def test_the_mean_of_the_parts_losses_is_the_loss_of_the_whole(
    make_generator: Callable[..., Generator], name: str
) -> None:
    model = make_generator(name, classes=5, class_dropout=0.5, dropout=0.0).train()
    torch.manual_seed(0)
    codes, labels = torch.randint(7, (6, 3, 4, 2)), torch.randint(5, (6,))
    whole = model.loss(codes, labels, keys=batch_keys(3, 1, 6))
    parts = [model.loss(codes[i : i + 2], labels[i : i + 2], keys=batch_keys(3, 1, 6, first=i)) for i in (0, 2, 4)]
    torch.testing.assert_close(torch.stack(parts).mean(), whole)
    others = {model.loss(codes, labels, keys=batch_keys(*at, 6)).item() for at in ((3, 2), (4, 1))}
    assert len({whole.item(), *others}) == 3  # another step, or another seed, draws otherwise
    # Without keys the rows are the whole batch, drawn for anew.
    assert model.loss(codes, labels).item() != model.loss(codes, labels).item()


def test_stochastic_codes_are_drawn_by_image(rq_tokenizer: Tokenizer) -> None:
    soft = SoftCodes(rq_tokenizer, None, 5.0)
    torch.manual_seed(0)
    latents = torch.randn(4, rq_tokenizer.quantizer.dim, 4, 4)
    latents = latents if rq_tokenizer.quantizer.channel_first else latents.movedim(1, -1)
    whole, _ = soft(latents, keys=[1, -2, 3, 1])
    part, _ = soft(latents[1:3], keys=[-2, 3])
    assert torch.equal(whole[1:3], part) and not torch.equal(whole, rq_tokenizer.quantizer.encode(latents))
    assert not torch.equal(soft(latents, keys=[5, 6, 7, 8])[0], whole)
