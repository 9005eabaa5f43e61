"""Rejection sampling: who is kept, what a judge is, resumed to the same bits, and what cannot be judged."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from test_pipeline import pictures, saved, settings
from torch import Tensor
from typer.testing import CliRunner

from tokbench import weights
from tokbench.cli.app import app
from tokbench.cli.generating import generate_files
from tokbench.config.loading import load_recipe
from tokbench.errors import TokbenchError
from tokbench.generators import judges
from tokbench.generators.judges import Judge, load_judge
from tokbench.generators.pipeline import Pipeline
from tokbench.generators.rejection import Quota, Rejection
from tokbench.metrics import extractors, inception
from tokbench.results.store import Store
from tokbench.weights import catalogue
from tokbench.weights.convert import convert
from tokbench.weights.fetch import add
from tokbench.weights.store import content_hash


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of one of three classes that is not indifferent."""
    torch.manual_seed(0)
    network = timm.create_model("test_resnet", num_classes=3)
    torch.nn.init.normal_(network.get_classifier().weight, std=2.0)
    file = tmp_path_factory.mktemp("judge") / "three.safetensors"
    save_file(network.state_dict(), file)
    return f"timm:test_resnet={file}"


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory, rq_folder: Path) -> str:
    """The folder of one of three classes."""
    return saved(tmp_path_factory.mktemp("judged") / "g", "ar", rq_folder, classes=3)


