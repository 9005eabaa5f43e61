"""A tokenizer as two programs, ``encode`` and ``decode``, that need none of this code: ONNX, or torch.export's.

Images are float (B, C, *size) in [-1, 1], codes int64 (B, *grid, D), of any B and one size. Beside the programs a
``program.json`` says which.
"""

from __future__ import annotations

import copy
import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tokbench.config.grid import axes
from tokbench.errors import TokbenchError, first_line
from tokbench.models import Tokenizer
from tokbench.models.chameleon import NoDecoder
from tokbench.results.files import refused


class Encode(nn.Module):
    """Images to codes."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.tokenizer = tokenizer

    def forward(self, images: Tensor) -> Tensor:
        return self.tokenizer.encode(images)


class Decode(nn.Module):
    """Codes to images, not clamped."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.tokenizer = tokenizer

    def forward(self, codes: Tensor) -> Tensor:
        return self.tokenizer.decode(codes)


def write(tokenizer: Tokenizer, form: str, out: str | PathLike[str]) -> list[str]:
    """Write the programs and what they take into the folder ``out``; the files' names.

    Args:
        form: of ``FORMS``.

    Raises:
        TokbenchError: a package is missing, the tokenizer cannot be traced, or the folder cannot be written.
    """
    out, (suffix, save) = Path(out), FORMS[form]
    tokenizer = copy.deepcopy(tokenizer).cpu().eval()  # the caller's stays where and as it is
    images = torch.zeros(2, tokenizer.config.channels, *axes(tokenizer.config.image_size))  # one would be a constant
    codes = tokenizer.encode(images)
    parts = {"encode": (Encode(tokenizer), "images", images), "decode": (Decode(tokenizer), "codes", codes)}
    if isinstance(tokenizer.decoder, NoDecoder):
        del parts["decode"]
    said = {
        "images": ["batch", *images.shape[1:]],
        "range": [-1, 1],
        "codes": ["batch", *codes.shape[1:]],
        "vocabularies": list(tokenizer.quantizer.codebook_sizes),
        "sha256": tokenizer.sha256(),
    }
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".tokbench-", dir=out.parent) as scratch:
            draft = Path(scratch, "programs")
            draft.mkdir()
            for part, given in parts.items():
                with torch.no_grad(), _quietly(form):
                    save(*given, draft / f"{part}.{suffix}")
            (draft / "program.json").write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
            files = sorted(path.name for path in draft.iterdir())
            draft.rename(out)
    except OSError as error:
        raise TokbenchError(f"{out}: cannot write: {refused(error) or error}") from error
    return [str(out / name) for name in files]


def _onnx(module: nn.Module, name: str, example: Tensor, file: Path) -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise TokbenchError(f"--to onnx needs {error.name}: pip install 'tokbench[onnx]'") from None
    program = torch.onnx.export(
        module,
        (example,),
        dynamo=True,
        dynamic_shapes=_any_batch(),
        input_names=[name],
        output_names=["codes" if name == "images" else "images"],
        verbose=False,
    )
    assert program is not None
    program.save(file)


def _any_batch() -> tuple[dict[int, Any]]:
    """Of the one input, any number of samples. A constant would load sympy with this module: a second, for nothing."""
    return ({0: torch.export.Dim("batch", min=1, max=4096)},)


def _torch(module: nn.Module, name: str, example: Tensor, file: Path) -> None:
    program = torch.export.export(module, (example,), dynamic_shapes=_any_batch())
    with open(file, "wb") as stream:
        torch.export.save(program, stream)  # type: ignore[arg-type]


@contextmanager
def _quietly(form: str) -> Iterator[None]:
    """Without the exporters' advice to whoever writes modules; what they cannot do is one line."""
    level = logging.getLogger("torch").level
    logging.getLogger("torch").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (TokbenchError, OSError):
        raise
    except Exception as error:  # a tracer may fail in any way
        reason = first_line(error)
        raise TokbenchError(f"--to {form}: this tokenizer cannot be traced: {reason}") from error
    finally:
        logging.getLogger("torch").setLevel(level)


Save = Callable[[Any, str, Tensor, Path], None]
FORMS: dict[str, tuple[str, Save]] = {"onnx": ("onnx", _onnx), "torch": ("pt2", _torch)}
"""Name -> how files of it end, and what writes one."""
