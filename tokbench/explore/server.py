"""The page on a port of this machine: nobody else sees it, and it asks nobody for anything."""

from __future__ import annotations

import importlib
import os
import socket
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from tokbench.errors import TokbenchError
from tokbench.printing import say

if TYPE_CHECKING:
    from tokbench.explore.models import Opened

HOST = "127.0.0.1"
FIRST, LAST = 7860, 7959


def need_gradio() -> Any:
    """The module ``gradio``, told to send nothing home. Raises TokbenchError where it is not installed."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read on import too
    try:
        return importlib.import_module("gradio")
    except ImportError:
        raise TokbenchError("the page of explore is made with gradio: pip install 'tokbench[explore]'") from None


def check_port(port: int | None) -> None:
    """TokbenchError for a port that something else listens on, before models are read."""
    if port is not None and not _is_free(port):
        raise TokbenchError(f"--port {port}: cannot be had, something else may listen there; give another, or none")


def serve(models: Opened, port: int | None, browser: bool) -> None:
    """Show the page until Ctrl-C."""
    from tokbench.explore.models import an_example
    from tokbench.explore.page import page

    gradio = need_gradio()
    with TemporaryDirectory() as scratch:
        os.environ["GRADIO_TEMP_DIR"] = scratch  # what is dropped and shown is gone when the page is
        blocks = page(gradio, models, an_example(models, Path(scratch)))
        address = start(gradio, blocks, port)
        say(f"{address}  (Ctrl-C ends it)")
        if browser:
            import webbrowser

            webbrowser.open(address)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            say("ended")
        finally:
            blocks.close(verbose=False)


def start(gradio: Any, blocks: Any, port: int | None = None) -> str:
    """Serve the page in threads of its own; its address. TokbenchError where there is no port."""
    from tokbench.explore.page import look

    port = port or next((each for each in range(FIRST, LAST + 1) if _is_free(each)), None)
    if port is None:
        raise TokbenchError(f"none of the ports {FIRST} to {LAST} is free: give --port")
    _, address, _ = blocks.launch(
        server_name=HOST,
        server_port=port,
        share=False,
        inbrowser=False,
        prevent_thread_lock=True,
        quiet=True,
        show_error=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
        run_history=False,
        footer_links=[],
        **look(gradio),
    )
    return str(address)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