@pytest.mark.parametrize(("n", "rate", "classes"), [(6, 0.25, 3), (7, 0.3, 3), (5, 1.0, 2), (4, 0.05, 1), (20, 0.7, 6)])
def test_of_every_class_the_same_share_is_kept_and_its_best(n: int, rate: float, classes: int) -> None:
    quota = Quota(n, rate, classes)
    draw = torch.Generator().manual_seed(0)
    found = {k: float(torch.rand((), generator=draw)) for k in range(1000)}
    kept, drawn = quota.kept(found), quota.candidates
    assert len(set(kept)) == n and set(kept) <= set(drawn) == set(Quota(n, rate / 2, classes).candidates) & set(drawn)
    for place in range(classes):
        own = [k for k in drawn if k % classes == place]
        mine = [k for k in kept if k % classes == place]
        assert len(mine) == len(range(place, n, classes)) and len(own) == -(-len(mine) // 1 * 100 // round(rate * 100))
        assert {found[k] for k in mine} == set(sorted((found[k] for k in own), reverse=True)[: len(mine)])
    assert [k % classes for k in kept] == [image % classes for image in range(n)]


def test_images_are_the_best_candidates_and_a_stopped_run_goes_on(
    tmp_path: Path, generator: str, judge: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = settings(generator, reject=0.4, judge=judge)
    assert generate_files(asked, 6, tmp_path / "a", batch_size=4) == 6
    whole, cost = pictures(tmp_path / "a"), json.loads((tmp_path / "a" / "rejection.json").read_text())
    assert (cost["drawn"], cost["kept"], cost["drawn_per_kept"], cost["reject"]) == (15, 6, 2.5, 0.4)
    assert cost["probability_kept"] > cost["probability_drawn"]

    pair, ranks = Pipeline.load(generator), load_judge(judge, 3)
    assert len(cost["judge_sha256"]) == 32 and cost["judge_sha256"] == ranks.digest
    plain = torch.cat([images for _, images in pair.stream(range(15), batch_size=4)])
    sure = ranks(plain).gather(1, torch.arange(15)[:, None] % 3)[:, 0]
    first = [max(range(place, 15, 3), key=lambda k: float(sure[k])) for place in range(3)]
    assert Quota(6, 0.4, 3).kept(dict(enumerate(sure.tolist())))[:3] == first

    calls: list[int] = []
    judging = Judge.__call__

    def stops(self: Judge, images: Tensor) -> Tensor:
        calls.append(len(images))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return judging(self, images)

    monkeypatch.setattr(Judge, "__call__", stops)
    with pytest.raises(KeyboardInterrupt):
        generate_files(asked, 6, tmp_path / "b", batch_size=4)
    (tmp_path / "b" / "candidates" / "000000000.npz").write_bytes(b"damaged")
    assert generate_files(asked, 6, tmp_path / "b", batch_size=4) == 6
    assert calls[3:] == [4, 4, 3] and pictures(tmp_path / "b") == whole  # the second batch was judged before
    with pytest.raises(TokbenchError, match=r"drawn otherwise \(n differ\)"):
        generate_files(asked, 7, tmp_path / "b", batch_size=4)
    (tmp_path / "b" / "000004.png").unlink()
    assert generate_files(asked, 6, tmp_path / "b", batch_size=4) == 1 and pictures(tmp_path / "b") == whole


def test_a_grey_and_an_oblong_image_are_judged(judge: str) -> None:
    ranks = load_judge(judge, 3)
    image = torch.randint(256, (2, 1, 20, 33), dtype=torch.uint8)
    found = ranks(image)
    torch.testing.assert_close(found.sum(1), torch.ones(2))
    torch.testing.assert_close(found, ranks(image.expand(-1, 3, -1, -1)))
    with pytest.raises(TokbenchError, match="looks at images"):
        ranks(torch.zeros(1, 4, 8, 8, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"reject": 0.5}, "--reject and --judge go together"),
        ({"judge": "efficientnet-lite0"}, "--reject and --judge go together"),
        ({"reject": 0.0, "judge": "own"}, "--reject 0: the share that is kept, above 0 and at most 1"),
        ({"reject": 1.5, "judge": "own"}, "--reject 1.5"),
        ({"reject": 1e-9, "judge": "own"}, "6 images of 6.0e.09 drawn: too many"),
        ({"reject": float("nan"), "judge": "own"}, "--reject nan"),
        ({"reject": 0.5, "judge": "own", "classes": (-1,)}, "knows no image without a class"),
        ({"reject": 0.5, "judge": "own", "n": 2}, "2 images of 3 classes are less than one of each"),
        ({"reject": 0.5, "judge": "inception-fid"}, "gFID and the Inception Score measure with this network"),
        ({"reject": 0.5, "judge": "timm:inception_v3.tf_in1k"}, "measure with this network"),
        ({"reject": 0.5, "judge": "efficientnet-lite3"}, "no such judge .did you mean 'efficientnet-lite"),
        ({"reject": 0.5, "judge": "efficientnet-lite0"}, "tokbench weights get efficientnet-lite0"),
        ({"reject": 0.5, "judge": "timm:resnet5"}, "timm has no model 'resnet5'"),
        ({"reject": 0.5, "judge": "timm:test_resnet=none.pth"}, "none.pth: no such file"),
        ({"reject": 0.5, "judge": "other"}, "knows 5 classes, and the generator draws 3"),
        ({"reject": 0.5, "judge": "wrong"}, "the weights do not fit"),
        ({"reject": 0.5, "judge": "own", "image": Path("x.png")}, "--image and --reject"),
        ({"reject": 0.5, "judge": "own", "conditions": (Path("x.png"),)}, "--condition and --reject"),
        ({"reject": 0.5, "judge": "own", "classes": (1,), "texts": ("a",)}, "--class and --text: a generator has one"),
    ],
)
def test_what_cannot_be_judged_is_one_line(
    tmp_path: Path, generator: str, judge: str, changes: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKBENCH_CACHE", str(tmp_path / "cache"))
    name, n = changes.get("judge"), changes.get("n", 6)
    if name in ("other", "wrong"):
        network = timm.create_model("test_resnet", num_classes=5 if name == "other" else 3)
        state = network.state_dict() if name == "other" else dict(list(network.state_dict().items())[:-3])
        torch.save(state, tmp_path / "x.pth")
    names = {"own": judge} | dict.fromkeys(("other", "wrong"), f"timm:test_resnet={tmp_path / 'x.pth'}")
    values = {key: value for key, value in changes.items() if key != "n"} | {"judge": names.get(name, name)}
    with pytest.raises(TokbenchError, match=said):
        generate_files(settings(generator, **values), n, tmp_path / "out")
    assert not (tmp_path / "out" / "settings.json").exists()


def test_a_generator_without_classes_is_one_line(tmp_path: Path, rq_folder: Path, judge: str) -> None:
    generator = saved(tmp_path / "g", "ar", rq_folder)
    with pytest.raises(TokbenchError, match="the generator's condition is unconditional"):
        generate_files(settings(generator, reject=0.5, judge=judge), 6, tmp_path / "out")
    with pytest.raises(TokbenchError, match="unconditional"):
        Rejection.open(Pipeline.load(generator), judge, tmp_path / "c", n=6, rate=0.5)


def test_weights_of_packages_come_under_timms_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file as published, with other numbers in it, whose hash stands in for the catalogue's."""
    monkeypatch.setenv("TOKBENCH_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    network = timm.create_model("tf_efficientnet_lite0")
    published = {f"_layer{i}": tensor for i, tensor in enumerate(network.state_dict().values())}
    torch.save(published, tmp_path / "lite.pth")
    entry = catalogue.entry("efficientnet-lite0")
    found = convert(entry, tmp_path / "lite.pth")
    assert list(found) == list(network.state_dict())
    monkeypatch.setitem(
        catalogue.ENTRIES, "efficientnet-lite0", dataclasses.replace(entry, content=content_hash(found))
    )
    add("efficientnet-lite0", tmp_path / "lite.pth")
    ranks = load_judge("efficientnet-lite0", 1000)
    image = torch.randint(256, (1, 3, 40, 40), dtype=torch.uint8)
    x = ranks.prepared(image)
    assert x.shape == (1, 3, 224, 224) and float(x.min()) >= -127 / 128 - 1e-6
    with torch.no_grad():
        torch.testing.assert_close(ranks(image), network.eval()(x).softmax(-1))
    assert judges.PACKAGED[0] == ranks.name
    with pytest.raises(TokbenchError, match="knows 1000 classes, and the generator draws 3"):
        load_judge("efficientnet-lite0", 3)
    torch.save(dict(list(published.items())[:-1]), tmp_path / "short.pth")
    with pytest.raises(TokbenchError, match="its layers are not those of efficientnet-lite0"):
        convert(entry, tmp_path / "short.pth")


class TwoColours:
    """A feature space in the place of Inception's."""

    name, dim, digest = "inception-fid", 2, "two"

    def __call__(self, images: Tensor) -> Tensor:
        return images.float().mean((2, 3))[:, :2]


def test_a_curve_of_rates_is_a_record_each(
    tmp_path: Path, generator: str, judge: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Candidates of one rate are drawn once for all; the record says rate, judge and cost."""
    monkeypatch.setenv("TOKBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(extractors._FACTORIES, inception.NAME, lambda device: TwoColours())
    monkeypatch.setattr(weights, "find", lambda name: Path(name))
    seen: list[int] = []
    judging = Judge.__call__
    monkeypatch.setattr(Judge, "__call__", lambda self, x: seen.append(len(x)) or judging(self, x))  # type: ignore[func-returns-value]
    asked = ["--data", "photos", "--limit", "8", "-n", "6", "--metrics", "gfid", "--batch-size", "4", "--cpu"]
    rates = ["--reject", "1", "--reject", "0.5", "--judge", judge, "--out", str(tmp_path)]
    found = CliRunner().invoke(app, ["evaluate-generator", generator, *asked, *rates])
    assert found.exit_code == 0, found.exception
    plain, best = Store(tmp_path / "runs.jsonl").read()
    assert plain.timing["rate"] == best.timing["rate"]  # no rate of acceptance changes what codes cost: found once
    assert plain.metrics["model_bpp"] == best.metrics["model_bpp"]
    assert plain.metrics["gfid"].value != best.metrics["gfid"].value and plain.cell != best.cell
    assert "12 drawn, 2 for each" in found.output and sum(seen) == 12 and best.name.endswith(f"0.5 kept by {judge}")
    assert best.recipe["evaluation"]["reject"] == 0.5 and best.recipe["evaluation"]["judge"] == judge
    cost = best.timing["rejection"]
    assert (cost["drawn"], cost["kept"], cost["drawn_per_kept"]) == (12, 6, 2.0)
    assert cost["probability_kept"] > plain.timing["rejection"]["probability_kept"]
    mistakes = (
        (["--reject", "0.5"], "reject and judge go together"),
        (["--reject", "2", "--judge", judge], "reject: "),
        (["--reject", "0.5", "--judge", "inception-fid"], "measure with this network"),
    )
    for wrong, said in mistakes:
        failed = CliRunner().invoke(app, ["evaluate-generator", generator, *asked, *wrong])
        assert failed.exit_code and said in str(failed.exception)


def test_a_recipe_that_draws_nothing_has_nothing_to_choose_from() -> None:
    asked = ["evaluation.reject=0.5", "evaluation.judge=efficientnet-lite0", "evaluation.metrics=[]"]
    with pytest.raises(TokbenchError, match="no metric asks for any: add one"):
        load_recipe("generators/demo-ar", [*asked, "generator.class_conditional=true"])
