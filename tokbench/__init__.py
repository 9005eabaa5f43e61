"""tokbench: the comparative toolkit for visual tokenizers.

What a script needs stands here and is loaded at first use (``import tokbench`` itself loads no torch):

    Tokenizer, Generator    models, read by ``from_pretrained``
    open_images             images by a spec such as ``photos`` or ``folder:PATH``
    evaluate, reconstruct   a tokenizer measured; one image through its codes
    sweep, load_recipe      a grid of runs, trained and measured; one run's settings
    read_records            what was measured
    TokbenchError           a mistake in what was given: one line that says what to do

The command line does the same and more: ``tokbench --help``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokbench.api import evaluate, read_records, reconstruct, sweep
    from tokbench.config.loading import load_recipe
    from tokbench.data import open_images
    from tokbench.errors import TokbenchError
    from tokbench.generators import Generator
    from tokbench.models import Tokenizer

__version__: str
__all__ = [
    "Generator",
    "TokbenchError",
    "Tokenizer",
    "evaluate",
    "load_recipe",
    "open_images",
    "read_records",
    "reconstruct",
    "sweep",
]

_HOME = {
    "Generator": "generators",
    "TokbenchError": "errors",
    "Tokenizer": "models",
    "evaluate": "api",
    "load_recipe": "config.loading",
    "open_images": "data",
    "read_records": "api",
    "reconstruct": "api",
    "sweep": "api",
}


if not TYPE_CHECKING:  # a type checker would take any name for one of these

    def __getattr__(name: str) -> Any:
        if name == "__version__":  # of the installed package, which has it from its tag
            from importlib import metadata

            try:
                return metadata.version("tokbench")
            except metadata.PackageNotFoundError:  # run from its folder
                return "0+unknown"
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        import importlib

        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
