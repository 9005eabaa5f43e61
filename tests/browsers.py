"""A headless Chromium for tests of pages, and what of a page can be asked of any: contrast, width, silence."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
NO_BROWSER = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium with chromedriver on this machine")


def chromium() -> Any:
    """A driver that keeps its console and its network's log."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for name in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "window-size=1280,900"):
        options.add_argument(f"--{name}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=Service(str(DRIVER)))


@contextmanager
def seen_at(driver: Any, width: int, scheme: str) -> Iterator[None]:
    """The page on a screen so wide, light or dark, and afterwards as before."""
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 1000}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    try:
        yield
    finally:
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def check_contrast(driver: Any, selectors: list[str], scheme: str) -> None:
    """Text stands out from what is behind it, 4.5 to 1 as WCAG has it, and that is light or dark as the scheme is."""
    pairs = driver.execute_script(
        "const behind = (e) => { const c = getComputedStyle(e).backgroundColor;"
        " return c === 'rgba(0, 0, 0, 0)' && e.parentElement ? behind(e.parentElement) : c; };"
        "return arguments[0].map((s) => document.querySelector(s)).filter(Boolean)"
        ".map((e) => [getComputedStyle(e).color, behind(e)])",
        selectors,
    )
    assert pairs
    for ink, paper in pairs:
        low, high = sorted(map(luminance, (ink, paper)))
        assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, paper)
        assert (luminance(paper) > 0.5) == (scheme == "light"), (ink, paper)


def luminance(colour: str) -> float:
    """Relative, of ``rgb(r, g, b)``."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def asked_for(driver: Any) -> list[str]:
    """The addresses that were asked for since this was last called, what the page carries in itself left out."""
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    return [url for url in asked if not url.startswith(("data:", "blob:", "file:"))]


def complaints(driver: Any) -> list[Any]:
    """What the console was told since this was last called, news left out."""
    return [entry for entry in driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
