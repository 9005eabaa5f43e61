"""The built-in emoji: what is held out is new combinations of words that are trained on."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from tokbench.data import emoji, open_images
from tokbench.data.base import Split
from tokbench.errors import TokbenchError


def captions(split: Split) -> list[str]:
    images = open_images("emoji", split, image_size=16)
    images.read_captions()
    assert images.captions is not None and not images.skipped
    return images.captions


def test_held_out_names_are_new_combinations_of_known_words() -> None:
    train, held_out = captions("train"), captions("eval")
    assert (len(train), len(held_out)) == (1317, 60) and not set(train) & set(held_out)
    words = [set(re.findall(r"\w+", name.lower())) for name in train]
    known = Counter(word for found in words for word in found)
    for name in held_out:
        found = set(re.findall(r"\w+", name.lower()))
        assert len(found) >= 2 and all(known[word] >= 3 for word in found), name
    assert {"blue heart", "red circle"} <= set(held_out) and {"red heart", "green heart"} <= set(train)


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
