"""A generator under FSDP: on two gloo processes it is the generator that one process trains."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fork_server import ForkServer
from gloo_processes import run_processes
from recipes_tiny import TINY
from safetensors.torch import load_file

from tokbench.config.generator import GeneratorRecipe
from tokbench.config.loading import load_recipe
from tokbench.config.model import TokenizerConfig
from tokbench.config.recipe import TokenizerRecipe
from tokbench.errors import TokbenchError
from tokbench.generators import Generator
from tokbench.models import Tokenizer
from tokbench.training import sharding
from tokbench.training.checkpoint import load_checkpoint
from tokbench.training.ema import averaged
from tokbench.training.loop import make_accelerator, train
from tokbench.training.sharding import ShardedAverage

_SCRIPT = """
import sys
from pathlib import Path
import torch
from tokbench.config.generator import GeneratorRecipe
from tokbench.training.loop import make_accelerator, train
out = Path(sys.argv[2])
recipe = GeneratorRecipe.model_validate_json(Path(sys.argv[1]).read_text())
make = lambda: make_accelerator(recipe, cpu=True)
train(recipe, out / "whole", accelerator=make(), quiet=True)
train(recipe, out / "parts", accelerator=make(), quiet=True, stop_at=2)
torch.manual_seed(5)
train(recipe, out / "parts", accelerator=make(), quiet=True, resume=True)
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> GeneratorRecipe:
    folder = tmp_path_factory.mktemp("tokenizer")
    settings = load_recipe("demo", [*TINY, "quantizer.codebook_size=16"])
    assert isinstance(settings, TokenizerRecipe)
    torch.manual_seed(0)
    config = TokenizerConfig(image_size=16, model=settings.model, quantizer=settings.quantizer)
    Tokenizer(config).eval().save_pretrained(folder)
    return GeneratorRecipe.model_validate(
        {
            "name": "sharded", "tokenizer": str(folder),
            "data": {"source": "photos", "image_size": 16, "limit": 32, "eval_limit": 8},
            "generator": {"name": "ar", "width": 16, "heads": 2, "layers": 2, "depth_layers": 1},
            "training": {
                "steps": 5, "batch_size": 8, "log_every": 1, "picture_every": 2, "checkpoint_every": 0,
                "learning_rate": 1e-3, "precision": "fp32", "gradient_accumulation": 2,
            },
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def out(forks: ForkServer, recipe: GeneratorRecipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if torch.cuda.is_available():
        pytest.skip("on a machine with a GPU torch shards over it, not over the CPU")
    out = tmp_path_factory.mktemp("two")
    (out / "recipe.json").write_text(recipe.model_dump_json())
    sharded = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
    run_processes(forks, out, _SCRIPT, str(out / "recipe.json"), str(out), **sharded)
    return out


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "generator" / "model.safetensors")


@pytest.mark.slow
def test_fsdp_trains_to_the_weights_of_one_process(out: Path, recipe: GeneratorRecipe, tmp_path: Path) -> None:
    train(recipe, tmp_path, accelerator=make_accelerator(recipe, cpu=True), quiet=True)
    one, two = weights(tmp_path), weights(out / "whole")
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-4, atol=2e-6, msg=name)
    logs = [
        [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        for folder in (tmp_path, out / "whole")
    ]
    for mine, theirs in zip(*logs, strict=True):
        for name in ("loss", "gradient_norm", "held_out_bits_per_code"):
            assert (name in mine) == (name in theirs)
            assert mine.get(name, 0) == pytest.approx(theirs.get(name, 0), rel=1e-4)


@pytest.mark.slow
def test_fsdp_resumes_to_the_same_bits_and_exports_a_whole_generator(out: Path) -> None:
    whole, parts = weights(out / "whole"), weights(out / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    states = [load_checkpoint(out / run / "checkpoints")[0] for run in ("whole", "parts")]
    assert states[0] is not None and states[1] is not None
    one, two = (state["task"]["optimizer"]["state"] for state in states)
    assert one.keys() == two.keys()
    for name in one:
        assert torch.equal(one[name]["exp_avg_sq"], two[name]["exp_avg_sq"])
    generator = Generator.from_pretrained(out / "whole" / "generator")
    assert generator.generate(2, seed=0).shape[0] == 2
    assert list((out / "whole" / "pictures").glob("*.png"))


@pytest.mark.slow
def test_a_sharded_run_goes_on_sharded_only(out: Path, recipe: GeneratorRecipe) -> None:
    (out / "parts" / "training.json").unlink()
    with pytest.raises(TokbenchError, match="the run was trained with FSDP until now; continue it with FSDP"):
        train(recipe, out / "parts", accelerator=make_accelerator(recipe, cpu=True), resume=True, quiet=True)


def test_the_sharded_average_is_the_other_one() -> None:
    model = torch.nn.Linear(3, 2)
    one, two = averaged(model, 0.5), ShardedAverage(model, 0.5)
    for n in range(4):
        with torch.no_grad():
            model.weight.add_(0.1 * n)
        one.update_parameters(model)
        two.update_parameters(model)
    assert torch.equal(one.module.weight, two.whole(main=True)["weight"]) and two.whole(main=False) == {}
    three = ShardedAverage(model, 0.5)
    three.load_state_dict(two.state_dict(main=True))
    assert three.count == 4 and torch.equal(three.parts["weight"], two.parts["weight"])
    assert not torch.equal(three.parts["weight"], model.weight)


@pytest.mark.parametrize(
    ("change", "version", "said"),
    [
        ({}, "1", "add --fsdp_version 2"),
        ({"precision": "fp16"}, "2", "use bf16"),
        ({"compile": True}, "2", "training.compile=false"),
    ],
)
def test_what_does_not_go_together_with_fsdp_is_refused(
    recipe: GeneratorRecipe, monkeypatch: pytest.MonkeyPatch, change: dict[str, object], version: str, said: str
) -> None:
    monkeypatch.setenv("FSDP_VERSION", version)
    changed = recipe.model_copy(update={"training": recipe.training.model_copy(update=change)})
    with pytest.raises(TokbenchError, match=said):
        sharding.plugin(changed, changed.training.precision)


def test_a_tokenizer_under_fsdp_is_refused(
    tiny: Callable[..., TokenizerRecipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(TokbenchError, match="FSDP is for generators"):
        make_accelerator(tiny(), cpu=True)
