"""The page of explore in a real browser, served to this machine alone. What it shows is tested without it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from browsers import NO_BROWSER, asked_for, check_contrast, chromium, complaints, seen_at
from PIL import Image
from tiny_tokenizer import make_tokenizer

from tokbench.config.generator import MLMConfig
from tokbench.explore.models import Opened, an_example
from tokbench.explore.page import ERROR, page
from tokbench.explore.server import HOST, need_gradio, start
from tokbench.generators import for_tokenizer
from tokbench.generators.pipeline import Pipeline

pytest.importorskip("selenium", reason="selenium is not installed")
pytestmark = [NO_BROWSER, pytest.mark.slow, pytest.mark.xdist_group("browser")]

NASTY = "vq <img src=x onerror=alert(1)>"


def models() -> Opened:
    """A residual tokenizer, one of another's name that is no name, and an MLM of classes on the first."""
    rq = make_tokenizer({"name": "rq", "codebook_size": 16, "depth": 2}, image_size=32)
    vq = make_tokenizer({"name": "vq", "codebook_size": 16}, image_size=32)
    settings = MLMConfig(width=16, heads=2, layers=1, class_conditional=True)
    torch.manual_seed(0)
    generator = for_tokenizer(settings, rq, source="here", image_size=32, num_classes=3)
    return Opened({"rq": rq, NASTY: vq}, {"mlm": Pipeline(generator.eval(), rq)})


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """The page, and every address beside this machine's that the server's process would have spoken to.

    gradio is not among what tests need: it holds Pillow back, and brings a server's packages along.
    """
    pytest.importorskip("gradio", reason="gradio is not installed: pip install 'tokbench[explore]'")
    outside: list[Any] = []
    connect, resolve = socket.socket.connect, socket.getaddrinfo

    def watched_connect(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in (HOST, "::1", "localhost"):
            outside.append(address)
            raise OSError("nothing outside is asked")
        connect(self, address)

    def watched_resolve(host: Any, *rest: Any, **more: Any) -> Any:
        if host not in (None, HOST, "::1", "localhost", b"localhost"):
            outside.append(host)
            raise socket.gaierror("nothing outside is asked")
        return resolve(host, *rest, **more)

    gradio, opened = need_gradio(), models()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", watched_connect)
        patch.setattr(socket, "getaddrinfo", watched_resolve)
        blocks = page(gradio, opened, an_example(opened, tmp_path_factory.mktemp("example")))
        address = start(gradio, blocks)
        driver = chromium()
        driver.get(address)
        yield SimpleNamespace(driver=driver, address=address, outside=outside, requests=[])
        driver.quit()
        blocks.close(verbose=False)


@pytest.fixture
def browser(served: SimpleNamespace) -> Iterator[Any]:
    yield served.driver
    assert [entry for entry in complaints(served.driver) if entry["level"] == "SEVERE"] == []  # gradio warns of itself
    served.requests += asked_for(served.driver)


def until(driver: Any, true: Callable[[Any], Any]) -> Any:
    from selenium.common.exceptions import StaleElementReferenceException
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(driver, 180, ignored_exceptions=[StaleElementReferenceException]).until(true)


def column(driver: Any, heading: str) -> Any:
    """Once what it shows is there."""
    path = f"//*[contains(@class, 'model') and .//h2[normalize-space() = '{heading}']]"
    until(driver, lambda d: all(i.get_property("naturalWidth") for i in d.find_elements("xpath", f"{path}//img")))
    until(driver, lambda d: "bits" in d.find_element("xpath", path).text)
    return driver.find_element("xpath", path)


def said(driver: Any, text: str) -> None:
    until(driver, lambda d: text in d.find_element("css selector", "#said").text)


def test_the_slider_decodes_fewer_codes_by_key(browser: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    rq = column(browser, "rq")
    assert "512 bits" in rq.text and "PSNR" in rq.text and "LPIPS" in rq.text
    before = rq.find_element("css selector", "img").get_attribute("src")
    rq.find_element("css selector", "input[type=range]").send_keys(Keys.ARROW_LEFT)
    until(browser, lambda d: "256 bits" in column(d, "rq").text)
    until(browser, lambda d: column(d, "rq").find_element("css selector", "img").get_attribute("src") != before)
    assert "256 bits" in column(browser, NASTY).text  # another's name is text, and its one code as it was


def test_a_code_is_chosen_by_click_and_changed_by_typing(browser: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    vq = column(browser, NASTY)
    codes = vq.find_elements("css selector", "img")[1]
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", codes)
    width, height = codes.size["width"], codes.size["height"]
    x, y = round(width * (5.5 / 8 - 0.5)), round(height * (2.5 / 8 - 0.5))
    ActionChains(browser).move_to_element_with_offset(codes, x, y).click().perform()
    place, code = vq.find_elements("css selector", "textarea, input[type=text]")[:2]
    until(browser, lambda d: place.get_property("value") == "2, 5")
    other = (int(code.get_property("value")) + 1) % 16
    code.send_keys(Keys.CONTROL, "a")
    code.send_keys(str(other), Keys.ENTER)
    until(browser, lambda d: "1 position changed" in vq.text)
    code.send_keys(Keys.CONTROL, "a")
    code.send_keys("16", Keys.ENTER)
    said(browser, "codes '16': give 1 whole number, below 16")
    until(browser, lambda d: code.get_property("value") == str(other))
    vq.find_element("xpath", ".//button[contains(., 'As encoded')]").send_keys(Keys.ENTER)
    until(browser, lambda d: "changed" not in vq.text and d.find_element("css selector", "#said").text == "")


def test_the_error_is_shown_in_place_of_the_image(browser: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    before = column(browser, "rq").find_element("css selector", "img").get_attribute("src")
    error = browser.find_element("css selector", f"input[type=radio][value='{ERROR}']")
    error.send_keys(Keys.SPACE)
    until(browser, lambda d: column(d, "rq").find_element("css selector", "img").get_attribute("src") != before)


def test_files_are_dropped_and_what_cannot_be_taken_says_why(browser: Any, tmp_path: Path) -> None:
    """An image of odd sides is shown, in its shape; what is no image is one line, and the next one is shown again."""
    Image.effect_noise((45, 30), 60).convert("RGB").save(tmp_path / "odd.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    for name in ("broken.png", "odd.png"):
        for remove in browser.find_elements("css selector", "button[aria-label='Clear'], button[aria-label='Remove']"):
            remove.click()
        upload = until(browser, lambda d: d.find_element("css selector", "input[type=file]"))
        upload.send_keys(str(tmp_path / name))
        if name == "broken.png":
            until(browser, lambda d: d.page_source.count("broken.png: cannot be read as an image") >= 2)
    until(browser, lambda d: "0.284 bpp" in column(d, NASTY).text)  # 12 x 8 positions of 4 bits for 45 x 30 pixels
    shown = column(browser, NASTY).find_element("css selector", "img")
    assert shown.get_property("naturalWidth") * 30 == shown.get_property("naturalHeight") * 45


def test_a_generator_draws_and_completes(browser: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    browser.find_element("xpath", "//button[@role='tab' and contains(., 'Draw: mlm')]").click()
    panels = "//*[@role='tabpanel']"
    until(browser, lambda d: any(panel.is_displayed() for panel in d.find_elements("xpath", panels)[1:]))
    shown = browser.find_elements("xpath", panels)[1]
    shown.find_element("xpath", ".//button[normalize-space() = 'Draw']").click()
    until(browser, lambda d: len(shown.find_elements("css selector", ".grid-container img, .thumbnails img")) == 4)
    picked = until(browser, lambda d: shown.find_element("css selector", "img[alt*='region']"))
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", picked)
    region = shown.find_element("xpath", ".//label[contains(., 'Region')]//*[self::textarea or self::input]")
    width, height = picked.size["width"], picked.size["height"]
    for row, wanted in ((1, "1, 1, 1, 1"), (4, "1, 1, 4, 4")):
        x, y = round(width * ((row + 0.5) / 8 - 0.5)), round(height * ((row + 0.5) / 8 - 0.5))
        ActionChains(browser).move_to_element_with_offset(picked, x, y).click().perform()
        until(browser, lambda d, w=wanted: region.get_property("value") == w)
        picked = until(browser, lambda d: shown.find_element("css selector", "img[alt*='region']"))
    shown.find_element("xpath", ".//button[normalize-space() = 'Complete']").click()
    until(browser, lambda d: len(shown.find_elements("css selector", ".grid-container img, .thumbnails img")) == 8)
    browser.find_element("xpath", "//button[@role='tab' and contains(., 'Look')]").click()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1400])
def test_it_is_read_at_both_widths_light_and_dark(browser: Any, width: int, scheme: str) -> None:
    with seen_at(browser, width, scheme):
        until(browser, lambda d: d.execute_script("return document.documentElement.scrollWidth") <= width)
        texts = ["h1", ".model h2", ".model .said p", ".model label span", "[role=tab]", ".model textarea"]
        dark = "return document.body.classList.contains('dark')"
        until(browser, lambda d: d.execute_script(dark) == (scheme == "dark"))
        check_contrast(browser, texts, scheme)


def test_everything_is_reached_by_tab_and_has_a_name(browser: Any) -> None:
    nameless = browser.execute_script(
        "return [...document.querySelectorAll('button, input, textarea, a[href], [role=slider]')].filter((e) =>"
        " e.checkVisibility() && !(e.textContent.trim() || e.getAttribute('aria-label') || e.title ||"
        " e.getAttribute('aria-labelledby') || e.querySelector('img')?.alt || e.closest('label')))"
        ".map((e) => e.outerHTML)"
    )
    assert nameless == []
    assert browser.execute_script("return [...document.images].filter((i) => i.checkVisibility()).every((i) => i.alt)")


def test_nobody_was_asked_for_anything(served: SimpleNamespace, browser: Any) -> None:
    served.requests += asked_for(browser)
    assert len(served.requests) > 20
    assert [url for url in served.requests if not url.startswith(served.address)] == []
    assert served.outside == []
