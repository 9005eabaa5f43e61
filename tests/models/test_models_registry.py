from __future__ import annotations

import pytest
from pydantic import ValidationError

from tokbench.config.architecture import name_of
from tokbench.config.model import QuantizerConfig, TokenizerConfig, VQGANConfig
from tokbench.errors import TokbenchError
from tokbench.models import registry


def test_every_settings_class_has_its_builder_and_the_other_way_round() -> None:
    names = [name_of(settings) for settings in registry.all_settings()]
    assert {"llamagen", "magvit2", "rqvae", "vit", "vqgan"} <= set(names)
    assert all(callable(registry.builder(name)) for name in names) and set(registry.BUILDERS) == set(names)


def test_unknown_and_doubled_names() -> None:
    with pytest.raises(TokbenchError, match="unknown architecture 'vqgna' .did you mean 'vqgan'"):
        registry.builder("vqgna")
    with pytest.raises(ValueError, match="already registered"):
        registry.architecture(VQGANConfig)(registry.builder("vqgan"))


@pytest.mark.parametrize(
    ("multipliers", "attention", "size", "levels"),
    [([1, 1, 2, 2, 4], [16], 256, (4,)), ([1, 2], [32, 16], 32, (0, 1)), ([1, 2, 4], [16], 256, ())],
)
def test_where_attention_sits(multipliers: list[int], attention: list[int], size: int, levels: tuple[int, ...]) -> None:
    config = VQGANConfig(multipliers=tuple(multipliers), attention_resolutions=tuple(attention))
    assert config.attention_levels(size) == levels and config.downsampling == 2 ** (len(multipliers) - 1)


def test_quantizer_keywords_pass_through() -> None:
    config = QuantizerConfig.model_validate({"name": "rq", "codebook_size": 8, "depth": 2})
    assert config.options == {"codebook_size": 8, "depth": 2}
    with pytest.raises(ValidationError, match="needs a name"):
        QuantizerConfig(name=" ")


def test_size_and_heads_must_divide() -> None:
    quantizer = {"name": "vq", "codebook_size": 8}
    with pytest.raises(ValidationError, match="30 is not a multiple of the downsampling 8; nearest: 24, 32"):
        TokenizerConfig.model_validate({"image_size": 30, "model": {"architecture": "vit"}, "quantizer": quantizer})
    with pytest.raises(ValidationError, match="width 10 is not a multiple of heads 4"):
        TokenizerConfig.model_validate(
            {"image_size": 32, "model": {"architecture": "vit", "width": 10, "heads": 4}, "quantizer": quantizer}
        )
