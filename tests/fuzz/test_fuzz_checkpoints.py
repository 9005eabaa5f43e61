"""Checkpoints of every kind: of a run, a saved model, somebody else's code; damaged, altered, with code in them."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fuzzing import EXAMPLES, Refused, altered, damaged, fuzz, survives
from hypothesis import given, settings
from hypothesis import strategies as st

from tokbench import pretrained
from tokbench.config.generator import ARConfig
from tokbench.config.model import TokenizerConfig
from tokbench.generators import Generator, for_tokenizer
from tokbench.models import Tokenizer
from tokbench.training.checkpoint import load_checkpoint, save_checkpoint
from tokbench.weights.readers import read_numpy_pickle, read_torchscript

MODEL = {
    "architecture": "vqgan", "channels": 8, "multipliers": [1, 2], "blocks": 1, "norm_groups": 4,
    "attention_resolutions": [8], "latent_channels": 6, "code_channels": 4,
}  # fmt: skip
QUANTIZER = {"name": "vq", "codebook_size": 8, "codebook_update": "gradient", "beta_on": "codebook"}


class Code:
    """Unpickled by somebody careless, this would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def tiny(channels: int = 8) -> Tokenizer:
    torch.manual_seed(0)
    model = {**MODEL, "channels": channels, "norm_groups": channels}
    config = {"image_size": 16, "model": model, "quantizer": QUANTIZER}
    return Tokenizer(TokenizerConfig.model_validate(config)).eval()


# Of a run ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two checkpoints."""
    weights = {"w": torch.arange(6.0).view(2, 3), "n": torch.tensor(3), "h": torch.zeros(4, dtype=torch.bfloat16)}
    state = {"random": [[3, [1, 2], None]], "task": {"tokenizer": weights, "average": None}}
    folder = tmp_path_factory.mktemp("template")
    for step in (1, 2):
        save_checkpoint(folder, step, {**state, "step": step}, keep=2)
    return folder


def run_folder(space: Path, template: Path) -> Path:
    folder = space / "run"
    shutil.copytree(template, folder, dirs_exist_ok=True)
    return folder


def loaded(folder: Path) -> tuple[Any, list[str]]:
    found, problems = load_checkpoint(folder)
    assert all("\n" not in p and p.isprintable() and len(p) < 400 + len(str(folder)) for p in problems), problems
    return found, problems


@given(data=st.data(), sign=st.booleans(), name=st.sampled_from(("state.pt", "manifest.json")))
@fuzz
def test_a_damaged_checkpoint_of_a_run(space: Path, template: Path, data: st.DataObject, sign: bool, name: str) -> None:
    """Without a right checksum the older one is used and the newer one named; with one, nothing worse happens."""
    folder = run_folder(space, template)
    path = folder / "step-00000002" / name
    original = path.read_bytes()
    content = data.draw(damaged([original]))
    path.write_bytes(content)
    if sign and name == "state.pt":
        digest = hashlib.sha256(content).hexdigest()
        path.with_name("manifest.json").write_text(json.dumps({"step": 2, "sha256": digest, "bytes": len(content)}))
    found, problems = survives(lambda: loaded(folder), space)
    assert found is not None
    if name == "state.pt" and not sign and content != original:
        assert found["step"] == 1 and len(problems) == 1 and "step-00000002" in problems[0]


# Of a saved model -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    """The files of a tokenizer and of a generator."""
    made, tokenizer = tmp_path_factory.mktemp("saved"), tiny()
    tokenizer.save_pretrained(made / "tokenizer")
    settings = ARConfig(width=8, heads=1, layers=1, depth_layers=0)
    for_tokenizer(settings, tokenizer, source="mine", image_size=16).save_pretrained(made / "generator")
    return {kind: {p.name: p.read_bytes() for p in (made / kind).iterdir()} for kind in ("tokenizer", "generator")}


def lay_out(space: Path, kind: str, files: dict[str, bytes]) -> Callable[[], Any]:
    folder = space / kind
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    cls: Any = Tokenizer if kind == "tokenizer" else Generator
    return lambda: cls.from_pretrained(folder)


