"""The page in a real browser: sort, filter, hover, slide, by keyboard and on a phone."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import Any

import pytest
from browsers import NO_BROWSER, asked_for, check_contrast, chromium, complaints, seen_at
from PIL import Image
from results_synthetic import folder, scene

from tokbench.pictures import grid
from tokbench.results.report import build
from tokbench.results.store import Store

pytest.importorskip("selenium", reason="selenium is not installed")
pytestmark = [NO_BROWSER, pytest.mark.xdist_group("browser")]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    home = folder(tmp_path_factory.mktemp("results"))
    (home / "report.html").write_text(build(Store(home / "runs.jsonl").read(), home))
    driver = chromium()
    driver.get((home / "report.html").as_uri())
    yield driver
    driver.quit()


def column(browser: Any, index: int, table: int = 0) -> list[str]:
    return browser.execute_script(
        "const rows = document.querySelectorAll('tbody')[arguments[0]].rows;"
        "return [...rows].filter((r) => !r.hidden).map((r) => r.cells[arguments[1]].textContent)",
        table, index,
    )  # fmt: skip


def header(browser: Any, text: str) -> tuple[Any, int]:
    from selenium.webdriver.common.by import By

    buttons = browser.find_elements(By.CSS_SELECTOR, ".comparison:first-of-type th button")
    index = next(i for i, button in enumerate(buttons) if text in button.get_attribute("textContent"))
    return buttons[index], index


def test_headers_sort_by_click_and_by_key(browser: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    button, index = header(browser, "PSNR")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', inline: 'center'})", button)
    button.click()
    values = [float(text.split()[0]) for text in column(browser, index)]
    assert values == sorted(values, reverse=True) and len(values) == 9  # best first: higher is better
    button.send_keys(Keys.ENTER)
    values = [float(text.split()[0]) for text in column(browser, index)]
    assert values == sorted(values)
    assert button.find_element("xpath", "..").get_attribute("aria-sort") == "ascending"
    button, index = header(browser, "K")
    button.send_keys(Keys.SPACE)
    sizes = [int(text.replace(",", "")) for text in column(browser, index)]
    assert sizes == sorted(sizes)  # as numbers: 1,024 after 256


def test_filters_narrow_and_prefixes_appear_on_request(browser: Any) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import Select

    box = browser.find_element(By.CSS_SELECTOR, ".filter")
    box.send_keys("lfq 1,024")
    assert column(browser, 0) == ["lfq"]
    assert browser.find_element(By.CSS_SELECTOR, ".count").text == "1 row"
    box.send_keys(Keys.CONTROL, "a")
    box.send_keys(Keys.DELETE)
    Select(browser.find_element(By.CSS_SELECTOR, ".quantizer")).select_by_visible_text("rq")
    assert set(column(browser, 0)) == {"rq"}
    browser.find_element(By.CSS_SELECTOR, ".prefixes").click()
    assert column(browser, 0).count("rq, first 1 of 4") == 1 and len(column(browser, 0)) == 3 + 4
    browser.find_element(By.CSS_SELECTOR, ".prefixes").click()
    Select(browser.find_element(By.CSS_SELECTOR, ".quantizer")).select_by_visible_text("all")
    assert len(column(browser, 0)) == 9


def test_pointing_at_a_mark_says_what_it_is(browser: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    plot = browser.find_element(By.CSS_SELECTOR, ".plot")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", plot)
    wait = WebDriverWait(browser, 120)
    mark = wait.until(lambda b: b.find_elements(By.CSS_SELECTOR, ".plot .scatterlayer .trace path.point"))[0]
    ActionChains(browser).move_to_element(mark).perform()
    text = wait.until(lambda b: b.find_elements(By.CSS_SELECTOR, ".plot .hoverlayer .hovertext"))[0]
    assert "bpp" in text.text and "K=" in text.text


def test_another_metric_redraws(browser: Any) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import Select, WebDriverWait

    chart = browser.find_element(By.CSS_SELECTOR, ".chart")
    Select(chart.find_element(By.CSS_SELECTOR, ".metric")).select_by_visible_text("SSIM ↑")
    WebDriverWait(browser, 120).until(lambda b: "SSIM" in chart.find_element(By.CSS_SELECTOR, ".ytitle").text)


def test_the_slider_moves_by_key_and_by_hand(browser: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    slider = browser.find_element(By.CSS_SELECTOR, "article .slider")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", slider)
    over, control = (slider.find_element(By.CSS_SELECTOR, name) for name in (".over", "input"))
    assert "50%" in over.value_of_css_property("clip-path")
    control.send_keys(Keys.ARROW_LEFT * 10)
    assert "60%" in over.value_of_css_property("clip-path")  # 40 % of the original left
    pair = slider.find_element(By.CSS_SELECTOR, ".pair")
    ActionChains(browser).move_to_element_with_offset(pair, pair.size["width"] // 4, 0).click().perform()
    assert control.get_attribute("value") == "75"


def test_everything_is_reachable_by_tab_and_has_a_name(browser: Any) -> None:
    nameless = browser.execute_script(
        "return [...document.querySelectorAll('button, input, select, a[href], .scroll')].filter((e) =>"
        " !e.closest('.plot') && (e.tabIndex < 0 || !(e.textContent.trim() || e.getAttribute('aria-label') ||"
        " e.getAttribute('aria-labelledby') || e.closest('label')))).map((e) => e.outerHTML)"
    )
    assert nameless == []
    assert browser.execute_script("return [...document.images].every((i) => i.alt && i.naturalWidth > 0)")


def shown_pixels(browser: Any, selector: str) -> Any:
    """What a canvas holds, as an image."""
    script = "return document.querySelector(arguments[0]).toDataURL('image/png').split(',')[1]"
    return Image.open(io.BytesIO(base64.b64decode(browser.execute_script(script, selector)))).convert("RGB")


def test_any_two_models_lie_over_each_other(browser: Any) -> None:
    """Chosen by keyboard: the very pixels of the sheets, of whole codes and of their first."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import Select, WebDriverWait

    box = browser.find_element(By.CSS_SELECTOR, ".versus")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", box)
    left, right = (Select(box.find_element(By.CSS_SELECTOR, f".{side}-model")) for side in ("left", "right"))
    assert left.first_selected_option.text != right.first_selected_option.text  # two models, not the original
    left.select_by_visible_text("lfq K=64")
    right.select_by_visible_text("rq K=256 D=4, first 2 of 4")
    first = box.find_element(By.CSS_SELECTOR, ".tiles input")
    first.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    wanted = {".left-image": scene(2, 4 + ord("l") % 7), ".right-image": scene(2, 9)}
    for selector, pixels in wanted.items():
        tile = grid([[pixels]], zoom=2)
        WebDriverWait(browser, 120).until(lambda b, s=selector, t=tile: shown_pixels(b, s).tobytes() == t.tobytes())
        assert "image 3" in box.find_element(By.CSS_SELECTOR, selector).get_attribute("aria-label")
    assert "bpp" in box.find_element(By.CSS_SELECTOR, ".right-detail").text
    control = box.find_element(By.CSS_SELECTOR, ".slider input")
    control.send_keys(Keys.ARROW_RIGHT * 5)
    assert "45%" in box.find_element(By.CSS_SELECTOR, ".over").value_of_css_property("clip-path")


@pytest.mark.parametrize(
    ("width", "scheme"), [(320, "light"), (400, "light"), (400, "dark"), (1400, "light"), (1400, "dark")]
)
def test_it_is_read_at_every_width_in_the_dark_too(browser: Any, width: int, scheme: str) -> None:
    """Nothing hangs over the page (tables scroll in themselves), and every text stands out from what is behind it."""
    with seen_at(browser, width, scheme):
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        table = "const s = document.querySelector('.scroll'); return s.scrollWidth > s.clientWidth"
        assert browser.execute_script(table)
        texts = ["body", ".detail", "td", "td strong", "th button", "tr.prefix td", "nav a", "select", "summary"]
        check_contrast(browser, texts, scheme)


def test_the_page_asked_for_nothing_and_complained_of_nothing(browser: Any) -> None:
    assert asked_for(browser) == [] and complaints(browser) == []
