"""Headless Chromium for tests and benchmarks of the browser's decoder."""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from glic_deploy.errors import EngineError

WEB = Path(__file__).resolve().parent.parent / "web"
DIST = WEB / "dist"

_OPTIONS = (
    "--headless", "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
)  # fmt: skip
_NO_GPU = ("--disable-gpu",)
_SOFTWARE_GPU = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader")
_MOST_WAITS = 10
_WAIT = """
const done = arguments[0];
running.then(done);
setTimeout(() => done(null), 60_000);
"""


def library_bytes() -> int:
    """Return the bytes of the library's files that every page loads, without onnxruntime-web."""
    loaded: set[str] = set()
    waiting = ["index.js", "worker.js"]
    while waiting:
        name = waiting.pop()
        if name not in loaded:
            loaded.add(name)
            waiting += re.findall(r'(?:import|from)"\./([\w-]+\.js)"', (DIST / name).read_text())
    return sum((DIST / name).stat().st_size for name in loaded)


class Browser:
    """Runs functions of JavaScript in a page."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        """Load a page, whose functions see the library as `glic`."""
        self.driver.get(url)
        self.run("globalThis.glic = await import('/dist/index.js')")

    def run(self, body: str, *arguments: object) -> Any:
        """Run the body of an asynchronous function with the arguments `args`, and return its result.

        Raises AssertionError with the name and the message of the error that the function throws, or if the function
        takes longer than ten minutes.
        """
        self.driver.execute_script(
            f"const args = [...arguments]; globalThis.running = (async () => {{ {body} }})().then("
            "value => ({value}), error => ({error: `${error.name}: ${error.message}`}))",
            *arguments,
        )
        for _ in range(_MOST_WAITS):  # Selenium gives up requests of two minutes
            result = self.driver.execute_async_script(_WAIT)
            if result:
                break
        else:
            raise AssertionError("the function takes longer than ten minutes")
        if "error" in result:
            raise AssertionError(result["error"])
        return result.get("value")


@contextlib.contextmanager
def chromium(*, webgpu: bool = False) -> Iterator[Browser]:
    """Start Chromium with a profile of its own; with `webgpu`, on the software GPU that it contains.

    Raises EngineError if Selenium or Chromium is missing.
    """
    try:
        from selenium import webdriver
    except ImportError:
        raise EngineError("needs selenium: pip install 'glic-deploy[dev]'") from None
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        raise EngineError("needs Chromium: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    with tempfile.TemporaryDirectory() as profile:
        for argument in (*_OPTIONS, *(_SOFTWARE_GPU if webgpu else _NO_GPU), f"--user-data-dir={profile}"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
        chrome.set_script_timeout(100)
        try:
            yield Browser(chrome)
        finally:
            chrome.quit()
