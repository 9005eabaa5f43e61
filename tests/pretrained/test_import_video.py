"""Published tokenizers of videos come in: what they compute, and what is wrong with a file that is not theirs."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from tokbench import pretrained
from tokbench.errors import TokbenchError
from tokbench.models import Tokenizer

# Constructors' keywords of the models whose outputs are in ../shared/golden-video, and the files of their weights.
SOURCES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "o2-magvit2": (
        {
            "filters": 32,
            "num_res_blocks": 1,
            "temporal_downsample": [False, True, True],
            "channel_multipliers": [1, 1, 1, 1],
            "codebook_bits": 10,
        },
        ("o2magvit2",),
    ),
    "open-magvit2-video": (
        {"ch": 32, "ch_mult": [1, 2, 2], "num_res_blocks": 1, "z_channels": 10, "n_embed": 1024},
        ("seed_voken", "seed_voken_decoder"),
    ),
    "vidtok": (
        {
            "double_z": False,
            "z_channels": 5,
            "ch": 16,
            "ch_mult": [1, 2, 2, 2],
            "time_downsample_factor": 4,
            "num_res_blocks": 1,
            "norm_type": "layernorm",
            "levels": [8] * 5,
        },
        ("vidtok",),
    ),
    "cosmos-dv": (
        {
            "channels": 16,
            "channels_mult": [1, 2, 2],
            "z_channels": 8,
            "embedding_dim": 6,
            "levels": [8, 8, 8, 5, 5, 5],
            "num_res_blocks": 1,
            "patch_size": 2,
            "patch_method": "haar",
            "spatial_compression": 8,
            "temporal_compression": 4,
            "attn_resolutions": [8],
            "resolution": 64,
        },
        ("cosmos",),
    ),
}


@functools.cache
def weights(folder: Path, *files: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The state dict by the official names, and everything in the files."""
    data: dict[str, Tensor] = {}
    for file in files:
        data |= {name: torch.from_numpy(np.asarray(value)) for name, value in np.load(folder / f"{file}.npz").items()}
    state = {
        name.removeprefix("state/").replace("coder/", "coder."): value
        for name, value in data.items()
        if name.split("/")[0] in ("encoder", "decoder", "state")
    }
    return state, data


class Official:
    """One of the sources as files: its checkpoint, its settings, and what its authors' code computes."""

    def __init__(self, name: str, golden: Path, folder: Path) -> None:
        self.name, self.folder = name, folder
        self.settings, files = SOURCES[name]
        self.state, self.data = weights(golden, *files)

    def load(self, state: dict[str, Tensor] | None = None, named: bool = True, **settings: Any) -> Tokenizer:
        torch.save({"state_dict": self.state if state is None else state}, self.folder / "m.ckpt")
        said = {**self.settings, **settings}
        (self.folder / "m.yaml").write_text(yaml.safe_dump({k: v for k, v in said.items() if v is not None}))
        return pretrained.load(self.name if named else None, self.folder / "m.ckpt", self.folder / "m.yaml")


@pytest.fixture(params=sorted(SOURCES))
def official(request: pytest.FixtureRequest, golden_video: Path, tmp_path: Path) -> Official:
    return Official(request.param, golden_video, tmp_path)


@pytest.mark.parametrize("named", [True, False], ids=["named", "guessed"])
def test_official_outputs(official: Official, named: bool) -> None:
    tokenizer, data = official.load(named=named), official.data
    codes = tokenizer.encode(data["input"])
    key = next((key for key in ("indices", "indices_msb") if key in data), None)
    if key is None:  # Open-MAGVIT2: the least significant bit is the first channel
        wanted = ((data["quantized"] > 0).long() * 2 ** torch.arange(10).view(1, -1, 1, 1, 1)).sum(1)
    else:
        wanted = data[key].long()
    assert torch.equal(codes[..., 0], wanted)
    assert codes.shape[1:-1] == tokenizer.grid((9, 32, 32))
    assert tokenizer.config.image_size[0] == 17  # type: ignore[index]
    with torch.no_grad():
        assert torch.allclose(tokenizer.decode(codes), data["reconstruction"], atol=2e-5, rtol=1e-4)


