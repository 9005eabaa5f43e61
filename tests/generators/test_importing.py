"""Published generators in: logits of the official code."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from tiny_tokenizer import make_tokenizer

from tokbench.errors import TokbenchError
from tokbench.generators import Generator
from tokbench.models import Tokenizer
from tokbench.pretrained import ImportReport, read_generator


def bring(source: str | None, checkpoint: Path, config: Path, tokenizer: Tokenizer) -> tuple[Generator, ImportReport]:
    return read_generator(source, checkpoint, config, tokenizer, tokenizer_source="here")


@pytest.fixture(scope="module")
def imported(golden: Path) -> Generator:
    from tokbench import pretrained

    tokenizer = pretrained.load("rqvae", golden / "rqvae.pt", golden / "rqvae.yaml")
    checkpoint, config = golden / "rqtransformer.pt", golden / "rqtransformer.yaml"
    generator, report = bring("rq-transformer", checkpoint, config, tokenizer)
    assert report.loaded == 76 and not report.left_over
    return generator


def test_rq_transformers_logits(imported: Generator, golden: Path) -> None:
    data = np.load(golden / "rqtransformer_io.npz")
    codes, labels = torch.from_numpy(data["codes"]), torch.from_numpy(data["cond"])
    with torch.no_grad():
        found = torch.stack(imported.logits(codes, labels), dim=2).view(data["logits"].shape)
    assert float((found - torch.from_numpy(data["logits"])).abs().max()) < 1e-4


def test_an_imported_generator_is_saved_and_drawn_from(imported: Generator, tmp_path: Path) -> None:
    imported.save_pretrained(tmp_path / "g")
    again = Generator.from_pretrained(tmp_path / "g")
    assert again.sha256() == imported.sha256() and again.config == imported.config
    assert torch.equal(again.generate(2, condition=[3, 9], seed=1), imported.generate(2, condition=[3, 9], seed=1))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda arch: arch["body"].update(n_layer=3), "n_layer is 3 in the configuration but 2 in the weights"),
        (lambda arch: arch.update(embed_dim=64), "embed_dim is 64"),
        (lambda arch: arch["body"]["block"].pop("n_head"), "n_head"),
        (lambda arch: arch.update(block_size=[8, 8, 2]), "the generator has 2 codes"),
    ],
)
def test_a_configuration_that_does_not_fit_is_named(golden: Path, tmp_path: Path, change: Any, said: str) -> None:
    from tokbench import pretrained

    tokenizer = pretrained.load("rqvae", golden / "rqvae.pt", golden / "rqvae.yaml")
    config = yaml.safe_load((golden / "rqtransformer.yaml").read_text())
    change(config["arch"])
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(TokbenchError, match=said):
        bring("rq-transformer", golden / "rqtransformer.pt", tmp_path / "c.yaml", tokenizer)
    with pytest.raises(TokbenchError, match="not a checkpoint in the layout of rq-transformer"):
        bring("rq-transformer", golden / "rqvae.pt", tmp_path / "c.yaml", tokenizer)


WIDTH, HEADS, LAYERS, CODES, CLASSES = 16, 2, 2, 40, 6


def random_gpt(block: int) -> dict[str, torch.Tensor]:
    """A state dict in taming's layout, random."""
    torch.manual_seed(0)
    shapes = {"tok_emb.weight": (CODES, WIDTH), "pos_emb": (1, block, WIDTH), "head.weight": (CODES, WIDTH)}
    shapes |= {f"ln_f.{p}": (WIDTH,) for p in ("weight", "bias")}
    for i in range(LAYERS):
        at = f"blocks.{i}"
        shapes |= {f"{at}.{ln}.{p}": (WIDTH,) for ln in ("ln1", "ln2") for p in ("weight", "bias")}
        for name, (rows, columns) in {
            "attn.key": (1, 1), "attn.query": (1, 1), "attn.value": (1, 1), "attn.proj": (1, 1),
            "mlp.0": (4, 1), "mlp.2": (1, 4),
        }.items():  # fmt: skip
            shapes |= {f"{at}.{name}.weight": (rows * WIDTH, columns * WIDTH), f"{at}.{name}.bias": (rows * WIDTH,)}
        shapes[f"{at}.attn.mask"] = (1, 1, block, block)
    return {f"transformer.{name}": torch.randn(shape) * 0.3 for name, shape in shapes.items()}


