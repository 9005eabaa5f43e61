"""Checkpoints as people's programs leave them: nested, prefixed, averaged, split, converted, damaged."""

from __future__ import annotations

import gzip
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import official
import pytest
import torch
from official import dotless, prefixed, refusal
from safetensors.torch import save_file, save_model
from torch import Tensor

from tokbench import pretrained
from tokbench.models import Tokenizer
from tokbench.pretrained.checkpoint import read_checkpoint
from tokbench.pretrained.exporter import official_layout

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return official.tokenizer(official.SMALL, official.GRADIENT)


@pytest.fixture(scope="module")
def state(tokenizer: Tokenizer) -> State:
    return official_layout(tokenizer, "taming")[0]


@pytest.fixture(scope="module")
def averages(state: State) -> State:
    return {name: tensor + 1 for name, tensor in state.items()}


def stem(made: Tokenizer) -> Tensor:
    return made.state_dict()["encoder.stem.weight"]


NESTS: dict[str, Callable[[State], dict[str, Any]]] = {
    "bare": dict,
    "model": lambda s: {"model": s, "epoch": 3},
    "two deep": lambda s: {"trainer": {"model_state_dict": s}},
    "optimizer beside": lambda s: {"net": s, "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}}},
    "module": lambda s: {"state_dict": prefixed(s, "module.")},
    "compiled": lambda s: {"state_dict": prefixed(s, "_orig_mod.")},
    "compiled and distributed": lambda s: {"state_dict": prefixed(s, "module._orig_mod.")},
    "compiled parts": lambda s: {name.replace("coder.", "coder._orig_mod."): t for name, t in s.items()},
    "distributed parts": lambda s: {name.replace("coder.", "coder.module."): t for name, t in s.items()},
    "fsdp": lambda s: {"model": {name.replace(".mid.", "._fsdp_wrapped_module.mid."): t for name, t in s.items()}},
    "lightning": lambda s: {"state_dict": {**prefixed(s, "vq_model."), "discriminator.0.weight": torch.ones(2)}},
    "deepspeed": lambda s: {"module": prefixed(s, "_forward_module.model."), "optimizer": None, "param_shapes": [{}]},
    "registered twice": lambda s: {"state_dict": {**prefixed(s, "model."), **prefixed(s, "tokenizer.")}},
    "a dictionary a module": lambda s: {
        **{part: {n[8:]: t for n, t in s.items() if n.startswith(part)} for part in ("encoder", "decoder")},
        **{name: t for name, t in s.items() if "coder." not in name},
    },
}  # fmt: skip


@pytest.mark.parametrize("nest", sorted(NESTS))
def test_weights_are_found_wherever_they_are(nest: str, state: State, tmp_path: Path) -> None:
    zipped = nest != "optimizer beside"  # that one in torch's older format
    torch.save(NESTS[nest](state), tmp_path / "a.pth.tar", _use_new_zipfile_serialization=zipped)
    made, report = pretrained.read(None, tmp_path / "a.pth.tar")
    assert torch.equal(stem(made), state["encoder.conv_in.weight"])
    assert report.loaded == len(state) and "(live)" in report.weights and not report.left_over


AVERAGES: dict[str, Callable[[State, State], dict[str, Any]]] = {
    **{
        key: (lambda s, e, key=key: {"model": s, key: e})  # type: ignore[misc]
        for key in ("ema", "ema_state_dict", "state_dict_ema", "model_ema", "ema_model", "params_ema", "EMA")
    },
    "callbacks": lambda s, e: {"state_dict": s, "callbacks": {"EMA": {"ema_weights": e}}},
    "litema": lambda s, e: {"state_dict": {**s, **dotless(e)}},
    "litema around": lambda s, e: {"state_dict": {**prefixed(s, "model."), **dotless(e, "model.")}},
    "litema, compiled": lambda s, e: {
        "state_dict": {**prefixed(s, "_orig_mod."), **dotless(e, "_orig_mod.")},
    },
    "dotted": lambda s, e: {"state_dict": {**s, **prefixed(e, "model_ema.")}},
    "ema-pytorch": lambda s, e: {**prefixed(s, "online_model."), **prefixed(e, "ema_model."), "step": torch.ones(1)},
    "diffusers": lambda s, e: {"model": s, "ema": {"decay": 0.99, "shadow_params": list(e.values())}},
}  # fmt: skip


@pytest.mark.parametrize("spelling", sorted(AVERAGES))
def test_averages_are_told_from_live_weights(spelling: str, state: State, averages: State, tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    torch.save(AVERAGES[spelling](state, averages), path)
    kinds = [("auto", state), ("ema", averages), *([("live", state)] if spelling in ("ema", "litema") else [])]
    for kind, wanted in kinds:
        made, report = pretrained.read("taming", path, weights=kind)  # type: ignore[arg-type]
        assert torch.equal(stem(made), wanted["encoder.conv_in.weight"]), kind
        assert ("EMA" if kind == "ema" else "live") in report.weights
        assert any("--weights ema" in note for note in report.notes) == (kind != "ema")
        assert max(map(len, report.lines())) < 300


def test_averages_alone_are_taken_and_named(averages: State, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"ema": averages}, path)
    assert pretrained.read(None, path)[1].weights == "ema (EMA)"
    assert "only EMA weights (ema)" in refusal(path, weights="live")


@pytest.mark.parametrize("spelling", ["litema", "diffusers"])
def test_averages_that_lack_some_are_refused(spelling: str, state: State, averages: State, tmp_path: Path) -> None:
    part = dict(list(averages.items())[:20])
    torch.save(AVERAGES[spelling](state, part), tmp_path / "a.pt")
    assert "EMA weights were asked for" in refusal(tmp_path / "a.pt", "taming", weights="ema")


def test_two_sets_that_differ_are_not_chosen_between(state: State, averages: State, tmp_path: Path) -> None:
    torch.save({"student": state, "teacher": averages}, tmp_path / "a.pt")
    assert "2 different sets of live weights (student, teacher)" in refusal(tmp_path / "a.pt")
    torch.save({**state, **prefixed(averages, "module.")}, tmp_path / "a.pt")
    assert "two different tensors are called" in refusal(tmp_path / "a.pt")


# Files and folders ------------------------------------------------------------------------------------------------


def test_a_file_is_what_it_holds_not_what_it_is_called(state: State, tmp_path: Path) -> None:
    save_file(state, tmp_path / "pytorch_model.bin")
    torch.save(state, tmp_path / "a.safetensors")
    for path in tmp_path.iterdir():
        assert torch.equal(stem(pretrained.load(None, path)), state["encoder.conv_in.weight"])


def sharded(state: State, folder: Path, kind: str) -> Path:
    """As Hugging Face splits a model."""
    stem = "model" if kind == "safetensors" else "pytorch_model"
    names, where = sorted(state), {}
    for i, part in enumerate((names[::2], names[1::2]), start=1):
        file = f"{stem}-{i:05d}-of-00002.{kind}"
        (save_file if kind == "safetensors" else torch.save)({name: state[name] for name in part}, folder / file)
        where |= dict.fromkeys(part, file)
    index = folder / f"{stem}.{kind}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": where}))
    return index


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_models_in_parts(kind: str, state: State, tmp_path: Path) -> None:
    index = sharded(state, tmp_path, kind)
    for path in (tmp_path, index):
        assert torch.equal(stem(pretrained.load(None, path)), state["encoder.conv_in.weight"])
    part = tmp_path / next(iter(json.loads(index.read_text())["weight_map"].values()))
    assert "one of the 2 parts" in refusal(part)
    for wrong, said in (
        ({"a": "../x.bin"}, "in the folder of their index"),
        ({"a": "gone.bin"}, "gone.bin is missing"),
        ({"a": part.name}, "1 tensors are not in the files"),
        ({}, "no weight_map"),
        ({"a": 3}, "no weight_map"),
    ):
        index.write_text(json.dumps({"weight_map": wrong}))
        assert said in refusal(index)


