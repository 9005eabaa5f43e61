"""Clips drawn from given frames, and on for as long as is wanted: frame prediction and sliding in time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tokbench.config.grid import axes
from tokbench.config.video_model import VideoArchitecture
from tokbench.data.clip_view import ClipView
from tokbench.data.pixels import to_float
from tokbench.errors import TokbenchError, counted
from tokbench.generators.pipeline import Pipeline
from tokbench.generators.sampling import Sampling


@dataclass(frozen=True)
class Films:
    """How clips of ``frames`` frames are drawn of a generator of shorter ones.

    A window is drawn; then its last ``kept`` frames are encoded as the first of the next one, and so on. They are
    encoded anew because a causal tokenizer's first latent is of one frame without a past, which no later latent is:
    codes that were moved to the front would mean something else there.

    Attributes:
        kept: frames that are given, of ``given`` at the start and of the window before later on.
        given: uint8 (C, kept, H, W); None where the first window starts from nothing.

    Raises:
        TokbenchError: a generator of images, frames that are no whole positions, or another number than it was trained
            to continue.
    """

    pair: Pipeline
    frames: int
    kept: int
    given: Tensor | None = None

    def __post_init__(self) -> None:
        need_clips(self.pair)
        trained = self.pair.generator.config.generator.frames
        if trained and self.kept != trained:
            raise TokbenchError(
                f"the generator continues {trained} frames, not {self.kept}: give --given-frames {trained}"
            )
        if not 0 < self.kept < self.window:
            raise TokbenchError(
                f"--given-frames {self.kept}: between 1 and {self.window - 1}, as clips have {self.window} frames"
            )
        try:
            self.pair.tokenizer.grid((self.kept, *axes(self.pair.image_size)[1:]))
        except ValueError as error:
            raise TokbenchError(f"--given-frames: {error}") from None
        if self.frames < 1:
            raise TokbenchError(f"--frames {self.frames}: at least 1")

    @property
    def window(self) -> int:
        """Frames of the clips that the generator models."""
        return axes(self.pair.image_size)[0]

    def draw(
        self, first: int, n: int, *, condition: Tensor | None = None, seed: int = 0, sampling: Sampling | None = None
    ) -> Tensor:
        """Clips ``first`` .. ``first + n - 1`` of ``seed``: uint8 (n, C, ``frames``, H, W)."""
        start = None if self.given is None else self.given[None].expand(n, -1, -1, -1, -1)
        film = self._window(0, first, n, start, condition, seed, sampling)
        number = 0
        while film.shape[2] < self.frames:
            number += 1
            more = self._window(number, first, n, film[:, :, -self.kept :], condition, seed, sampling)
            film = torch.cat([film, more[:, :, self.kept :]], dim=2)
        return film[:, :, : self.frames]

    def _window(
        self,
        number: int,
        first: int,
        n: int,
        start: Tensor | None,
        condition: Tensor | None,
        seed: int,
        sampling: Sampling | None,
    ) -> Tensor:
        pair, generator = self.pair, self.pair.generator
        codes = mask = None
        if start is not None:
            codes = pair.encode(to_float(start))
            if generator.settled:
                condition, codes = codes, None
            else:
                mask = torch.zeros(generator.grid, dtype=torch.bool)
                mask[: codes.shape[1]] = True
                rest = codes.new_zeros(n, generator.grid[0] - codes.shape[1], *codes.shape[2:])
                codes = torch.cat([codes, rest], dim=1)
        drawn = generator.generate(
            n,
            condition=condition,
            seed=seed + (number << 40),  # other noise in every window
            first=first,
            sampling=sampling,
            given=codes,
            mask=mask,
        )
        return pair.decode(drawn)


def need_clips(pair: Pipeline) -> None:
    """TokbenchError for a generator of images, or a tokenizer whose first codes are not those of the frames alone."""
    model = pair.tokenizer.config.model
    if len(axes(pair.image_size)) != 3 or not isinstance(model, VideoArchitecture):
        raise TokbenchError("frames are given to and drawn by generators of clips; this one draws images")
    if not model.encodes_causally:
        raise TokbenchError("the tokenizer's first codes depend on later frames (norm_over is clip): none can be given")


def usual_kept(pair: Pipeline) -> int:
    """Frames to continue from where nobody says: those the generator was trained with, else half of its positions."""
    need_clips(pair)
    if frames := pair.generator.config.generator.frames:
        return frames
    stride = pair.tokenizer.config.model.factors[0]
    return 1 + stride * (max(1, pair.generator.grid[0] // 2) - 1)


def first_frames(path: Path, pair: Pipeline, count: int, stride: int = 1, fps: float | None = None) -> Tensor:
    """The first ``count`` frames of a video in the generator's size: uint8 (C, count, H, W); ``stride`` and ``fps`` as
    of the clips it was trained on (:class:`tokbench.data.clip_view.ClipView`).

    Raises:
        TokbenchError: not a video, damaged, or with fewer frames.
    """
    if not path.is_file():
        raise TokbenchError(f"{path}: no such video; {counted(count, 'frame')} of it were to be given")
    size = axes(pair.image_size)[1:]
    settings: dict[str, Any] = {"frames": count, "stride": stride, "fps": fps, "windows": "first"}
    view = ClipView(size, "adm", channels=pair.tokenizer.config.channels, **settings)
    return view.take(view.load(path, str(path)), 0, 0)[0]