def gpt_logits(state: dict[str, torch.Tensor], tokens: torch.Tensor) -> torch.Tensor:
    """What minGPT computes, written out: pre-norm blocks, causal attention, logits of the next token."""
    s = {name.removeprefix("transformer."): tensor for name, tensor in state.items()}

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return x @ s[f"{name}.weight"].T + s[f"{name}.bias"]

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.layer_norm(x, (WIDTH,), s[f"{name}.weight"], s[f"{name}.bias"])

    n = tokens.shape[1]
    x = s["tok_emb.weight"][tokens] + s["pos_emb"][0, :n]
    future = torch.ones(n, n).triu(1).bool()
    for i in range(LAYERS):
        y = norm(x, f"blocks.{i}.ln1")
        heads = []
        for h in range(HEADS):
            part = slice(h * WIDTH // HEADS, (h + 1) * WIDTH // HEADS)
            q, k, v = (linear(y, f"blocks.{i}.attn.{p}")[..., part] for p in ("query", "key", "value"))
            scores = (q @ k.transpose(1, 2) / (WIDTH // HEADS) ** 0.5).masked_fill(future, -torch.inf)
            heads.append(scores.softmax(-1) @ v)
        x = x + linear(torch.cat(heads, -1), f"blocks.{i}.attn.proj")
        x = x + linear(F.gelu(linear(norm(x, f"blocks.{i}.ln2"), f"blocks.{i}.mlp.0")), f"blocks.{i}.mlp.2")
    return norm(x, "ln_f") @ s["head.weight"].T


def test_the_written_out_gpt_is_tamings_own(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("taming", reason="taming-transformers is not installed (tokbench[peers])")
    removed = types.ModuleType("transformers")  # all that its module wants of it was taken out of later versions
    removed.top_k_top_p_filtering = None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "transformers", removed)
    from taming.modules.transformer.mingpt import GPT

    state = random_gpt(16)
    official = GPT(CODES, 16, n_layer=LAYERS, n_head=HEADS, n_embd=WIDTH).eval()
    own = {name.removeprefix("transformer."): t for name, t in state.items() if not name.endswith("mask")}
    missing, extra = official.load_state_dict(own, strict=False)
    assert not extra and all(name.endswith("attn.mask") for name in missing)
    tokens = torch.randint(CODES, (3, 16))
    with torch.no_grad():
        torch.testing.assert_close(gpt_logits(state, tokens), official(tokens)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("block", [16, 40])
@pytest.mark.parametrize("conditional", [True, False])
def test_tamings_gpt(tmp_path: Path, conditional: bool, block: int) -> None:
    tokenizer = make_tokenizer({"name": "vq", "codebook_size": CODES})
    state = random_gpt(block)
    torch.save({"state_dict": {**state, "first_stage_model.quantize.x": torch.zeros(1)}}, tmp_path / "gpt.ckpt")
    condition: Any = {"target": "taming.models.cond.Labelator", "params": {"n_classes": CLASSES}}
    gpt = {"vocab_size": CODES, "n_layer": LAYERS, "n_head": HEADS, "n_embd": WIDTH}
    params = {
        "cond_stage_config": condition if conditional else "__is_unconditional__",
        "sos_token": 7,
        "transformer_config": {"target": "taming.modules.transformer.mingpt.GPT", "params": gpt},
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"model": {"params": params}}))
    generator, report = bring("taming-gpt", tmp_path / "gpt.ckpt", tmp_path / "c.yaml", tokenizer)
    assert list(report.ignored.values()) == [["first_stage_model.quantize.x"]]
    codes = torch.randint(CODES, (3, 4, 4, 1))
    first = torch.tensor([[2], [5], [0]]) if conditional else torch.full((3, 1), 7)
    tokens = torch.cat([first, codes.flatten(1)[:, :-1]], dim=1)
    labels = first[:, 0] if conditional else None
    with torch.no_grad():
        torch.testing.assert_close(generator.logits(codes, labels)[0], gpt_logits(state, tokens), rtol=1e-4, atol=1e-4)
    params["cond_stage_config"] = {"target": "taming.models.vqgan.VQSegmentationModel", "params": {}}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"model": {"params": params}}))
    with pytest.raises(TokbenchError, match="conditioned on .*VQSegmentationModel, of which it has no weights"):
        bring("taming-gpt", tmp_path / "gpt.ckpt", tmp_path / "c.yaml", tokenizer)


def test_which_importer_of_generators(imported: Generator, golden: Path) -> None:
    from tokbench import pretrained

    checkpoint, config = golden / "rqtransformer.pt", golden / "rqtransformer.yaml"
    tokenizer = pretrained.load("rqvae", golden / "rqvae.pt", golden / "rqvae.yaml")
    found, report = bring("auto", checkpoint, config, tokenizer)
    assert report.source == "rq-transformer" and found.sha256() == imported.sha256()
    for source, said in (
        ("taming-gpt", "not a checkpoint in the layout of taming-gpt; it looks like rq-transformer"),
        ("rqvae", "--tokenizer belongs to generators .*, not to rqvae"),
        ("rq-transfomer", "unknown source 'rq-transfomer' .did you mean 'rq-transformer'"),
    ):
        with pytest.raises(TokbenchError, match=said):
            bring(source, checkpoint, config, tokenizer)
    for source in ("auto", "rq-transformer"):
        with pytest.raises(TokbenchError, match="rq-transformer models the codes of a tokenizer"):
            pretrained.load(source, checkpoint, config)