def test_folders_of_training_programs(state: State, averages: State, tmp_path: Path) -> None:
    accelerate = tmp_path / "checkpoint-500"
    accelerate.mkdir()
    save_file(state, accelerate / "model.safetensors")
    torch.save({"state": {}}, accelerate / "optimizer.bin")
    (accelerate / "random_states_0.pkl").write_bytes(b"x")
    assert pretrained.read(None, accelerate)[1].weights == "the file itself (live)"
    save_file({"main.0.weight": torch.ones(2)}, accelerate / "model_1.safetensors")
    save_file(averages, accelerate / "ema.safetensors")
    assert pretrained.read(None, accelerate)[1].weights == "model.safetensors (live)"
    assert pretrained.read(None, accelerate, weights="ema")[1].weights == "ema.safetensors (EMA)"

    deepspeed = tmp_path / "run" / "global_step5"
    for step in (deepspeed, tmp_path / "run" / "global_step1", tmp_path / "last.ckpt" / "checkpoint"):
        step.mkdir(parents=True)
        torch.save({"module": state if "1" not in step.name else averages}, step / "mp_rank_00_model_states.pt")
        torch.save({}, step / "zero_pp_rank_0_mp_rank_00_optim_states.pt")
    (tmp_path / "run" / "latest").write_text("global_step5\n")
    for folder in (tmp_path / "run", deepspeed, tmp_path / "last.ckpt"):
        assert torch.equal(stem(pretrained.load(None, folder)), state["encoder.conv_in.weight"])
    (tmp_path / "run" / "latest").unlink()
    assert "global_step1, global_step5" in refusal(tmp_path / "run")
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / ".metadata").write_bytes(b"x")
    assert "join it first" in refusal(tmp_path / "shards")


