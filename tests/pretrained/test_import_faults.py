"""Files that are damaged, dangerous, or not what they are said to be: one clear line, and nothing written."""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import official
import pytest
import torch
import yaml

from tokbench import pretrained
from tokbench.cli.export import export
from tokbench.cli.import_ import import_
from tokbench.errors import TokbenchError


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good taming checkpoint with its YAML beside it."""
    folder = tmp_path_factory.mktemp("official")
    pretrained.export(official.taming(), "taming", folder / "good.ckpt")
    pretrained.export(official.rqvae(), "rqvae", folder / "rq.pt")
    return folder / "good.ckpt"


def refused(path: Path, message: str, out: Path, source: str = "taming", config: Path | None = None) -> None:
    """``tokbench import`` raises the one-line error and leaves nothing behind."""
    with pytest.raises(TokbenchError, match=message) as error:
        import_(source, path, out / "tokenizer", config)
    assert "\n" not in str(error.value)
    assert not (out / "tokenizer").exists()


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_truncated(checkpoint: Path, share: float, tmp_path: Path) -> None:
    content = checkpoint.read_bytes()
    path = tmp_path / "short.ckpt"
    path.write_bytes(content[: int(share * len(content))])
    refused(path, "short.ckpt: (truncated|not a checkpoint)", tmp_path)


def test_not_there_and_not_a_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    refused(tmp_path / "none.ckpt", "none.ckpt: no such file", tmp_path)
    refused(tmp_path, "a folder; name the file in it", tmp_path)
    (tmp_path / "text.ckpt").write_text("hello, I am no checkpoint")
    refused(tmp_path / "text.ckpt", "text.ckpt: (truncated|not a checkpoint)", tmp_path)
    torch.save(torch.zeros(3), tmp_path / "tensor.pt")
    refused(tmp_path / "tensor.pt", "holds a Tensor, not a dictionary", tmp_path)
    torch.save({"state_dict": {}}, tmp_path / "empty.pt")
    refused(tmp_path / "empty.pt", "not a checkpoint in the layout of taming", tmp_path)
    (tmp_path / "x.safetensors").write_bytes(b"short")
    refused(tmp_path / "x.safetensors", "not a whole safetensors file", tmp_path)


class Harmful:
    """Runs a command when unpickled by anything that runs pickles."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_code_in_a_pickle_is_named_and_not_run(zipped: bool, tmp_path: Path) -> None:
    path, marker = tmp_path / "evil.ckpt", tmp_path / "ran"
    state = {"encoder.conv_in.weight": torch.zeros(1), "callback": Harmful(marker)}
    torch.save({"state_dict": state}, path, _use_new_zipfile_serialization=zipped)
    refused(path, r"holds more than tensors \(posix\.system\).*never run here.*save_file", tmp_path)
    assert not marker.exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_code_in_a_plain_pickle(tmp_path: Path) -> None:
    path, marker = tmp_path / "evil.pkl", tmp_path / "ran"
    path.write_bytes(pickle.dumps({"a": Harmful(marker)}))
    refused(path, r"posix\.system", tmp_path)
    assert not marker.exists()


def test_a_lightning_checkpoint_with_classes_names_the_way_out(checkpoint: Path, tmp_path: Path) -> None:
    content = torch.load(checkpoint, weights_only=True)
    torch.save(content | {"callbacks": {logging.Handler: {"best": 1.0}}}, tmp_path / "last.ckpt")
    refused(tmp_path / "last.ckpt", r"logging\.Handler.*safetensors", tmp_path)


def test_wrong_and_unknown_sources(checkpoint: Path, tmp_path: Path) -> None:
    refused(checkpoint, "not a checkpoint in the layout of rqvae; it looks like taming", tmp_path, "rqvae")
    refused(checkpoint, "unknown source 'tamming' .did you mean 'taming'", tmp_path, "tamming")
    torch.save({"layer1.0.conv1.weight": torch.zeros(1)}, tmp_path / "resnet.pt")
    refused(tmp_path / "resnet.pt", "no known layout .*layer1.0.conv1.weight", tmp_path, "auto")


