"""A CLIP as the judge of images drawn of texts: its scores are transformers', the best of each text are kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from sweeps_tiny import grid
from test_pipeline import saved, settings
from typer.testing import CliRunner

from tokbench.cli.app import app
from tokbench.cli.generating import generate_files
from tokbench.config.generator import ARConfig, GeneratorRecipe
from tokbench.errors import TokbenchError
from tokbench.generators import for_tokenizer
from tokbench.generators.judges import check_judge
from tokbench.generators.pipeline import Pipeline
from tokbench.generators.rejection import check_ranks
from tokbench.generators.text_judge import load_text_judge
from tokbench.models import Tokenizer
from tokbench.results.store import Store
from tokbench.sweeps.run import run_sweep

tokenizers = pytest.importorskip("tokenizers")
TEXTS = ("red square", "blue square")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of one of 12-pixel images with random weights, made and saved by its own classes."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("clip") / "tiny"
    folder.mkdir()
    letters = sorted({*"redblusqa"})
    words = {name: i for i, name in enumerate([*letters, *(f"{a}</w>" for a in letters)])}
    words |= {"<|startoftext|>": len(words), "<|endoftext|>": len(words) + 1}
    (folder / "vocab.json").write_text(json.dumps(words))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    small: Any = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {"bos_token_id": len(words) - 2, "eos_token_id": len(words) - 1, "pad_token_id": len(words) - 1}
    torch.manual_seed(0)
    config = transformers.CLIPConfig(
        text_config={**small, **ends, "vocab_size": len(words), "max_position_embeddings": 16},
        vision_config={**small, "image_size": 12, "patch_size": 4},
        projection_dim=8,
    )
    network = transformers.CLIPModel(config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(8.0)  # or it is indifferent
    network.save_pretrained(folder)
    transformers.CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt")).save_pretrained(folder)
    size = {"size": {"shortest_edge": 12}, "crop_size": {"height": 12, "width": 12}}
    transformers.CLIPImageProcessor(**size).save_pretrained(folder)
    return f"clip:{folder}"


@pytest.fixture(scope="module")
def drawer(tmp_path_factory: pytest.TempPathFactory, rq_folder: Path) -> str:
    """The folder of a generator of texts."""
    root = tmp_path_factory.mktemp("drawer")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0, "red": 1, "blue": 2, "square": 3}, "[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(root / "words.json"))
    torch.manual_seed(0)
    text = {"tokenizer": str(root / "words.json"), "length": 3}
    config = ARConfig.model_validate({"width": 16, "heads": 2, "layers": 1, "text": text})
    tokenizer = Tokenizer.from_pretrained(rq_folder)
    for_tokenizer(config, tokenizer, source=str(rq_folder), image_size=16).save_pretrained(root / "g")
    return str(root / "g")


def test_scores_are_the_cosines_of_transformers(clip: str) -> None:
    from transformers import AutoProcessor, CLIPModel

    ranks = load_text_judge(clip)
    images = torch.randint(256, (3, 3, 12, 12), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    asked = ["blue square", "red square", "blue square"]
    folder = clip.removeprefix("clip:")
    model, processor = CLIPModel.from_pretrained(folder).eval(), AutoProcessor.from_pretrained(folder)
    given = processor(text=list(TEXTS), images=list(images), return_tensors="pt", padding=True)
    with torch.no_grad():
        out = model(**given)
    cosines = out.logits_per_image / model.logit_scale.exp()
    expected = cosines[torch.arange(3), torch.tensor([1, 0, 1])]
    torch.testing.assert_close(ranks.sure(images, asked), expected, rtol=1e-4, atol=1e-5)
    assert float(expected.std()) > 1e-3 and len(ranks.digest) == 32
    assert ranks.sure(images[:1, :1], ["red square " * 40]).shape == (1,)  # grey, and a text too long


def test_the_best_of_each_text_are_kept(clip: str, drawer: str, tmp_path: Path) -> None:
    asked = settings(drawer, reject=0.5, judge=clip, texts=TEXTS)
    assert generate_files(asked, 4, tmp_path / "a", batch_size=3) == 4
    cost = json.loads((tmp_path / "a" / "rejection.json").read_text())
    assert (cost["drawn"], cost["kept"], cost["judge"]) == (8, 4, clip)
    pair, ranks = Pipeline.load(drawer), load_text_judge(clip)
    drawn = torch.cat([images for _, images in pair.stream(range(8), conditions=TEXTS, batch_size=3)])
    sure = ranks.sure(drawn, [TEXTS[k % 2] for k in range(8)])
    best = [sorted(range(place, 8, 2), key=lambda k: -float(sure[k]))[:2] for place in range(2)]
    assert cost["cosine_kept"] == pytest.approx(float(sure[best[0] + best[1]].mean()), abs=1e-4)
    assert cost["cosine_kept"] > cost["cosine_drawn"]
    twice = settings(drawer, reject=0.5, judge=clip, texts=(*TEXTS, TEXTS[0]))  # once each, under its own heading
    generate_files(twice, 4, tmp_path / "b", batch_size=3)
    assert (tmp_path / "b" / "grid.png").read_bytes() == (tmp_path / "a" / "grid.png").read_bytes()


def test_the_captions_of_held_out_images_are_judged_in_turn(clip: str, drawer: str, tmp_path: Path) -> None:
    """Two images of one caption and a caption longer than the generator reads; fewer images than captions too."""
    captions = ["red square", "blue square", "red square", "blue square red square"]
    for k, caption in enumerate(captions):
        Image.new("RGB", (16, 16), (60 * k, 0, 0)).save(tmp_path / f"{k}.png")
        (tmp_path / f"{k}.txt").write_text(caption)
    command = ["evaluate-generator", drawer, "--data", f"folder:train={tmp_path},eval={tmp_path}", "--cpu"]
    command += ["--metrics", "chd", "--judge", clip, "--out", str(tmp_path), "--batch-size", "3"]
    found = CliRunner().invoke(app, [*command, "-n", "5", "--reject", "1", "--reject", "0.5"])
    assert found.exit_code == 0, found.exception
    whole, half = (record.timing["rejection"] for record in Store(tmp_path / "runs.jsonl").read())
    assert (whole["drawn"], half["drawn"], half["kept"], half["judge"]) == (5, 10, 5, clip)
    pair, ranks = Pipeline.load(drawer), load_text_judge(clip)
    read = [*captions[:3], "blue square red"]
    drawn = torch.cat([images for _, images in pair.stream(range(16), conditions=read, batch_size=3)])
    sure = ranks.sure(drawn, [captions[k % 4] for k in range(16)])
    best = [max(range(place, 8, 4), key=lambda k: float(sure[k])) for place in range(1, 4)]
    best += sorted(range(0, 16, 4), key=lambda k: -float(sure[k]))[:2]
    assert half["cosine_kept"] == pytest.approx(float(sure[best].mean()), abs=1e-4)
    assert half["cosine_kept"] > half["cosine_drawn"]
    few = CliRunner().invoke(app, [*command, "-n", "2", "--reject", "0.5"])
    assert few.exit_code == 0 and "4 drawn, 2 for each" in few.output


def test_a_sweep_keeps_what_the_judge_is_surest_of(clip: str, tmp_path: Path) -> None:
    """From tokenizer to record, and again without drawing anew; a judge that is not there ends it before training."""
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0, "heart": 1}, "[UNK]"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    words.save(str(tmp_path / "words.json"))

    def asked(judge: str) -> Any:
        text = f"generator.text={{tokenizer: {tmp_path}/words.json, length: 2, loss_weight: 0.0}}"
        rejecting = ["evaluation.reject=0.5", f"evaluation.judge={judge}", "evaluation.samples=20"]
        of = [text, "generator.depth_layers=0", "evaluation.metrics=[]", *rejecting]
        data = ["data.source=emoji", "data.eval_limit=20"]
        return grid("vq", set=data, depth=[], set_generator=of, generator=["ar"], out=tmp_path / "out")

    with pytest.raises(TokbenchError, match="evaluation.judge clip:/none/x: /none/x: no such folder"):
        run_sweep(asked("clip:/none/x"))
    assert not (tmp_path / "out").exists()
    assert run_sweep(asked(clip)) == 0 == run_sweep(asked(clip))
    _, record = Store(tmp_path / "out" / "runs.jsonl").read()
    cost = record.timing["rejection"]
    assert (cost["judge"], cost["drawn"], cost["kept"]) == (clip, 40, 20)
    assert cost["cosine_kept"] > cost["cosine_drawn"] and record.metrics["retrieval_20"].n == 20


def test_a_recipe_names_the_judge_of_its_condition() -> None:
    values: dict[str, Any] = {"name": "x", "tokenizer": "t", "evaluation": {"reject": 0.5, "judge": "clip:x"}}
    text = {"name": "ar", "text": {"tokenizer": "w.json"}}
    assert GeneratorRecipe.model_validate({**values, "generator": text}).evaluation.judge == "clip:x"
    for generator, judge, said in (
        ({"name": "ar", "class_conditional": True}, "clip:x", "set generator.text"),
        ({"name": "pixelsnail"}, "clip:x", "set generator.text"),
        (text, "efficientnet-lite0", "set generator.class_conditional, or judge clip:NAME"),
        ({"name": "ar"}, "timm:resnet18", "set generator.class_conditional"),
    ):
        asked = {"generator": generator, "evaluation": {"reject": 0.5, "judge": judge}}
        with pytest.raises(ValidationError, match=said):
            GeneratorRecipe.model_validate({**values, **asked})


def test_what_no_text_judge_can_rank_is_one_line(clip: str, drawer: str, tmp_path: Path, rq_folder: Path) -> None:
    classes = saved(tmp_path / "g", "ar", rq_folder, classes=3)
    (tmp_path / "empty").mkdir()
    wrong: list[tuple[str, dict[str, Any], str]] = [
        (drawer, {"judge": clip}, "give --text"),
        (drawer, {"judge": clip, "texts": TEXTS, "n": 1}, "1 images of 2 texts are less than one of each"),
        (drawer, {"judge": f"clip:{tmp_path / 'empty'}", "texts": TEXTS}, "cannot be read as a CLIP of transformers"),
        (drawer, {"judge": "timm:test_resnet", "texts": TEXTS}, "--judge clip:NAME ranks by texts"),
        (classes, {"judge": clip}, "ranks images by their texts, and the generator's condition is 3 classes"),
    ]
    for generator, changes, said in wrong:
        n = changes.pop("n", 4)
        with pytest.raises(TokbenchError, match=said):
            generate_files(settings(generator, reject=0.5, **changes), n, tmp_path / "out")
    assert not (tmp_path / "out" / "settings.json").exists()
    with pytest.raises(TokbenchError, match="evaluation.judge clip:/none/x: /none/x: no such folder"):
        check_ranks("clip:/none/x", "evaluation.judge")
    with pytest.raises(TokbenchError, match="loss.logits.net clip:x: ranks by texts; a classifier is one of"):
        check_judge("clip:x", "loss.logits.net")