def test_every_weight_is_accounted_for(official: Official) -> None:
    official.load()
    _, report = pretrained.read(official.name, official.folder / "m.ckpt", official.folder / "m.yaml")
    assert not report.left_over and report.source == official.name
    assert report.loaded + sum(len(names) for names in report.ignored.values()) == len(official.state)


def test_a_saved_import_is_the_same(official: Official, tmp_path: Path) -> None:
    tokenizer = official.load()
    tokenizer.save_pretrained(tmp_path / "saved")
    again = Tokenizer.from_pretrained(tmp_path / "saved")
    x = official.data["input"]
    assert torch.equal(again.encode(x), tokenizer.encode(x)) and again.config == tokenizer.config


def test_weights_that_do_not_fit_are_named(official: Official) -> None:
    names = [name for name in official.state if name.startswith("decoder.") and name.endswith("weight")]
    without = {name: tensor for name, tensor in official.state.items() if name != names[3]}
    with pytest.raises(TokbenchError, match="not the weights of a whole|no weight for"):
        official.load(without)
    foreign = official.state | {"encoder.extra.weight": torch.ones(2, 2)}
    with pytest.raises(TokbenchError, match="no place for: encoder.extra.weight"):
        official.load(foreign)
    broken = official.state | {names[3]: official.state[names[3]] * torch.nan}
    with pytest.raises(TokbenchError, match="not finite"):
        official.load(broken)


@pytest.mark.parametrize(
    ("source", "change", "told"),
    [
        ("o2-magvit2", {"temporal_downsample": [True, True, False]}, "temporal_downsample is"),
        ("o2-magvit2", {"codebook_bits": 18}, "codebook_bits is 18 in the configuration but 10"),
        ("open-magvit2-video", {"ch": 64}, "ch is 64 in the configuration but 32"),
        ("vidtok", {"norm_type": "groupnorm"}, "norm_type is groupnorm in the configuration but layernorm"),
        ("vidtok", {"time_downsample_factor": 8}, "time_downsample_factor is 8"),
        ("vidtok", {"double_z": True}, "a KL autoencoder, which has no codes"),
        ("vidtok", {"levels": [8, 8]}, "levels is 2 in the configuration but 5 in the weights"),
        ("cosmos-dv", {"spatial_compression": None}, "give a configuration with spatial_compression"),
        ("cosmos-dv", {"spatial_compression": 64}, "spatial_compression 64 cannot be reached"),
        ("cosmos-dv", {"attn_resolutions": [16]}, "puts attention at levels"),
        ("cosmos-dv", {"legacy_mode": True}, "legacy_mode: True is not supported"),
    ],
)
def test_settings_that_do_not_fit_are_named(
    source: str, change: dict[str, Any], told: str, golden_video: Path, tmp_path: Path
) -> None:
    with pytest.raises(TokbenchError, match=told) as caught:
        Official(source, golden_video, tmp_path).load(**change)
    assert "\n" not in str(caught.value)


def test_vidtok_1_1_starts_from_the_first_frame(golden_video: Path, tmp_path: Path) -> None:
    """As the configuration's class says, and as diffusers computes it: the names are those of 1.0."""
    source = Official("vidtok", golden_video, tmp_path)
    encoder = {"target": "vidtok.modules.model_3dcausal_v1_1.EncoderCausal3DPadding", "params": source.settings}
    config = {"model": {"params": {"encoder_config": encoder}}}
    torch.save({"state_dict": source.state}, tmp_path / "m.ckpt")
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(config))
    model: Any = pretrained.load("vidtok", tmp_path / "m.ckpt", tmp_path / "m.yaml").config.model
    assert (model.release, model.interpolation) == ("1.1", "nearest")
    (tmp_path / "m.json").write_text('{"_class_name": "AutoencoderVidTok", "ch_mult": [1, 2, 2, 2], "z_channels": 5}')
    model = pretrained.load("vidtok", tmp_path / "m.ckpt", tmp_path / "m.json").config.model
    assert (model.release, model.interpolation) == ("1.1", "linear")
