"""Codes of clips: which frames they are of is kept with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_clips import make_clip_tokenizer

from tokbench.codes.cache import CodeCache
from tokbench.codes.encoding import already_written, write_codes
from tokbench.config.generator import GeneratorRecipe
from tokbench.data import open_images
from tokbench.errors import TokbenchError
from tokbench.training.generator_data import CodeData

pytest.importorskip("av")


def test_a_cache_says_which_frames_its_clips_take_and_older_ones_read_on(tmp_path: Path) -> None:
    tokenizer, settings = make_clip_tokenizer(), {"image_size": (9, 16, 16), "fps": 8.0, "limit": 4}
    clips: Any = {split: open_images("clips", split, stride=2, **settings) for split in ("train", "eval")}  # type: ignore[arg-type]
    for split, images in clips.items():
        write_codes(tokenizer, images, tmp_path / split, source="here", batch_size=2)
    cache = CodeCache(tmp_path, "eval")
    assert (cache.header.stride, cache.header.fps) == (2, 8.0)
    assert already_written(tokenizer, clips["eval"], tmp_path, source="here") == 4
    other: Any = open_images("clips", "eval", **settings)  # type: ignore[arg-type]
    with pytest.raises(TokbenchError, match="of other settings"):
        already_written(tokenizer, other, tmp_path, source="here")

    def data(**asked: Any) -> CodeData:
        source = {"source": f"codes:{tmp_path}", "image_size": [9, 16, 16], **asked}
        recipe = {
            "name": "a",
            "tokenizer": "here",
            "data": source,
            "generator": {"name": "mlm", "width": 16, "heads": 2},
        }
        return CodeData(GeneratorRecipe.model_validate(recipe), tokenizer, torch.device("cpu"))

    data(stride=2, fps=8)
    with pytest.raises(TokbenchError, match=r"data.stride=1 data.fps=null: set data.stride=2 data.fps=8") as caught:
        data()
    assert "\n" not in str(caught.value)
    for split in clips:
        header = tmp_path / split / "header.json"
        known = json.loads(header.read_text())
        header.write_text(json.dumps({key: known[key] for key in known.keys() - {"stride", "fps"}}))
    assert CodeCache(tmp_path, "eval").header.stride is None
    assert already_written(tokenizer, clips["eval"], tmp_path, source="here") == 4
    with pytest.raises(TokbenchError, match="of other settings"):
        already_written(tokenizer, other, tmp_path, source="here")
    data()
