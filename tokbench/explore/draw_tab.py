"""The part of the page that draws with a generator: from nothing, or a region of the image that was dropped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokbench.explore.drawing import (
    MOST,
    asks_for,
    complete,
    draw,
    map_of,
    region_between,
    usual_region,
    with_region,
)
from tokbench.explore.page import image_settings, paragraph, telling
from tokbench.generators import Sampling
from tokbench.generators.pipeline import Pipeline


def draw_tab(gr: Any, blocks: Any, pair: Pipeline, file: Any, said: Any) -> None:
    """Components and what answers them, within a tab that is open."""
    asked = asks_for(pair)
    with gr.Row():
        condition = gr.Textbox(label=asked or "condition", visible=bool(asked), info="empty: none, or all in turn")
        seed = gr.Number(0, label="Seed", precision=0, minimum=0)
        count = gr.Number(4, label="Images", precision=0, minimum=1, maximum=MOST)
        temperature = gr.Slider(0, 2, 1, step=0.05, label="Temperature")
        top_k = gr.Number(0, label="Only the k likeliest", info="0: all", precision=0, minimum=0)
        guidance = gr.Slider(0, 10, 1, step=0.1, label="Guidance", visible=bool(asked))
    start = gr.Button("Draw", variant="primary")
    drawn = _gallery(gr, "Drawn")
    settings = [condition, seed, count, temperature, top_k, guidance]

    def sampling(heat: float, k: int | None, scale: float) -> Sampling:
        return Sampling(temperature=heat, top_k=int(k or 0) or None, guidance=scale)

    def drawing(text: str, number: int, n: int, heat: float, k: int, scale: float) -> list[Any]:
        images = None
        with telling() as messages:
            images = draw(pair, n, condition=text, seed=number, sampling=sampling(heat, k, scale))
        return [paragraph(messages[0]), images]

    start.click(drawing, settings, [said, drawn])
    if not (usual := usual_region(pair)):
        return
    corner = gr.State(None)
    gr.HTML("<p>Or draw a region of the image above anew: click two corners, or type them.</p>", padding=False)
    with gr.Row():
        picked = gr.Image(**image_settings("the image with the region to draw"))
        with gr.Column():
            region = gr.Textbox(usual, label="Region", info="top, left, bottom, right, in positions of the code map")
            fill = gr.Button("Complete", variant="primary")
            filled = _gallery(gr, "Completed")

    def show(path: str | None, text: str) -> list[Any]:
        image = None
        with telling() as messages:
            image = with_region(pair, Path(path), text) if path else None
        return [paragraph(messages[0]), image]

    def click(path: str | None, first: tuple[int, int] | None, text: str, event: Any) -> list[Any]:
        with telling():
            x, y = event.index
            rows, columns = map_of(pair)
            image = with_region(pair, Path(path or ""), text)
            place = min(rows - 1, y * rows // image.height), min(columns - 1, x * columns // image.width)
            if first is None:
                return [place, region_between(place, place)]
            return [None, region_between(first, place)]
        return [None, text]

    def completing(path: str | None, text: str, *given: Any) -> list[Any]:
        images, (asked_for, number, n, heat, k, scale) = None, given
        with telling() as messages:
            images = complete(
                pair, Path(path or "no image yet"), text, n,
                condition=asked_for, seed=number, sampling=sampling(heat, k, scale),
            )  # fmt: skip
        return [paragraph(messages[0]), images]

    click.__annotations__["event"] = gr.SelectData
    quiet = {"outputs": [said, picked], "show_progress": "hidden"}
    for happening in (file.change, region.change, blocks.load):
        happening(show, [file, region], **quiet)
    picked.select(click, [file, corner, region], [corner, region], show_progress="hidden")
    fill.click(completing, [file, region, *settings], [said, filled])


def _gallery(gr: Any, label: str) -> Any:
    return gr.Gallery(label=label, show_label=False, format="png", object_fit="contain", height="auto", buttons=[])
