"""Drawn images as files: streamed, resumable, with a grid to look at."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tokbench.cli.rejecting import Judged
from tokbench.clips import FORMATS, save_clip
from tokbench.config.condition import ClassConfig, CodesConfig, TextConfig
from tokbench.config.crop import CROPS
from tokbench.config.grid import Size, axes, typed
from tokbench.data import read_image
from tokbench.data.container import need_pyav
from tokbench.data.decode import UnreadableImage
from tokbench.data.partner import load_partner, partner_tensor
from tokbench.errors import TokbenchError
from tokbench.generators import Sampling
from tokbench.generators.films import Films, first_frames, need_clips, usual_kept
from tokbench.generators.pipeline import Pipeline, batches_of, keep_mask
from tokbench.models.tokenizer import chosen_size
from tokbench.pictures import grid, save_picture
from tokbench.results.files import write
from tokbench.results.locks import alone
from tokbench.results.targets import check_target

_SETTINGS, _GRID = "settings.json", "grid.png"
GRID_MOST, GRID_COLUMNS, GRID_TITLES = 64, 8, 16


@dataclass(frozen=True)
class Settings:
    """What decides which images are drawn; how many and in which batches does not."""

    generator: str
    tokenizer: str | None
    classes: tuple[int, ...]
    seed: int
    sampling: Sampling
    image: Path | None
    keep: str
    precision: str
    conditions: tuple[Path, ...] = ()
    texts: tuple[str, ...] = ()
    given: Path | None = None
    given_frames: int | None = None
    given_stride: int = 1
    given_fps: float | None = None
    frames: int | None = None
    film: str = "mp4"
    fps: float = 25.0
    size: Size | None = None
    reject: float | None = None
    judge: str | None = None

    def to_json(self, pair: Pipeline) -> dict[str, Any]:
        """As ``settings.json`` keeps it: the models by their weights, not by where they lie."""
        return {
            "generator": pair.generator.sha256(),
            "tokenizer": pair.tokenizer.sha256(),
            "classes": list(self.classes),
            "seed": self.seed,
            "sampling": {k: v for k, v in dataclasses.asdict(self.sampling).items() if (k, v) != ("bit_steps", None)},
            "image": str(self.image) if self.image else None,
            "keep": self.keep if self.image else None,
            "precision": self.precision,
            **({"conditions": [str(path) for path in self.conditions]} if self.conditions else {}),
            **({"texts": list(self.texts)} if self.texts else {}),
            **({"size": typed(self.size)} if self.size else {}),
            **(self._of_clips() if pair.draws_clips else {}),
        }

    def _of_clips(self) -> dict[str, Any]:
        given = hashlib.sha256(self.given.read_bytes()).hexdigest() if self.given else None
        every = {"given_stride": self.given_stride, "given_fps": self.given_fps}
        return {
            **(every if given and every != {"given_stride": 1, "given_fps": None} else {}),
            "given": given,
            "given_frames": self.given_frames,
            "frames": self.frames,
            "film": self.film,
            "fps": self.fps,
        }


def generate_files(
    settings: Settings,
    n: int,
    out: Path,
    *,
    batch_size: int = 16,
    device: str = "cpu",
    progress: Callable[[float], None] | None = None,
) -> int:
    """Images 0 to n - 1 as ``out/000000.png`` and so on, those that are there already left alone; how many were new.

    Raises:
        TokbenchError: ``out`` holds images drawn with other settings, or the settings do not go with the generator.
    """
    if settings.precision not in ("auto", "fp32", "bf16"):
        raise TokbenchError(f"--precision {settings.precision}: expected auto, fp32 or bf16")
    low = settings.precision == "bf16" or (settings.precision == "auto" and device == "cuda")
    dtype = torch.bfloat16 if low else torch.float32
    check_target(out / _GRID, [settings.image, settings.given, *settings.conditions])
    given = {"--class": settings.classes, "--text": settings.texts, "--condition": settings.conditions}
    if len(named := [name for name, value in given.items() if value]) > 1:
        raise TokbenchError(f"{' and '.join(named)}: a generator has one condition; leave out the others")
    pair = Pipeline.load(settings.generator, settings.tokenizer, device=device, dtype=dtype)
    _check_clips(settings, pair)
    with alone(out / ".tokbench-generate.lock", f"{out}: another process is drawing there; choose another --out"):
        return _draw_missing(settings, pair, n, out, batch_size, progress)


def _draw_missing(
    settings: Settings, pair: Pipeline, n: int, out: Path, batch_size: int, progress: Callable[[float], None] | None
) -> int:
    described = settings.to_json(pair)
    judged = Judged.of(settings, pair, n, out)
    if judged is not None:
        described |= judged.described
    held = _held_settings(out)
    if held is not None and held != described:
        other = sorted(key for key in described | held if held.get(key) != described.get(key))
        raise TokbenchError(f"{out}: holds images drawn otherwise ({', '.join(other)} differ); choose another --out")
    if held is None and (own := [name for name in (_GRID, "000000.png") if (out / name).exists()]):
        raise TokbenchError(f"{out / own[0]}: not drawn here, and would be written over; choose another --out")
    missing = [i for i in range(n) if not (out / f"{i:06d}.png").exists()]
    batch_size = min(batch_size, n)
    if judged is not None:
        batches = judged.batches(missing, batch_size, progress)
    elif settings.given is not None or settings.frames is not None:
        batches = _films(pair, settings, missing, batch_size)
    else:
        asked: dict[str, Any] = {
            "conditions": _conditions(pair, settings), "seed": settings.seed, "sampling": settings.sampling,
            "batch_size": batch_size, "size": settings.size,
        }  # fmt: skip
        if settings.image is None:
            batches = pair.stream(missing, **asked, progress=progress)
        else:
            slide = pair.slide(settings.size)
            keep = keep_mask(settings.keep, pair.generator.grid if slide is None else slide.map)
            batches = pair.completions(settings.image, keep, missing, **asked)
    done = 0
    for numbers, images in batches:
        if held is None:  # only now, when it is known that these settings can be drawn with
            held = _claim(out, described)
        for number, image in zip(numbers, images, strict=True):
            if pair.draws_clips:
                save_clip(image, out / f"{number:06d}.{settings.film}", fps=settings.fps)
            save_picture(grid([[image]]), out / f"{number:06d}.png")  # last: what has one is whole
        done += len(numbers)
        if progress is not None and numbers:
            progress(done / len(missing))
    config = pair.tokenizer.config
    texts = settings.texts if judged is None else judged.rejection.texts
    titles = texts if 1 < len(texts) <= GRID_TITLES else ()
    columns = len(titles) or (1 if pair.draws_clips else GRID_COLUMNS)
    _write_grid(out, n, config.channels if config.kind == "image" else 3, columns, titles)
    return len(missing)


def _conditions(pair: Pipeline, settings: Settings) -> Any:
    """What is drawn in turn: the classes or texts asked for, or the codes of the files of ``--condition``; None for
    none of them."""
    config = pair.generator.config.condition
    for option, given, kind in (("--class", settings.classes, ClassConfig), ("--text", settings.texts, TextConfig)):
        if given and not isinstance(config, kind):
            raise TokbenchError(f"{option}: the generator's condition is none of these but {config.describe()}")
    if not settings.conditions:
        return settings.texts or settings.classes or None
    if not isinstance(config, CodesConfig) or config.partner is None or config.tokenizer is None:
        raise TokbenchError(f"--condition: the generator's condition is not an image but {config.describe()}")
    size = config.tokenizer.image_size
    if settings.size is not None and pair.condition_tokenizer is not None:
        size = chosen_size(pair.condition_tokenizer, settings.size, "--size, of the condition,")
    taken = []
    for path in settings.conditions:
        if not path.is_file():
            raise TokbenchError(f"--condition {path}: no such file")
        try:
            partner = CROPS.get("adm")(load_partner(path, config.partner), size)
        except UnreadableImage as error:
            raise TokbenchError(f"--condition {path}: {error.reason}") from None
        try:
            taken.append(pair.condition_codes(partner_tensor(partner, config.partner)[None]))
        except TokbenchError as error:
            raise TokbenchError(f"--condition {path}: {error}") from None
    return torch.cat(taken)


def _films(pair: Pipeline, settings: Settings, numbers: list[int], batch_size: int) -> Any:
    """As ``Pipeline.stream``, from given frames or of other lengths."""
    kept = settings.given_frames or usual_kept(pair)
    films = Films(pair, settings.frames or axes(pair.image_size)[0], kept)
    if settings.given is not None:
        start = first_frames(settings.given, pair, kept, settings.given_stride, settings.given_fps)
        films = dataclasses.replace(films, given=start)
    asked = _conditions(pair, settings)
    turn = None if pair.generator.settled else pair.in_turn(asked)
    for first, wanted in batches_of(numbers, batch_size):
        drawn = torch.arange(first, first + batch_size, device=pair.generator.device)
        condition = None if turn is None else turn[drawn % len(turn)]
        clips = films.draw(first, batch_size, condition=condition, seed=settings.seed, sampling=settings.sampling)
        yield wanted, clips[[number - first for number in wanted]]


def _check_clips(settings: Settings, pair: Pipeline) -> None:
    """TokbenchError for options that do not go with what the generator draws, before anything is drawn."""
    asked = {"--given": settings.given, "--given-frames": settings.given_frames, "--frames": settings.frames}
    if named := [option for option, value in asked.items() if value is not None]:
        if settings.image is not None:
            raise TokbenchError(f"{named[0]} and --image: leave out one of the two")
        need_clips(pair)
        if named == ["--given-frames"]:
            raise TokbenchError("--given-frames goes with --given or --frames")
    if settings.classes and pair.generator.settled:
        raise TokbenchError("--class: the generator continues given frames and knows no classes")
    if settings.given is not None and not settings.given.is_file():
        raise TokbenchError(f"--given {settings.given}: no such file")
    if not pair.draws_clips:
        if (settings.film, settings.fps) != ("mp4", 25.0):
            raise TokbenchError("--film and --fps are of clips, and the generator draws images")
        return
    if settings.size is not None:
        raise TokbenchError("--size: the generator draws clips, of its own size alone; --frames makes them longer")
    if f".{settings.film}" not in FORMATS[:2]:
        raise TokbenchError(f"--film {settings.film}: expected mp4 or gif")
    if not 0 < settings.fps < 1000:
        raise TokbenchError(f"--fps {settings.fps:g}: above 0 and below 1000")
    if settings.film == "mp4":
        need_pyav()


def _held_settings(out: Path) -> dict[str, Any] | None:
    """What ``out`` was drawn with; None where nothing was yet."""
    try:
        held = json.loads((out / _SETTINGS).read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        held = None
    return held if isinstance(held, dict) else {}


def _claim(out: Path, settings: dict[str, Any]) -> dict[str, Any]:
    try:
        out.mkdir(parents=True, exist_ok=True)
        write(out / _SETTINGS, json.dumps(settings, indent=2) + "\n")
    except OSError as error:
        raise TokbenchError(f"{out}: cannot be written: {error.strerror}") from None
    return settings


def _write_grid(out: Path, n: int, channels: int, columns: int, titles: Sequence[str]) -> None:
    """The first images in whole rows; under titles, which are drawn in turn, a column each."""
    shown = min(n, GRID_MOST // columns * columns)
    images = [read_image(out / f"{i:06d}.png", channels) for i in range(shown)]
    rows = [images[start : start + columns] for start in range(0, shown, columns)]
    zoom = max(1, 128 // images[0].shape[-1])
    save_picture(grid(rows, columns=titles[:shown], zoom=zoom), out / _GRID)
