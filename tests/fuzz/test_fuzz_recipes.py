"""Recipes: any text, any structure, through the loader and the checks, and through the command line."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml
from fuzzing import EXAMPLES, VALUES, Refused, altered, damaged, fuzz, survives
from hypothesis import given, settings
from hypothesis import strategies as st

from tokbench import cli
from tokbench.config.loading import load_recipe, recipe_names
from tokbench.training.checks import check_recipe

LINES = 25  # a recipe may have many mistakes, and each has its line

SMALL = {
    "kind": "tokenizer", "name": "small", "description": "", "seed": 0, "start_from": None,
    "data": {"source": "photos", "image_size": 16, "crop": None, "flip": True, "workers": 0, "limit": 8},
    "model": {"architecture": "vqgan", "channels": 8, "multipliers": [1, 2], "blocks": 1, "norm_groups": 4,
              "attention_resolutions": [8], "middle_attention": True, "latent_channels": 8, "dropout": 0.0,
              "initialization": "default", "code_channels": None},
    "quantizer": {"name": "rq", "codebook_size": 16, "depth": 2, "shared_codebook": True},
    "loss": {"l1": 1.0, "l2": 0.0, "perceptual": {"net": "none", "weight": 1.0}, "quantizer_weight": 1.0,
             "adversarial": {"discriminator": {"name": "patchgan", "channels": 8, "layers": 2}, "start": 3,
                             "augment": ["color"]}},
    "training": {"steps": 4, "batch_size": 4, "gradient_accumulation": 1, "learning_rate": 0.001, "betas": [0.9, 0.99],
                 "schedule": "cosine", "precision": "fp32", "warmup_steps": 1, "ema_decay": 0.9},
    "evaluation": {"metrics": ["psnr"], "batch_size": 4, "by_depth": True},
}  # fmt: skip
STYLEGAN: dict[str, Any] = {**SMALL, "loss": {"adversarial": {"discriminator": {"name": "stylegan2", "channels": 8}}}}
GENERATOR = {
    "kind": "generator", "name": "small", "seed": 0, "tokenizer": "nowhere",
    "data": {"source": "photos", "image_size": 16},
    "generator": {"name": "ar", "size": None, "width": 16, "heads": 2, "layers": 1, "depth_layers": 1, "input": "codes",
                  "positions": "rotary", "dropout": 0.0, "class_conditional": False, "soft_targets": 0.5},
    "training": {"steps": 4, "batch_size": 4},
    "evaluation": {"samples": 4, "temperature": 1.0, "top_k": 3},
}  # fmt: skip
MLM = {**GENERATOR, "generator": {"name": "mlm", "width": 16, "heads": 2, "layers": 1, "label_smoothing": 0.1}}
VIT = {"architecture": "vit", "patch_size": 4, "width": 16, "depth": 1, "heads": 2, "decoder_depth": 1}
QUANTIZERS = (
    {"name": "vq", "codebook_size": 16, "codebook_dim": 4}, {"name": "lfq", "codebook_size": 16, "num_codebooks": 1},
    {"name": "fsq", "levels": [3, 3]}, {"name": "bsq", "bits": 4}, {"name": "simvq", "codebook_size": 16},
    {"name": "ibq", "codebook_size": 16}, {"name": "grouped", "quantizer": "vq", "groups": 2, "codebook_size": 8},
    {"name": "residual", "quantizer": "fsq", "depth": 2, "levels": [3, 3]},
)  # fmt: skip
MAGVIT2 = {"architecture": "magvit2", "channels": 8, "multipliers": [1, 2], "blocks": 1, "norm_groups": 4}
STRUCTURES = [
    SMALL, STYLEGAN, GENERATOR, MLM, {**SMALL, "model": VIT}, {**SMALL, "model": MAGVIT2},
    *({**SMALL, "quantizer": quantizer} for quantizer in QUANTIZERS),
]  # fmt: skip

TEXTS = [path.read_bytes() for path in recipe_names().values() if "generators" not in path.parts]
TEXTS += [b"extends: base\nname: x\n"]
WRONG = [
    b"a: &a [1, 2]\nb: &b [*a, *a]\nc: [*b, *b]\n",
    b"model: &m\n  inner: *m\n",
    b"a: &a {k: 1}\nb: &b {<<: [*a, *a]}\nc: {<<: [*b, *b]}\n",
    b"name: !!python/object/apply:os.system [touch ran]\nmodel: {architecture: vqgan}\n",
    b"name: !!binary aGVsbG8=\nseed: 0x1F\nwhen: 2001-99-99\nratio: 1:30:00\n",
    b"? [a, b]\n: 1\n",
    b"a: 1\na: 2\n",
    b"extends: self\nname: x\n",
    b"%YAML 9.9\n---\na: 1\n--- \nb: 2\n",
    b"{" * 3000,
    b"a: " + b"[" * 600 + b"]" * 600,
]  # fmt: skip
TEXTS += WRONG


def checked(path: Path) -> None:
    check_recipe(load_recipe(str(path)), str(path))


@given(content=damaged(TEXTS))
@fuzz
def test_text(space: Path, content: bytes) -> None:
    path = space / "self.yaml"
    path.write_bytes(content)
    survives(lambda: checked(path), space, "self.yaml", LINES)


@given(values=altered(STRUCTURES))
@fuzz
def test_structures(space: Path, values: Any) -> None:
    path = space / "structure.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    survives(lambda: checked(path), space, "structure.yaml", LINES)


@given(key=st.text(max_size=12) | st.sampled_from(["model.blocks", "quantizer.depth", "name", "data"]), value=VALUES)
@fuzz
def test_overrides(space: Path, key: str, value: Any) -> None:
    path = space / "base.yaml"
    path.write_text(yaml.safe_dump(SMALL))
    text = value if isinstance(value, str) else yaml.safe_dump(value, default_flow_style=True, width=10**9)
    survives(lambda: check_recipe(load_recipe(str(path), [f"{key}={text}"]), "recipe"), space, None, LINES)


@given(values=altered(STRUCTURES, most=2))
@settings(fuzz, max_examples=max(10, EXAMPLES // 5))
def test_the_command_line(space: Path, values: Any) -> None:
    path = space / "command.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    out, errors = io.StringIO(), io.StringIO()

    def run() -> int:
        arguments = ["tokbench", "train", str(path), "--dry-run", "--cpu"]
        with mock.patch.object(sys, "argv", arguments), redirect_stdout(out), redirect_stderr(errors):
            try:
                cli.main()
            except SystemExit as end:
                return int(end.code or 0)
        return 0

    code = survives(run, space)
    assert code in (0, 2)
    lines = errors.getvalue().splitlines()
    assert "Traceback" not in errors.getvalue() and 0 < len(lines) <= LINES
    assert code == 0 or all(line.startswith("tokbench: ") and len(line) < 700 for line in lines), lines


@pytest.mark.parametrize("text", WRONG)
def test_wrong_texts(space: Path, text: bytes) -> None:
    path = space / "self.yaml"
    path.write_bytes(text)
    assert isinstance(survives(lambda: checked(path), space, "self.yaml", LINES), Refused)
    assert not Path("ran").exists()


def bombs() -> dict[str, Callable[[], str]]:
    pairs = "".join(f"k{i + 1}: &k{i + 1} [*k{i}, *k{i}]\n" for i in range(40))
    merged = "".join(f"m{i + 1}: &m{i + 1} {{<<: [*m{i}, *m{i}]}}\n" for i in range(40))
    return {
        "laughs": lambda: "k0: &k0 [1]\n" + pairs,
        "merges": lambda: "m0: &m0 {a: 1}\n" + merged,
        "long": lambda: "a: " + "x" * 20_000_000,
        "keys": lambda: "".join(f"key{i}: 1\n" for i in range(2000)),
        "word": lambda: "x" * 100_000 + ": 1\n",
        "number": lambda: "seed: " + "9" * 100_000 + "\n",
    }


@pytest.mark.parametrize("name", bombs())
def test_bombs(space: Path, name: str) -> None:
    path = space / "bomb.yaml"
    path.write_text(bombs()[name]())
    assert isinstance(survives(lambda: checked(path), space, "bomb.yaml", LINES), Refused)
