"""A real browser without a window, and a page that is open in it."""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from selenium.webdriver.remote.webelement import WebElement

WIDE: Final = (1440, 1000)
NARROW: Final = (360, 740)

_OPTIONS: Final = (
    *("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-extensions"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


def program(*names: str) -> str:
    """Where the first of these programs is."""
    found = next((path for path in map(shutil.which, names) if path), None)
    if found is None:
        pytest.fail(f"{names[0]} is missing: run scripts/test, or install the packages chromium and chromium-driver")
    return found


@contextmanager
def started() -> Iterator[webdriver.Chrome]:
    """A browser; it ends with the context."""
    options = webdriver.ChromeOptions()
    options.binary_location = program("chromium", "chromium-browser", "google-chrome")
    for option in _OPTIONS:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(program("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


@dataclass(frozen=True)
class Page:
    """A page of the report, open in the browser."""

    driver: webdriver.Chrome

    def open(self, file: Path, size: tuple[int, int] = WIDE, theme: str = "light") -> None:
        """Open a file, in a window of this size on a system with light or dark colours."""
        feature = {"name": "prefers-color-scheme", "value": theme}
        self.resize(size)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        self.driver.get(file.as_uri())
        self.settle()

    def resize(self, size: tuple[int, int]) -> None:
        """Make the window as large."""
        width, height = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.settle()

    def settle(self) -> None:
        """Wait until what was set off is on the screen."""
        script = "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => done()))"
        self.driver.execute_async_script(script)

    def run(self, script: str, *arguments: object) -> Any:
        """Run a script in the page; returns what it returns."""
        return self.driver.execute_script(script, *arguments)

    def find(self, selector: str) -> WebElement:
        """The first element."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def click(self, selector: str) -> None:
        """Click the first element."""
        self.find(selector).click()
        self.settle()

    def click_at(self, selector: str, x: float, y: float) -> None:
        """Click a place of an element, measured from its upper left corner."""
        self.move_to(selector, x, y)
        ActionChains(self.driver, duration=0).click().perform()
        self.settle()

    def move_to(self, selector: str, x: float, y: float) -> None:
        """Move the mouse to a place of an element."""
        self.run("document.querySelector(arguments[0]).scrollIntoView({block: 'center'})", selector)
        box = self.run("return document.querySelector(arguments[0]).getBoundingClientRect().toJSON()", selector)
        actions = ActionChains(self.driver, duration=0)
        actions.w3c_actions.pointer_action.move_to_location(round(box["x"] + x), round(box["y"] + y))
        actions.perform()
        self.settle()

    def press(self, *keys: str) -> None:
        """Press keys, wherever the focus is."""
        for key in keys:
            ActionChains(self.driver, duration=0).send_keys(key).perform()
        self.settle()

    def type(self, text: str) -> None:
        """Put a text into the search field."""
        field = self.find("#search")
        field.clear()
        field.send_keys(text)
        self.settle()

    def choose(self, selector: str, value: str) -> None:
        """Choose an option of a field."""
        Select(self.find(selector)).select_by_value(value)
        self.settle()

    def text(self, selector: str) -> str:
        """The text of the first element, shown or not."""
        return str(self.run("return document.querySelector(arguments[0]).textContent", selector)).strip()

    def texts(self, selector: str) -> list[str]:
        """The texts of all elements, as they are shown."""
        script = "return [...document.querySelectorAll(arguments[0])].map((found) => found.innerText.trim())"
        return [str(text) for text in self.run(script, selector)]

    def focused(self) -> str:
        """The identifier of the element that has the focus, or else its text."""
        return str(self.run("const found = document.activeElement; return found.id || found.textContent"))

    def is_shown(self, selector: str) -> bool:
        """Whether the first element is there for the eye."""
        return self.find(selector).is_displayed()

    def picture(self, selector: str) -> str:
        """What a chart shows, which is painted on canvases that lie upon each other."""
        script = "return [...document.querySelectorAll(arguments[0])].map((canvas) => canvas.toDataURL()).join()"
        return str(self.run(script, f"{selector} canvas"))

    def wait(self, selector: str, text: str) -> None:
        """Wait until an element has a text."""
        WebDriverWait(self.driver, 10).until(lambda _: self.text(selector) == text)

    def messages(self) -> list[str]:
        """What the console got since the last time."""
        return [str(entry["message"]) for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """What was asked for since the last time."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
        return [str(event["request"]["url"]) for event in sent]
