"""The page of gradio: components, and which function of ``seen`` and ``drawing`` answers which of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

from tokbench.errors import TokbenchError, visible
from tokbench.explore.code_map import AXES
from tokbench.explore.models import Opened
from tokbench.explore.seen import FULL, Seen, read, steps_of
from tokbench.models import Tokenizer

RECONSTRUCTION, ERROR = "reconstruction", "how far off it is"
FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif")
CSS = """
:root { --color-accent: #1d4ed8 !important; }
.dark { --color-accent: #60a5fa !important; }
.gradio-container { max-width: 110rem !important; }
.gradio-container img { image-rendering: pixelated; }
.said { min-height: 1.4em; overflow-wrap: anywhere; }
.said p, .model p { margin: 0; }
.model { border: 1px solid var(--border-color-primary); border-radius: 8px; padding: 12px; }
.model h2 { overflow-wrap: anywhere; font-size: 1.05rem; font-weight: 600; }
.grid-wrap { min-height: 0 !important; max-height: none !important; }
.grid-wrap .grid-container { grid-template-columns: repeat(auto-fit, minmax(min(8rem, 100%), 16rem)) !important; }
:focus-visible { outline: 3px solid #56b4e9 !important; outline-offset: 2px; }
"""


def look(gr: Any) -> dict[str, Any]:
    """How the page looks: fonts of the machine alone, none from elsewhere."""
    theme = gr.themes.Default(primary_hue="blue", font=FONTS, font_mono=("ui-monospace", "Consolas", "monospace"))
    soft = {"block_info_text_color": "*neutral_600", "block_info_text_color_dark": "*neutral_300"}  # read with ease
    return {"theme": theme.set(**soft), "css": CSS}


def page(gr: Any, models: Opened, example: Path | None = None) -> Any:
    """The page, not yet served. ``example``: the image that is seen first."""
    with gr.Blocks(title="tokbench explore", analytics_enabled=False, delete_cache=(86400, 86400)) as blocks:
        gr.HTML("<h1>tokbench explore</h1>", padding=False)
        file = gr.File(str(example) if example else None, label="An image or a video, of any size", height=120)
        said = gr.HTML(elem_classes="said", elem_id="said", padding=False)
        with gr.Tabs():
            with gr.Tab("Look"):
                _look_tab(gr, blocks, models.tokenizers, file, said)
            if models.generators:
                from tokbench.explore.draw_tab import draw_tab

                for label, pair in models.generators.items():
                    with gr.Tab(f"Draw: {visible(label)}"):
                        draw_tab(gr, blocks, pair, file, said)
    return blocks


def _look_tab(gr: Any, blocks: Any, tokenizers: dict[str, Tokenizer], file: Any, said: Any) -> None:
    seen = gr.State({})
    with gr.Row():
        what = gr.Radio(
            [RECONSTRUCTION, ERROR],
            value=RECONSTRUCTION,
            label="Show",
            info=f"brightest: {FULL} levels of 255 off, or more",
        )
        frame = gr.Slider(0, 1, 0, step=1, label="Frame", visible=False)
    with gr.Row(equal_height=False):
        with gr.Column(min_width=280, elem_classes="model"):
            gr.HTML("<h2>original</h2>", padding=False)
            original = gr.Image(**image_settings("the original", "fullscreen"))
        columns = [_Column(gr, label, tokenizer) for label, tokenizer in tokenizers.items()]
    outputs = [out for column in columns for out in column.outputs]
    steps = [column.step for column in columns]

    def show(state: dict[str, Any], at: int, kind: str, *chosen: int) -> list[Any]:
        there = [each for each in state.values() if isinstance(each, Seen)]
        first = max(there, key=lambda each: each.frames).shown_original(int(at or 0)) if there else None
        made = [v for c, step in zip(columns, chosen, strict=True) for v in c.values(state, step, at, kind)]
        return [first, *made]

    def begin(path: str | None, kind: str, *chosen: int) -> list[Any]:
        state: dict[str, Any] = {} if path is None else {c.label: c.look(Path(path)) for c in columns}
        most = max((each.frames for each in state.values() if isinstance(each, Seen)), default=1)
        slider = gr.update(maximum=max(1, most - 1), value=0, visible=most > 1)
        return [state, paragraph(""), slider, *show(state, 0, kind, *chosen)]

    begun = {"fn": begin, "inputs": [file, what, *steps], "outputs": [seen, said, frame, original, *outputs]}
    file.change(**begun)
    blocks.load(**begun)
    for control in (what, frame):
        control.change(show, [seen, frame, what, *steps], [original, *outputs], show_progress="hidden")
    for column in columns:
        column.answer(gr, seen, frame, what, said)


class _Column:
    """What there is of one tokenizer."""

    def __init__(self, gr: Any, label: str, tokenizer: Tokenizer) -> None:
        self.label, self.tokenizer = label, tokenizer
        names, refines = steps_of(tokenizer)
        with gr.Column(min_width=280, elem_classes="model"):
            gr.HTML(f"<h2>{_safe(label)}</h2>", padding=False)
            self.image = gr.Image(**image_settings(f"the image by {label}", "fullscreen"))
            self.caption = gr.HTML(elem_classes="said", padding=False)
            about = "Codes decoded, coarse to fine" if refines else "Which code of each position below"
            self.step = gr.Slider(1, max(2, len(names)), len(names), step=1, label=about, visible=len(names) > 1)
            gr.HTML("<p>Its codes: click one, or type a position.</p>", padding=False)
            self.map = gr.Image(**image_settings(f"the codes by {label}"))
            with gr.Row():
                self.place = gr.Textbox(label="Position", info=", ".join(AXES[len(tokenizer.grid())]), min_width=80)
                self.codes = gr.Textbox(label="Its codes", info="Enter changes them", min_width=120, scale=2)
            self.restore = gr.Button("As encoded", size="sm")
        self.outputs = [self.image, self.caption, self.map, self.place, self.codes]

    def look(self, path: Path) -> Seen | str:
        """The file through the tokenizer, or why not."""
        try:
            return Seen(self.tokenizer, read(path, self.tokenizer))
        except TokbenchError as error:
            return str(error)

    def values(self, state: dict[str, Any], step: int, frame: int, kind: str) -> list[Any]:
        """For ``outputs``."""
        found = state.get(self.label)
        if not isinstance(found, Seen):
            return [None, paragraph(found or ""), None, "", ""]
        try:
            view = found.view(int(step or 1), frame=int(frame or 0), error=kind == ERROR)
        except TokbenchError as error:
            return [None, paragraph(str(error)), None, "", ""]
        return [view.image, paragraph(view.caption), view.codes, found.place, found.at]

    def answer(self, gr: Any, seen: Any, frame: Any, what: Any, said: Any) -> None:
        """Connect what belongs to this tokenizer alone."""
        inputs, outputs = [seen, self.step, frame, what], [said, *self.outputs]

        def after(change: Callable[[Seen, Any], None]) -> Callable[..., list[Any]]:
            def handler(state: dict[str, Any], step: int, at: int, kind: str, given: Any = None) -> list[Any]:
                with telling() as messages:
                    if isinstance(found := state.get(self.label), Seen):
                        change(found, given)
                return [paragraph(messages[0]), *self.values(state, step, at, kind)]

            return handler

        def clicked(state: dict[str, Any], step: int, at: int, kind: str, event: Any) -> list[Any]:
            return after(lambda found, _: found.mark_pixel(*event.index))(state, step, at, kind)

        clicked.__annotations__["event"] = gr.SelectData  # by which gradio knows that it wants one
        quiet = {"outputs": outputs, "show_progress": "hidden"}
        self.step.change(after(lambda found, _: None), inputs, **quiet)
        self.map.select(clicked, inputs, **quiet)
        self.place.submit(after(lambda found, text: found.mark(text)), [*inputs, self.place], **quiet)
        self.codes.submit(after(lambda found, text: found.change(text)), [*inputs, self.codes], **quiet)
        self.restore.click(after(lambda found, _: found.restore()), inputs, **quiet)


@contextmanager
def telling() -> Iterator[list[str]]:
    """A user's mistake within becomes the line that is yielded, empty where there is none."""
    messages = [""]
    try:
        yield messages
    except TokbenchError as error:
        messages[0] = str(error)


def image_settings(alt: str, *buttons: str) -> dict[str, Any]:
    """Of an image that is only shown, without loss. Buttons lie over its corner."""
    return {
        "interactive": False, "format": "png", "label": visible(alt), "show_label": False, "alt_text": visible(alt),
        "buttons": list(buttons),
    }  # fmt: skip


def paragraph(text: str) -> str:
    return f'<p role="status">{_safe(text)}</p>'


def _safe(text: str) -> str:
    return escape(visible(text))