def _changed(path: Path, out: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of a YAML file with something changed."""
    content = yaml.safe_load(path.read_text())
    change(content["model"]["params"] if "model" in content else content["arch"])
    out.write_text(yaml.safe_dump(content))
    return out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p["ddconfig"].update(ch=64), "ch is 64 in the configuration but 32 in the weights"),
        (lambda p: p["ddconfig"].update(ch_mult=[1, 2]), r"ch_mult is \[1, 2\] .* but \[1, 2, 1\]"),
        (lambda p: p["ddconfig"].update(num_res_blocks=1), "num_res_blocks is 1 .* but 2"),
        (lambda p: p["ddconfig"].update(z_channels=6), "z_channels is 6 .* but 12"),
        (lambda p: p["ddconfig"].update(resolution=64), r"attn_resolutions \[16, 8\] at resolution 64"),
        (lambda p: p["ddconfig"].update(attn_resolutions=[32]), r"at levels \[0\], the weights have it at \[1, 2\]"),
        (lambda p: p["ddconfig"].update(double_z=True), "double_z is true"),
        (lambda p: p.update(n_embed=21), "n_embed is 21 .* but 20"),
        (lambda p: p.update(embed_dim=7), "embed_dim is 7 .* but 6"),
    ],
)
def test_configurations_that_do_not_fit(change: Any, message: str, checkpoint: Path, tmp_path: Path) -> None:
    config = _changed(checkpoint.with_suffix(".yaml"), tmp_path / "c.yaml", change)
    refused(checkpoint, message, tmp_path, config=config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a["hparams"].update(code_shape=[8, 8, 4]), "code_shape's depth is 4 .* but 3"),
        (lambda a: a["hparams"].update(code_shape=[4, 4, 3]), r"code_shape \[4, 4, 3\] folds positions"),
        (lambda a: a["hparams"].update(bottleneck_type="vq"), "bottleneck_type: 'vq' is not supported"),
        (lambda a: a["hparams"].update(n_embed=[20, 20, 10]), r"n_embed is \[20, 20, 10\]"),
        (lambda a: a["hparams"].update(decay=[0.9, 0.99, 0.9]), "different decay for each depth"),
    ],
)
def test_rqvae_configurations_that_do_not_fit(change: Any, message: str, checkpoint: Path, tmp_path: Path) -> None:
    path = checkpoint.with_name("rq.pt")
    config = _changed(path.with_suffix(".yaml"), tmp_path / "c.yaml", change)
    refused(path, message, tmp_path, "rqvae", config)


@pytest.mark.parametrize("text", ["a: [1", "- 1\n- 2", "!!python/object/apply:os.system ['true']", None])
def test_unreadable_configurations(text: str | None, checkpoint: Path, tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    if text is not None:
        config.write_text(text)
    refused(checkpoint, "c.yaml: ", tmp_path, config=config)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("encoder.down.1.block.1.conv2.weight", "missing: encoder.down.1.block.1.conv2.weight"),
        ("decoder.up.0.block.2.norm1.bias", "missing: decoder.up.0.block.2.norm1.bias"),
        ("post_quant_conv.weight", "missing: post_quant_conv.weight"),
        ("encoder.mid.attn_1.q.weight", "left over: .*encoder.mid.attn_1"),
    ],
)
def test_missing_weights_are_named(name: str, message: str, checkpoint: Path, tmp_path: Path) -> None:
    content = torch.load(checkpoint, weights_only=True)
    del content["state_dict"][name]
    torch.save(content, tmp_path / "m.ckpt")
    refused(tmp_path / "m.ckpt", message, tmp_path)


def test_weights_of_another_shape_are_named(checkpoint: Path, tmp_path: Path) -> None:
    content = torch.load(checkpoint, weights_only=True)
    content["state_dict"]["decoder.mid.block_1.conv1.weight"] = torch.zeros(32, 32, 1, 1)
    torch.save(content, tmp_path / "m.ckpt")
    refused(tmp_path / "m.ckpt", r"mid.block_1.conv1.weight is \[32, 32, 1, 1\], not \[32, 32, 3, 3\]", tmp_path)


def test_codebook_of_another_width(checkpoint: Path, tmp_path: Path) -> None:
    content = torch.load(checkpoint, weights_only=True)
    content["state_dict"]["quantize.embedding.weight"] = torch.ones(20, 5)
    torch.save(content, tmp_path / "m.ckpt")
    refused(tmp_path / "m.ckpt", r"m.ckpt: .*\(20, 6\), not \(20, 5\)", tmp_path)


def test_rqvae_codebook_without_its_padding_row(checkpoint: Path, tmp_path: Path) -> None:
    content = torch.load(checkpoint.with_name("rq.pt"), weights_only=True)
    state = content["state_dict"]
    state["quantizer.codebooks.1.weight"] = state["quantizer.codebooks.1.weight"][:-1]
    torch.save(content, tmp_path / "m.pt")
    refused(tmp_path / "m.pt", "codebooks.1.cluster_size_ema is .*one row less was expected", tmp_path, "rqvae")


def test_ema_that_is_not_there(checkpoint: Path, tmp_path: Path) -> None:
    for path, source in ((checkpoint, "taming"), (checkpoint.with_name("rq.pt"), "rqvae")):
        with pytest.raises(TokbenchError, match="EMA weights were asked for"):
            pretrained.load(source, path, weights="ema")


def test_commands_round_trip_and_never_overwrite(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import_("auto", checkpoint, tmp_path / "t", checkpoint.with_suffix(".yaml"))
    assert "source: taming" in capsys.readouterr().out
    export(str(tmp_path / "t"), tmp_path / "again.ckpt", "taming")
    a, b = (torch.load(path, weights_only=True)["state_dict"] for path in (checkpoint, tmp_path / "again.ckpt"))
    assert set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a)
    with pytest.raises(TokbenchError, match="already there"):
        export(str(tmp_path / "t"), tmp_path / "again.ckpt", "taming")
    with pytest.raises(TokbenchError, match="already there and not empty"):
        import_("auto", checkpoint, tmp_path / "t")
