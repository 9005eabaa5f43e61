"""The built-in emoji: what is held out is new combinations of words that are trained on."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from tokbench.data import emoji, open_images
from tokbench.data.base import Split
from tokbench.errors import TokbenchError


def captions(split: Split, source: str = "emoji") -> list[str]:
    images = open_images(source, split, image_size=16)
    images.read_captions()
    assert images.captions is not None and not images.skipped
    return images.captions


@pytest.mark.parametrize(("source", "count"), [("emoji", 60), ("emoji:1", 57)])
def test_held_out_names_are_new_combinations_of_known_words(source: str, count: int) -> None:
    train, held_out = captions("train", source), captions("eval", source)
    assert (len(train), len(held_out)) == (1377 - count, count) and not set(train) & set(held_out)
    words = [set(re.findall(r"\w+", name.lower())) for name in train]
    known = Counter(word for found in words for word in found)
    for name in held_out:
        found = set(re.findall(r"\w+", name.lower()))
        assert len(found) >= 2 and all(known[word] >= 3 for word in found), name
    if source == "emoji":
        assert {"blue heart", "red circle"} <= set(held_out) and {"red heart", "green heart"} <= set(train)
    else:
        assert not set(held_out) & set(captions("eval")) and held_out != captions("eval", "emoji:2")


@pytest.mark.parametrize("rest", ["0", "x", "1,2", "-1"])
def test_what_draws_no_names_is_one_line(rest: str) -> None:
    with pytest.raises(TokbenchError, match=f"emoji:{rest}: after the colon stands a number from 1 on"):
        open_images(f"emoji:{rest}", "eval", image_size=16)


def test_a_glyph_goes_with_its_name() -> None:
    for split, name, strongest in (("train", "green heart", 1), ("eval", "blue heart", 2), ("train", "red heart", 0)):
        images = open_images("emoji", split, image_size=32)  # type: ignore[arg-type]
        where = captions(split).index(name)  # type: ignore[arg-type]
        sample = images[where]
        assert sample["id"].startswith(name) and int(sample["image"][:, 12, 16].argmax()) == strongest


def test_a_sheet_that_is_not_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emoji, "FOLDER", tmp_path)
    with pytest.raises(TokbenchError, match="captions.tsv is missing; reinstall the package"):
        open_images("emoji", "eval", image_size=16)
    (tmp_path / "captions.tsv").write_text("copyright\teval\n")
    with pytest.raises(TokbenchError, match="captions.tsv is not the file that tokbench ships"):
        open_images("emoji", "eval", image_size=16)