@given(data=st.data(), kind=st.sampled_from(("tokenizer", "generator")))
@settings(fuzz, max_examples=max(20, EXAMPLES // 2))
def test_damaged_weights(space: Path, saved: dict[str, dict[str, bytes]], data: st.DataObject, kind: str) -> None:
    weights = data.draw(damaged([saved[kind]["model.safetensors"]]))
    survives(lay_out(space, kind, {**saved[kind], "model.safetensors": weights}), space, kind)


@given(data=st.data(), kind=st.sampled_from(("tokenizer", "generator")))
@settings(fuzz, max_examples=max(20, EXAMPLES // 2))
def test_another_configuration(space: Path, saved: dict[str, dict[str, bytes]], data: st.DataObject, kind: str) -> None:
    config = data.draw(altered([json.loads(saved[kind]["config.json"])]))
    survives(lay_out(space, kind, {**saved[kind], "config.json": json.dumps(config).encode()}), space, kind)


@pytest.mark.parametrize(
    "change",
    [
        {"channels": 10**6},
        pytest.param({"blocks": 1000}, marks=pytest.mark.slow),
        {"latent_channels": 2**40},
        {"multipliers": [1, 2**30]},
    ],
)
def test_a_configuration_that_claims_too_much(
    space: Path, saved: dict[str, dict[str, bytes]], change: dict[str, Any]
) -> None:
    config = json.loads(saved["tokenizer"]["config.json"])
    config["model"] |= change
    files = {**saved["tokenizer"], "config.json": json.dumps(config).encode()}
    assert isinstance(survives(lay_out(space, "tokenizer", files), space, "tokenizer"), Refused)


def test_a_safetensors_header_that_claims_too_much(space: Path, saved: dict[str, dict[str, bytes]]) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}).encode()
    for content in (struct.pack("<Q", len(header)) + header, struct.pack("<Q", 2**63) + header):
        files = {**saved["tokenizer"], "model.safetensors": content}
        assert isinstance(survives(lay_out(space, "tokenizer", files), space, "tokenizer"), Refused)


# Of somebody else's code ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """One model's checkpoint: a zip, torch's older format, safetensors, with code inside; and a TorchScript archive."""
    folder = tmp_path_factory.mktemp("foreign")
    pretrained.export(tiny(32), "taming", folder / "zip.ckpt")
    content = torch.load(folder / "zip.ckpt", weights_only=True)
    torch.save(content, folder / "old.ckpt", _use_new_zipfile_serialization=False)
    torch.save({**content, "x": Code(folder / "ran")}, folder / "code.ckpt")
    torch.save({**content, "x": Code(folder / "ran")}, folder / "code-old.ckpt", _use_new_zipfile_serialization=False)
    torch.jit.script(torch.nn.Conv2d(1, 1, 1)).save(str(folder / "script.pt"))
    (folder / "plain.pkl").write_bytes(pickle.dumps({"x": Code(folder / "ran")}))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@given(data=st.data(), name=st.sampled_from(("zip.ckpt", "old.ckpt", "code.ckpt", "code-old.ckpt", "plain.pkl")))
@fuzz
def test_damaged_foreign_checkpoints(space: Path, foreign: dict[str, bytes], data: st.DataObject, name: str) -> None:
    path = space / "foreign.ckpt"
    path.write_bytes(data.draw(damaged([foreign[name]])))
    survives(lambda: pretrained.load(None, path), space, "foreign.ckpt")


@given(data=st.data(), name=st.sampled_from(("script.pt", "plain.pkl", "zip.ckpt")))
@settings(fuzz, max_examples=max(20, EXAMPLES // 4))
def test_damaged_weights_of_measuring_networks(
    space: Path, foreign: dict[str, bytes], data: st.DataObject, name: str
) -> None:
    path = space / "measuring.pt"
    path.write_bytes(data.draw(damaged([foreign[name]])))
    survives(lambda: read_torchscript(path), space, "measuring.pt")
    survives(lambda: read_numpy_pickle(path), space, "measuring.pt")


@given(data=st.data())
@settings(fuzz, max_examples=max(20, EXAMPLES // 4))
def test_whole_files_of_strange_weights(space: Path, foreign: dict[str, bytes], data: st.DataObject) -> None:
    """Names and shapes that no training gives, in files without a fault."""
    content = torch.load(io.BytesIO(foreign["zip.ckpt"]), weights_only=True)
    weights = dict(content["state_dict"])
    for _ in range(data.draw(st.integers(1, 3))):
        name = data.draw(st.sampled_from(sorted(weights)))
        kind = data.draw(st.sampled_from(("gone", "shape", "number", "type", "nan")))
        tensor = weights.pop(name)
        if kind == "shape":
            sides = data.draw(st.lists(st.sampled_from((0, 1, 2, 3, 8)), max_size=5))
            weights[name] = torch.zeros(sides)
        elif kind == "number":
            number = data.draw(st.sampled_from(("0", "7", "999", "1000", "999999999999", "9" * 50)))
            parts = [number if part.isdigit() else part for part in name.split(".")]
            weights[".".join(parts)] = tensor
        elif kind == "type":
            types = (torch.int64, torch.bool, torch.complex64, torch.float16)
            weights[name] = tensor.to(data.draw(st.sampled_from(types)))
        elif kind == "nan":
            weights[name] = tensor * float("nan")
    path = space / "strange.ckpt"
    torch.save({**content, "state_dict": weights}, path)
    survives(lambda: pretrained.load(data.draw(st.sampled_from((None, "taming", "llamagen"))), path), space, "strange")


@pytest.mark.parametrize("name", ["code.ckpt", "code-old.ckpt", "plain.pkl"])
def test_code_is_not_run(space: Path, foreign: dict[str, bytes], name: str) -> None:
    path = space / name
    path.write_bytes(foreign[name])
    for action in (
        lambda: pretrained.load(None, path), lambda: read_numpy_pickle(path), lambda: read_torchscript(path)
    ):  # fmt: skip
        assert isinstance(survives(action, space, name), Refused)


def test_archives_that_unfold(space: Path) -> None:
    path = space / "bomb.ckpt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 2**28)
        archive.writestr("archive/version", "3\n")
    for action in (lambda: pretrained.load(None, path), lambda: read_torchscript(path)):
        refused = survives(action, space, "bomb.ckpt")
        assert isinstance(refused, Refused) and "unpack" in refused.message


def test_configurations_of_foreign_checkpoints(space: Path, foreign: dict[str, bytes]) -> None:
    path, config = space / "good.ckpt", space / "model.yaml"
    path.write_bytes(foreign["zip.ckpt"])
    aliases = "".join(f"k{i + 1}: &k{i + 1} {{a: *k{i}, b: *k{i}}}\n" for i in range(60))
    for text in ("k: &k {a: *k}\n", "k0: &k0 {z: 1}\n" + aliases, "{" * 2000, "a: !!bool maybe\n", "- 1\n", "x: \x00"):
        config.write_text(text)
        survives(lambda: pretrained.load("taming", path, config), space)
