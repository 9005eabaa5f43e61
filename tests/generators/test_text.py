"""A text as a condition: the official code's numbers, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from cached_steps import check_cached_steps
from typer.testing import CliRunner

from tokbench import pretrained
from tokbench.cli.app import app
from tokbench.config.condition import TextConfig
from tokbench.config.generator import ARConfig, GeneratorConfig, MLMConfig, PixelSNAILConfig
from tokbench.errors import TokbenchError
from tokbench.generators import Generator, build
from tokbench.generators.ar import AR

# Our name of a gradient, by theirs.
GRADIENTS = {
    "cond_emb": "condition.weight",
    "pos_emb_cond": "position_condition",
    "pos_emb_hw": "position",
    "input_mlp": "embedding.body_in.weight",
    "cond_classifier": "condition.classifier.weight",
    "classifier": "classifiers.0.weight",
}


@pytest.fixture(scope="module")
def imported(golden_conditional: Path, golden: Path) -> Generator:
    return bring(golden_conditional, golden, golden_conditional / "rqtransformer_text.yaml")


def bring(golden_conditional: Path, golden: Path, config: Path) -> Generator:
    tokenizer = pretrained.load("rqvae", golden / "rqvae.pt", golden / "rqvae.yaml")
    return pretrained.load_generator("auto", golden_conditional / "rqtransformer_text.pt", config, tokenizer)


@pytest.fixture(scope="module")
def data(golden_conditional: Path) -> Any:
    with np.load(golden_conditional / "rqtransformer_text_io.npz") as found:
        return {name: torch.from_numpy(found[name]) for name in found.files}


def test_logits_and_greedy_codes_are_the_official_ones(imported: Generator, data: Any) -> None:
    with torch.no_grad():
        found = torch.stack(imported.logits(data["codes"], data["text"]), dim=2).view(data["logits"].shape)
        alone = torch.stack(imported.logits(data["codes"], torch.zeros_like(data["text"])), dim=2)
    torch.testing.assert_close(found, data["logits"], rtol=1e-4, atol=1e-4)
    expected = data["logits_without_condition"]
    torch.testing.assert_close(alone.view(expected.shape), expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(imported.generate(2, condition=data["text"], temperature=0), data["greedy"])


def test_the_text_is_predicted_and_joins_the_loss_as_published(imported: Generator, data: Any) -> None:
    sequence = imported.sequence(data["codes"])
    before, _ = imported._read(sequence, imported.condition.check(data["text"], 2))
    torch.testing.assert_close(imported.condition.predicted(before), data["cond_logits"], rtol=1e-4, atol=1e-4)
    imported.zero_grad()
    loss = imported.loss(data["codes"], data["text"])
    assert float(loss.detach()) == pytest.approx(float(data["total_loss_09_01"]), rel=1e-5)
    loss.backward()
    of = {name: parameter.grad for name, parameter in imported.named_parameters()}
    for theirs, ours in GRADIENTS.items():
        expected = data[next(key for key in data if key.startswith("grad") and key.split("grad_")[-1] == theirs)]
        found = of[ours]
        assert found is not None
        torch.testing.assert_close(found.view(expected.shape), expected, rtol=1e-3, atol=1e-5)


def test_an_imported_one_is_saved_and_loaded(imported: Generator, data: Any, tmp_path: Path) -> None:
    imported.save_pretrained(tmp_path / "g")
    again = Generator.from_pretrained(tmp_path / "g")
    assert again.sha256() == imported.sha256() and again.config == imported.config
    assert "a text of up to 9 tokens, vocabulary 60" in (tmp_path / "g" / "README.md").read_text()
    text = data["text"]
    assert torch.equal(again.generate(2, condition=text, seed=1), imported.generate(2, condition=text, seed=1))


@pytest.mark.parametrize(
    ("block", "change", "said"),
    [
        ("arch", {"block_size_cond": 8}, "block_size_cond is 8 in the configuration but 9 in the weights"),
        ("arch", {"vocab_size_cond": 61}, "vocab_size_cond is 61"),
        ("loss", {"txt_weight": 0}, "txt_weight 0 and img_weight 0.9 are not numbers above 0"),
        ("loss", {"img_weight": "much"}, "img_weight 'much' are not numbers"),
    ],
)
def test_a_configuration_that_does_not_fit(
    golden_conditional: Path, golden: Path, tmp_path: Path, block: str, change: Any, said: str
) -> None:
    config = yaml.safe_load((golden_conditional / "rqtransformer_text.yaml").read_text())
    config[block] |= change
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(TokbenchError, match=said):
        bring(golden_conditional, golden, tmp_path / "c.yaml")


def make(name: str = "ar", **more: Any) -> Generator:
    torch.manual_seed(0)
    kind = {"ar": ARConfig, "mlm": MLMConfig, "pixelsnail": PixelSNAILConfig}[name]
    settings = kind.model_validate({"width": 16, "heads": 2, "layers": 1, "input": "learned"})
    text = TextConfig.model_validate({"length": 4, "vocabulary": 7, "dropout": 0.5, **more})
    return build(GeneratorConfig(generator=settings, shape=(2, 2, 2), vocabulary=(3, 3), conditioned_on=text))


def test_the_weight_of_the_texts_loss_is_a_share() -> None:
    codes, text = torch.zeros(2, 2, 2, 2, dtype=torch.int64), torch.tensor([[1, 2, 3, 0], [4, 0, 0, 0]])
    whole = make(loss_weight=0.5).eval()
    losses = []
    for weight in (0.0, 0.25, 0.5):
        model = make(loss_weight=weight).eval()
        model.load_state_dict(whole.state_dict(), strict=weight > 0)
        assert ("condition.classifier.weight" in model.state_dict()) == (weight > 0)
        with torch.no_grad():
            losses.append(float(model.loss(codes, text)))
    assert losses[1] > losses[0] and losses[1] == pytest.approx((losses[0] + losses[2]) / 2, rel=1e-5)
    one = make(length=1, loss_weight=0.5)  # one token has none before it to be predicted from
    assert "condition.classifier.weight" not in one.state_dict()
    assert bool(torch.isfinite(one.loss(codes, text[:, :1])))


def test_dropped_texts_are_padding_alone() -> None:
    model = make(pad=6).train()
    keys = torch.arange(64)
    dropped = model.condition.drop(torch.ones(64, 4, dtype=torch.int64), keys)
    lost = (dropped == 6).all(1)
    assert 16 < int(lost.sum()) < 48 and bool((dropped[~lost] == 1).all())
    assert torch.equal(model.condition.check(None, 3), torch.full((3, 4), 6))


@pytest.mark.parametrize(
    ("given", "more", "said"),
    [
        (None, {"dropout": 0.0}, "needs a text"),
        ("red heart", {}, "came without its text's tokenizer: give the ids"),
        (3, {}, r"its tokens' ids \(int64\), not 3"),
        (torch.zeros(2, 4), {}, r"its tokens' ids \(int64\)"),
        (torch.zeros(2, 5, dtype=torch.int64), {}, r"token ids \(2, 5\) for 2 images"),
        (torch.zeros(3, 4, dtype=torch.int64), {}, r"token ids \(3, 4\) for 2 images"),
        (torch.zeros(2, 4, 1, dtype=torch.int64), {}, r"token ids \(2, 4, 1\)"),
        (torch.full((2, 4), 7), {}, "token 7 is outside the text's vocabulary of 7"),
        (torch.full((2, 4), -1), {}, "token -1 is outside"),
    ],
)
def test_what_is_not_a_text_is_one_line(given: Any, more: Any, said: str) -> None:
    with pytest.raises(TokbenchError, match=said) as error:
        make(**more).eval().generate(2, condition=given)
    assert "\n" not in str(error.value)


def test_guidance_needs_a_dropout_and_a_text() -> None:
    text = torch.ones(2, 4, dtype=torch.int64)
    assert make().eval().generate(2, condition=text, guidance=2.0).shape == (2, 2, 2, 2)
    with pytest.raises(TokbenchError, match="guidance needs a text for every image"):
        make().eval().generate(2, condition=torch.zeros_like(text), guidance=2.0)
    with pytest.raises(TokbenchError, match="dropout of its condition"):
        make(dropout=0.0).eval().generate(2, condition=text, guidance=2.0)


def test_mlm_reads_a_text_and_predicts_none_of_it() -> None:
    model, text = make("mlm", loss_weight=0.0).eval(), torch.tensor([[1, 2, 3, 0]])
    assert model.generate(2, condition=text).shape == (2, 2, 2, 2)
    for name in ("mlm", "pixelsnail"):
        with pytest.raises(ValueError, match=f"{name} reads a text whole and predicts none of it; set it to 0"):
            make(name)


@pytest.mark.parametrize("wrong", [{"pad": 7}, {"length": 0}, {"loss_weight": 1.0}, {"vocabulary": 0}, {"many": 1}])
def test_settings_of_a_text(wrong: Any) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        make(**wrong)


def test_a_generator_has_one_condition() -> None:
    config = make().config.model_dump() | {"num_classes": 3}
    config["generator"]["class_conditional"] = True
    with pytest.raises(ValueError, match="a generator has one condition: classes"):
        GeneratorConfig.model_validate(config)


@pytest.mark.parametrize("name", ["ar", "mlm"])
def test_masked_padding_is_read_by_nobody(name: str) -> None:
    more = {"loss_weight": 0.0} if name == "mlm" else {"loss_weight": 0.5}
    text = torch.tensor([[3, 0, 0, 0]])
    codes = torch.randint(3, (1, 2, 2, 2), generator=torch.Generator().manual_seed(0))
    for padding in ("read", "masked"):
        model: Any = make(name, padding=padding, **more).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(4.0 if parameter.dim() > 1 else 1.0)
            # Places of padding; of ar without the last, which asks for the first code and reads what it holds itself.
            places = model.position[1:4] if name == "mlm" else model.position_condition[1:3]
            found = []
            for _ in range(2):
                found.append((model.nll(codes, text), model.loss(codes, text, keys=torch.arange(1))))
                places += torch.randn(places.shape, generator=torch.Generator().manual_seed(1)) * 3
        same = [torch.allclose(a, b, atol=1e-5) for a, b in zip(*found, strict=True)]
        assert same == [padding == "masked"] * 2
        none = torch.zeros_like(text)  # of no text the first place is read
        assert bool(torch.isfinite(model.nll(codes, none)).all())
        assert bool(torch.isfinite(model.loss(codes, none, keys=torch.arange(1))))


def test_masked_padding_in_cached_steps_and_in_parts_of_a_batch() -> None:
    model = make(padding="masked", dropout=0.0, loss_weight=0.5).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(6.0 if parameter.dim() > 1 else 1.0)
    texts = torch.tensor([[1, 2, 0, 0], [3, 0, 0, 0], [1, 2, 4, 5]])
    codes = torch.randint(3, (3, 2, 2, 2), generator=torch.Generator().manual_seed(0))
    assert isinstance(model, AR)
    check_cached_steps(model, codes, texts, before=texts.flip(0))
    with torch.no_grad():
        whole = model.loss(codes, texts, keys=torch.arange(3))
        parts = [model.loss(codes[k : k + 1], texts[k : k + 1], keys=torch.arange(k, k + 1)) for k in range(3)]
    torch.testing.assert_close(torch.stack(parts).mean(), whole)
    assert model.config.condition.describe() == "a text of up to 4 tokens, vocabulary 7, padding masked"


def test_an_import_with_its_texts_tokenizer_reads_texts(golden_conditional: Path, golden: Path, tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    words = [f"w{k}" for k in range(58)]
    vocabulary = {token: k for k, token in enumerate(["[PAD]", "[UNK]", *words])}
    model = {"type": "WordLevel", "unk_token": "[UNK]", "vocab": vocabulary}
    kept: dict[str, Any] = {"model": model, "pre_tokenizer": {"type": "Whitespace"}}
    (tmp_path / "own.json").write_text(json.dumps(kept))
    tokenizer = pretrained.load("rqvae", golden / "rqvae.pt", golden / "rqvae.yaml")
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    command = ["import", "auto", str(golden_conditional / "rqtransformer_text.pt"), "--tokenizer"]
    command += [str(tmp_path / "tokenizer"), "--config", str(golden_conditional / "rqtransformer_text.yaml")]
    told = [*command, "--out", str(tmp_path / "made"), "--text-tokenizer", str(tmp_path / "own.json")]
    done = CliRunner().invoke(app, told)
    assert done.exit_code == 0, (done.output, done.exception)
    made = Generator.from_pretrained(tmp_path / "made")
    ids = torch.tensor([[5, 6, 1, 0, 0, 0, 0, 0, 0]])
    assert torch.equal(made.condition.check("w3 w4 other", 1), ids)
    assert torch.equal(made.generate(1, condition="w3 w4 other"), made.generate(1, condition=ids))
    with pytest.raises(TokbenchError, match="knows none of its characters"):
        made.generate(1, condition="日本 ?")
    with pytest.raises(TokbenchError, match="holds bytes that are not UTF-8"):
        made.generate(1, condition="w3 \udcff")
    vocabulary.pop("w57")
    (tmp_path / "own.json").write_text(json.dumps(kept))
    again = CliRunner().invoke(app, [*told[:-3], str(tmp_path / "no"), *told[-2:]])
    assert "has 59 tokens, the generator's texts a vocabulary of 60" in str(again.exception)
    assert not (tmp_path / "no" / "config.json").exists()
