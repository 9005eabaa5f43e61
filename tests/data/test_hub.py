"""The hub without a network: a folder in its layout, a stand-in for the loader, and what is said when it is away."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from data_pictures import encoded, picture

from tokbench.data import hub as hub_module
from tokbench.data import loader, open_images
from tokbench.errors import TokbenchError, TokbenchWarning

pytestmark = pytest.mark.usefixtures("own_hub_cache")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokbench.hub.answers", lambda endpoint: False)


def table(count: int, image: str = "image", label: str | None = "label") -> Any:
    import datasets

    rows: dict[str, list[Any]] = {image: [{"bytes": encoded(picture(k)), "path": None} for k in range(count)]}
    features: dict[str, Any] = {image: datasets.Image()}
    if label:
        rows[label] = [k % 2 for k in range(count)]
        features[label] = datasets.ClassLabel(names=["even", "odd"])
    return datasets.Dataset.from_dict(rows, features=datasets.Features(features))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], list[tuple[Any, ...]]]:
    """Stands in for the hub: ``hub({"train": rows})`` answers every name with these splits and notes what was asked."""

    def install(splits: dict[str, Any]) -> list[tuple[Any, ...]]:
        import datasets

        asked: list[tuple[Any, ...]] = []

        def load(path: str, name: str | None = None, *, split: str, streaming: bool = False) -> Any:
            asked.append((path, name, split))
            return splits[split].to_iterable_dataset(num_shards=3) if streaming else splits[split]

        monkeypatch.setattr("tokbench.hub.answers", lambda endpoint: True)
        monkeypatch.setattr(datasets, "load_dataset", load)
        monkeypatch.setattr(datasets, "get_dataset_split_names", lambda path, name=None: list(splits))
        return asked

    return install


def test_known_names(hub: Callable[..., list[tuple[Any, ...]]]) -> None:
    asked = hub({"train": table(6, "img"), "test": table(4, "img"), "validation": table(3, "img")})
    images = open_images("hub:cifar10", "eval", image_size=8)
    assert asked == [("uoft-cs/cifar10", None, "test")]
    assert len(images) == 4 and images.classes == ["even", "odd"] and images[3]["label"] == 1


def test_ffhq_is_divided_at_its_row(hub: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    known = hub_module.KNOWN["ffhq"]
    assert known.held_out_from == 60_000
    monkeypatch.setitem(hub_module.KNOWN, "ffhq", dataclasses.replace(known, held_out_from=7))
    hub({"train": table(10, label=None)})
    assert [len(open_images("hub:ffhq", s, image_size=8)) for s in ("train", "eval")] == [7, 3]
    assert open_images("hub:ffhq", "eval", image_size=8)[0]["id"] == "7"


def test_splits_of_other_names(hub: Callable[..., list[tuple[Any, ...]]]) -> None:
    asked = hub({"train": table(20), "test": table(4)})
    assert len(open_images("hub:me/mine:small", "eval", image_size=8)) == 4
    assert asked[-1] == ("me/mine", "small", "test")
    hub({"train": table(20)})
    sizes = [len(open_images("hub:me/mine", s, image_size=8)) for s in ("train", "eval")]
    assert sum(sizes) == 20 and min(sizes) >= 1
    hub({"test": table(4)})
    with pytest.raises(TokbenchError, match="no train split .it has: test"):
        open_images("hub:me/mine", "train", image_size=8)


def test_streaming(hub: Callable[..., Any]) -> None:
    hub({"train": table(23), "validation": table(5)})
    stream = open_images("hub:me/mine:streaming", "train", image_size=8)
    seen = [i for b in loader(stream, batch_size=4, shuffle=True, seed=0) for i in b["id"]]
    assert len(seen) == len(set(seen)) == 23
    with pytest.raises(TokbenchError, match="eval_limit"):
        open_images("hub:me/mine:streaming", "eval", image_size=8)
    held_out = open_images("hub:me/mine:streaming", "eval", image_size=8, limit=3)
    assert len(held_out) == 3 and held_out.classes == ["even", "odd"]


def test_text_labels_are_numbered_over_all_splits(hub: Callable[..., Any]) -> None:
    import datasets

    def named(labels: list[str]) -> Any:
        rows = {"image": [{"bytes": encoded(picture(k)), "path": None} for k in range(len(labels))], "label": labels}
        features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")})
        return datasets.Dataset.from_dict(rows, features=features)

    hub({"train": named(["cat", "dog", "cat"]), "validation": named(["dog"])})
    held_out = open_images("hub:me/mine", "eval", image_size=8)
    assert held_out.classes == ["cat", "dog"] and held_out[0]["label"] == 1
    with pytest.warns(TokbenchWarning, match="leave :streaming out"):
        stream = open_images("hub:me/mine:streaming", "train", image_size=8)
    (batch,) = loader(stream, batch_size=3, shuffle=False, seed=0)
    assert batch["label"].tolist() == [-1, -1, -1]


@pytest.mark.usefixtures("offline")
def test_a_folder_in_the_hubs_layout(folder_of: Callable[..., Path]) -> None:
    root = folder_of({"train/a/1": 1, "train/b/2": 2, "test/a/3": 3})
    images = open_images(f"hub:{root}", "train", image_size=8)
    assert len(images) == 2 and images.classes == ["a", "b"] and [images[i]["label"] for i in range(2)] == [0, 1]
    assert len(open_images(f"hub:{root}", "eval", image_size=8)) == 1


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    "spec, message", [("hub:cifar10", "folder:PATH"), ("hub:imagenet-1k", "gated"), ("hub:x/y", "cache")]
)
def test_without_a_network_one_line(spec: str, message: str) -> None:
    import datasets
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    with pytest.raises(TokbenchError, match=message) as caught:
        open_images(spec, "train", image_size=8)
    assert "\n" not in str(caught.value) and spec in str(caught.value)
    assert (constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE) == before


def test_gated_and_unknown(hub: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def failing(error: Exception) -> None:
        hub({"train": table(1)})

        def load(*_: Any, **__: Any) -> Iterator[Any]:
            raise error

        monkeypatch.setattr(datasets, "load_dataset", load)

    failing(datasets.exceptions.DatasetNotFoundError("Dataset 'ILSVRC/imagenet-1k' is a gated dataset on the Hub."))
    with pytest.raises(TokbenchError, match="hf auth login"):
        open_images("hub:imagenet-1k", "train", image_size=8)
    failing(datasets.exceptions.DatasetNotFoundError("Dataset 'a/b' doesn't exist on the Hub"))
    with pytest.raises(TokbenchError, match="known names: cifar10"):
        open_images("hub:a/b", "train", image_size=8)
    for spec in ("hub:", "hub::streaming", "hub:a:b:c"):
        with pytest.raises(TokbenchError, match="hub:NAME"):
            open_images(spec, "train", image_size=8)
