"""Drawing a map larger than the generator's grid: every code out of the window around it."""

from __future__ import annotations

from torch import Tensor

from tokbench.generators.ar_decoding import Draw
from tokbench.generators.autoregressive import Autoregressive
from tokbench.generators.base import Drawing
from tokbench.generators.window import Slide, windows


def slide_codes(model: Autoregressive, drawing: Drawing, slide: Slide) -> Tensor:
    """Codes (n, H W, D) of a batch, in raster order over the whole map.

    A code sees those of its window that come before it. What a decoder keeps of them holds as long as the window
    stands still: along the first half and the last half of a window in every row (in all rows of the first half of a
    window where it is as wide as the map). Where it moves every position has another place, so all is computed anew, in
    one pass.
    """
    run = Draw(model, len(drawing.keys), drawing.sampling, drawing.known, drawing.kept)
    run.take(drawing.keys)
    (height, width), (down, across) = slide
    codes = run.codes.unflatten(1, (height, width))  # a view: what is drawn appears in it
    at: tuple[int, int] | None = None
    for place, (i, j, top, left) in enumerate(windows(height, width, slide.window).tolist()):
        t = (i - top) * across + j - left
        if at != (top, left):
            at = (top, left)
            seen = codes[:, top : top + down, left : left + across].flatten(1, 2)[:, :t]
            run.move(model.condition.within(drawing.condition, at, slide), seen)
        run.position(t, place)
        if drawing.progress is not None:
            drawing.progress((place + 1) / (height * width))
    return run.codes
