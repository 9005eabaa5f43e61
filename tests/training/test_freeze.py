"""Parts that do not learn: the others do, whatever the optimizer, the average, a resume or a second process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tokbench.config.address import address_settings
from tokbench.config.loading import load_recipe
from tokbench.config.recipe import TokenizerRecipe
from tokbench.errors import TokbenchError
from tokbench.models import Tokenizer
from tokbench.training.checkpoint import load_checkpoint
from tokbench.training.loop import train

Tiny = Callable[..., TokenizerRecipe]
PARTS = ("encoder", "quantizer", "decoder")


@pytest.fixture(scope="module")
def start(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer to go on from, whose codebook a moving average learns and restarts."""
    recipe = tiny("quantizer={name: vq, codebook_size: 16}")
    return train(recipe, tmp_path_factory.mktemp("first"), quiet=True).product


def moved(before: Path, after: Path) -> set[str]:
    one, two = (Tokenizer.from_pretrained(folder).state_dict() for folder in (before, after))
    return {name.partition(".")[0] for name in one if not torch.equal(one[name], two[name])}


_OTHERS = ("encoder", "decoder", "encoder,quantizer", "quantizer,decoder")


@pytest.mark.parametrize("freeze", ["quantizer", *(pytest.param(part, marks=pytest.mark.slow) for part in _OTHERS)])
def test_what_is_frozen_stays_and_the_rest_learns(tiny: Tiny, tmp_path: Path, start: Path, freeze: str) -> None:
    wanted = ["quantizer={name: vq, codebook_size: 16}", f"start_from={start}", f"training.freeze=[{freeze}]"]
    recipe = tiny(*wanted)
    whole = train(recipe, tmp_path / "whole", quiet=True)
    assert moved(start, whole.product) == set(PARTS) - set(freeze.split(","))
    train(recipe, tmp_path / "parts", quiet=True, stop_at=5)
    again = train(recipe, tmp_path / "parts", quiet=True, resume=True)
    assert Tokenizer.from_pretrained(again.product).sha256() == Tokenizer.from_pretrained(whole.product).sha256()
    state, _ = load_checkpoint(whole.folder / "checkpoints")
    assert state is not None
    learned = sum(len(group["params"]) for group in state["task"]["optimizer"]["param_groups"])
    made = Tokenizer.from_pretrained(start)
    trained = [name for name, _ in made.named_parameters() if name.partition(".")[0] not in freeze.split(",")]
    assert learned == len(trained)  # the optimizer holds nothing of what is frozen


def test_an_adversary_teaches_the_decoder_alone(tiny: Tiny, tmp_path: Path, start: Path) -> None:
    gan = "loss.adversarial={start: 1, weighting: adaptive, discriminator: {name: patchgan, channels: 8, layers: 2}}"
    frozen = "training.freeze=[quantizer,encoder]"
    recipe = tiny("quantizer={name: vq, codebook_size: 16}", f"start_from={start}", frozen, gan)
    assert moved(start, train(recipe, tmp_path / "run", quiet=True).product) == {"decoder"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["training.freeze=[encodr]"], "encodr|encoder"),
        (["training.freeze=[encoder,quantizer,decoder]"], "nothing is left to train"),
        (["training.freeze=[decoder]", "loss.adversarial={}"], "a frozen decoder"),
    ],
)
def test_parts_that_cannot_be_frozen(tiny: Tiny, settings: list[str], said: str) -> None:
    with pytest.raises(TokbenchError, match=said) as caught:
        tiny(*settings)
    assert "\n" not in str(caught.value)


def test_a_generator_has_no_parts_to_freeze() -> None:
    with pytest.raises(TokbenchError, match="parts of a tokenizer"):
        load_recipe("generators/demo-ar", ["tokenizer=x", "training.freeze=[encoder]"])


def test_the_order_of_the_parts_and_the_default_move_no_address(tiny: Tiny) -> None:
    assert "freeze" not in str(address_settings(tiny()))
    one, two = tiny("training.freeze=[quantizer,encoder]"), tiny("training.freeze=[encoder,quantizer,encoder]")
    assert address_settings(one) == address_settings(two) != address_settings(tiny())
