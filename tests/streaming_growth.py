"""Streams a long clip in a process of its own and prints the MiB by which it grew."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from tiny_clips import make_clip_tokenizer
from torch import Tensor

from tokbench.bench.resident import growth
from tokbench.models.streaming import decode_pieces, encode_pieces

PIECE = 16  # frames


def streamed(what: str, frames: str) -> None:
    """``what`` is ``encode`` or ``decode``; frames 1 + 16 n. Neither codes nor pixels are kept."""
    torch.set_num_threads(1)
    tokenizer, count = make_clip_tokenizer(), int(frames)

    def parts(first: Tensor, others: Tensor) -> Iterator[Tensor]:
        yield first
        for _ in range(1, (count - 1) // PIECE):
            yield others

    def run() -> None:
        if what == "decode":
            whole = torch.randint(16, (1, 1 + PIECE // 4, 16, 16, 1))
            made = sum(x.shape[2] for x in decode_pieces(tokenizer, parts(whole, whole[:, 1:])))
        else:
            video = torch.rand(1, 3, 1 + PIECE, 64, 64)
            made = 1 + 4 * sum(x.shape[1] for x in encode_pieces(tokenizer, parts(video, video[:, :, 1:]))) - 4
        assert made == count

    print(growth(run))
