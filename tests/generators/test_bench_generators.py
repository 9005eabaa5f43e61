"""The authors' transformers beside ours are the same network: loss, gradients and greedy codes, before any time."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from tokbench.bench.generators import OURS, Peer, Size, peer_of, random_input
from tokbench.cli.app import app
from tokbench.errors import TokbenchError
from tokbench.generators.ar import AR
from tokbench.generators.sampling import Sampling

SMALL = Size(width=16, heads=2, layers=1, depth_layers=1, vocabulary=12, text=5)


def pair(beside: Peer, given: bool) -> tuple[AR, Any, torch.Tensor, torch.Tensor]:
    if beside == "taming":
        pytest.importorskip("taming", reason="taming-transformers is not installed (tokbench[peers])")
    torch.manual_seed(0)
    model = SMALL.build(beside, given, "cpu")
    with torch.no_grad():
        for name, parameter in model.named_parameters():  # weights that are not timid; taming's table is one
            if parameter.dim() > 1 and "embedding.vectors" not in name and not name.startswith("condition"):
                parameter.mul_(6.0)
    codes, condition = random_input(model, 2)
    return model, peer_of(model, beside, codes, condition), codes, condition


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("beside", ["taming", "kakao"])
def test_the_peer_is_the_same_network(beside: Peer, given: bool) -> None:
    model, peer, codes, condition = pair(beside, given)
    greedy = Sampling(top_k=1)
    drawn = model.generate(2, condition=condition, sampling=greedy)
    assert torch.equal(drawn.flatten(1, -2), peer.sample(condition, greedy))
    assert drawn.unique().numel() > 1
    sequence = codes.flatten(1, -2)
    ours, theirs = model.cross_entropy(model.logits(codes, condition), sequence), peer.loss(sequence, condition)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=0)
    for loss in (ours, theirs):
        loss.backward()
    mine, its = model.body.blocks[0], (peer.gpt if beside == "taming" else peer.body).blocks[0]
    split = its.attn if beside == "taming" else its
    wanted = torch.cat([part.weight.grad for part in (split.query, split.key, split.value)])
    torch.testing.assert_close(mine.attention.qkv.weight.grad, wanted, rtol=1e-4, atol=1e-6)  # type: ignore[union-attr]
    torch.testing.assert_close(mine.mlp[0].bias.grad, its.mlp[0].bias.grad, rtol=1e-4, atol=1e-6)  # type: ignore[index, union-attr]


def test_a_filter_lets_through_what_ours_does() -> None:
    """Of few codes drawn often: the share of each, theirs against the distribution that ours draws from."""
    from tokbench.bench.kakao import drawn
    from tokbench.generators.sampling import filtered

    logits, sampling = torch.tensor([2.0, 1.0, 0.5, 0.0, -1.0]), Sampling(temperature=0.8, top_k=4, top_p=0.8)
    torch.manual_seed(0)
    found = torch.bincount(drawn(logits.expand(20_000, -1), sampling), minlength=5) / 20_000
    torch.testing.assert_close(found, filtered(logits, sampling).softmax(-1), rtol=0, atol=0.02)


def test_the_command_times_all_parts_beside_the_peer(tmp_path: Path) -> None:
    size = ["--width", "16", "--heads", "2", "--layers", "1", "--depth-layers", "1", "--vocabulary", "16"]
    asked = ["bench", "generators", "--beside", "kakao", *size, "--batch-size", "1", "--train-batch", "2"]
    out = tmp_path / "g.json"
    done = CliRunner().invoke(app, [*asked, "--turns", "1", "--cpu", "--out", str(out)], catch_exceptions=False)
    assert "sample given" in done.output and "of the time without one" in done.output
    result = json.loads(out.read_text())
    parts = [(row["part"], row["batch_size"]) for row in result["rows"]]
    assert parts == [("sample", 1), ("sample given", 1), ("train step", 2)]
    for row in result["rows"]:
        assert set(row["cpu_seconds"]) == {OURS, "kakao"} and row["codes"] == row["batch_size"] * 256
        assert row["speedup"]["lowest"] <= row["speedup"]["median"] <= row["speedup"]["highest"]
    for given in result["given"]:
        expected = given["plain"] + given["reading"] + given["attending"]
        assert given["ratio"] == pytest.approx(given["given"] / expected)
    assert result["beside"] == "kakao" and result["environment"]["cpu"] and "revision" in result["git"]


def test_what_cannot_be_timed_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = SMALL.build("kakao", False, "cpu")
    codes, condition = random_input(model, 1)
    with pytest.raises(TokbenchError, match="beside it goes only an ar with input=learned"):
        peer_of(model, "taming", codes, condition)
    gpt = SMALL.build("taming", False, "cpu")
    inputs = random_input(gpt, 1)
    with pytest.raises(TokbenchError, match="beside it goes only an ar with input=codes"):
        peer_of(gpt, "kakao", *inputs)
    with pytest.raises(TokbenchError, match="width 16 is not a multiple of heads 3"):
        Size(width=16, heads=3).build("kakao", False, "cpu")
    with monkeypatch.context() as patch:
        patch.setattr("tokbench.bench.kakao.Kakao.forward", lambda self, codes, condition: torch.ones(1, 64, 4, 12))
        with pytest.raises(TokbenchError, match="not the same network"):
            peer_of(model, "kakao", codes, condition)

    def missing(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("taming"):
            raise ImportError("No module named 'taming'")
        return real(name, *rest, **more)

    real = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(TokbenchError, match=r"pip install 'tokbench\[peers\]'"):
        peer_of(gpt, "taming", *inputs)