def test_a_tokenizer_of_ours_is_used_as_it_is(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path / "t")
    assert "a tokenizer of tokbench's" in refusal(tmp_path / "t")


def test_tied_tensors_that_safetensors_left_out(tmp_path: Path) -> None:
    tied = torch.nn.Module()
    tied.a = torch.nn.Linear(2, 2)
    tied.b = tied.a
    save_model(tied, str(tmp_path / "t.safetensors"))
    assert sorted(read_checkpoint(tmp_path / "t.safetensors")) == ["a.bias", "a.weight", "b.bias", "b.weight"]


def zip_of(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights/model.pt", "x")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda p: p.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), "git lfs pull"),
        (lambda p: p.write_text("\n<!DOCTYPE html>\n<html>"), "a web page"),
        (lambda p: p.write_bytes(gzip.compress(b"x")), "a gzip archive"),
        (zip_of, "a zip archive of other files"),
        (lambda p: p.write_bytes(b"\x80\x02}q\x00" + b"junk" * 9), "not a checkpoint"),
        (lambda p: torch.save([torch.ones(1)], p), "holds a list"),
    ],
)
def test_what_is_called_a_checkpoint_and_is_none(write: Callable[[Path], Any], message: str, tmp_path: Path) -> None:
    write(tmp_path / "model.ckpt")
    assert message in refusal(tmp_path / "model.ckpt")


# Weights that cannot be right -------------------------------------------------------------------------------------

CONV = "encoder.conv_in.bias"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s | {CONV: s[CONV] * float("nan")}, f"{CONV}: not finite"),
        (lambda s: s | {CONV: s[CONV].half() / 0}, f"{CONV}: not finite"),
        (lambda s: s | {"quantize.embedding.weight": s["quantize.embedding.weight"] / 0}, "codebook: not finite"),
        (lambda s: {name: (t * 9).to(torch.int8) for name, t in s.items()}, "more: int8, not plain floating-point"),
        (lambda s: {name: t.to(torch.float8_e4m3fn) for name, t in s.items()}, "float8_e4m3fn, not plain"),
        (lambda s: s | {CONV: s[CONV].to("meta")}, "without values"),
        (lambda s: s | {"quantize.embedding.weight": s["quantize.embedding.weight"].to_sparse()}, "sparse"),
        (lambda s: {name: t * 0 for name, t in s.items()}, "every weight of the encoder is zero"),
        (
            lambda s: {name: t * (name[:3] in ("enc", "qua")) for name, t in s.items()},
            "every weight of the decoder is zero",
        ),
        (lambda s: s | {"quantize.embedding.weight": torch.zeros(20, 6)}, "every weight of the codebook is zero"),
        (lambda s: {name: torch.empty(0) for name in s}, "weights are empty"),
        (lambda s: s | {f"encoder.adapter.{i}": torch.ones(1) for i in range(900)}, "no place for: .* and 896 more"),
        (lambda s: s | {"quantize.project.weight": torch.ones(1)}, "no place for: quantize.project.weight"),
        (lambda s: {n: t for n, t in s.items() if "conv_out" not in n}, "no weight for encoder.conv_out.weight, dec"),
        (lambda s: {n: t for n, t in s.items() if ".up." not in n}, "missing: decoder.up.* and .* more"),
    ],
)
def test_weights_that_cannot_be_right_are_named(change: Any, message: str, state: State, tmp_path: Path) -> None:
    torch.save({"state_dict": change(dict(state))}, tmp_path / "a.ckpt")
    assert re.search(message, refusal(tmp_path / "a.ckpt"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32_and_are_told(dtype: torch.dtype, state: State, tmp_path: Path) -> None:
    large = {CONV: torch.full_like(state[CONV], 6e4)}  # all of them are finite, and their sum in float16 is not
    torch.save({name: tensor.to(dtype) for name, tensor in (state | large).items()}, tmp_path / "a.pt")
    made, report = pretrained.read(None, tmp_path / "a.pt")
    assert all(tensor.dtype in (torch.float32, torch.int64) for tensor in made.state_dict().values())
    assert any(str(dtype).removeprefix("torch.") in note for note in report.notes)


def test_what_an_import_left_over_is_counted_not_listed(state: State, tmp_path: Path) -> None:
    torch.save({**state, **{f"extra.{i}": torch.ones(1) for i in range(1000)}}, tmp_path / "a.pt")
    lines = pretrained.read(None, tmp_path / "a.pt")[1].lines()
    assert any("1000 (extra.0" in line for line in lines) and max(map(len, lines)) < 200
