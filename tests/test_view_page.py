"""The page of `glic view` and the element <glic-image> in headless Chromium, with the sample network."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

from glic_deploy import Codec, container, metrics, viewer, web_bundle
from glic_deploy.image import load_image
from glic_deploy.metadata import Metadata

from .conftest import PHOTOS
from .test_view import serving

WAIT_S = 120  # machines may be slow, or busy with other tests
SIZE = (200, 120)

ELEMENT = """<!doctype html><title>element</title><script type="module" src="/glic/glic-image.js"></script>
<link rel="stylesheet" href="/element.css">
<glic-image id="shown" src="files/0" bundle="bundle/" alt="a parrot" loading="eager"></glic-image>
<glic-image id="damaged" src="files/2" bundle="bundle/" alt="a parrot" fallback="files/1"></glic-image>
<glic-image id="gone" src="files/77" bundle="bundle/" alt="a parrot"></glic-image>
<div></div>
<glic-image id="far" src="files/0" bundle="bundle/" alt=""></glic-image>"""


@pytest.fixture(scope="module")
def files(engine, tmp_path_factory) -> SimpleNamespace:
    """A photograph, its file, the pixels that Python decodes, a damaged file and a file of another model."""
    folder = tmp_path_factory.mktemp("files")
    photo = load_image(PHOTOS / "kodim23.png")[100:, 150:][: SIZE[1], : SIZE[0]]
    Image.fromarray(photo).save(folder / "parrot.png")
    exif = Image.Exif()
    exif[ExifTags.Base.Model] = "Camera <i>7</i>"
    exif.get_ifd(ExifTags.IFD.Exif).update(
        {ExifTags.Base.ExposureTime: IFDRational(1, 250), ExifTags.Base.FNumber: IFDRational(28, 5)}
    )
    with Codec(engine, threads=1) as codec:
        data = codec.encode(photo, metadata=Metadata(exif=exif.tobytes(), xmp=b"<x:xmpmeta>wings</x:xmpmeta>"))
        decoded = codec.decode(data)
        # An entry that points far behind the end, and a directory that contains itself.
        hostile = bytes.fromhex("4d4d002a00000008 0002 011000020000ffff7f000000 876900040000000100000008")
        (folder / "half.glic").write_bytes(codec.encode(photo, metadata=Metadata(exif=hostile)))
    (folder / "parrot.glic").write_bytes(data)
    middle = len(data) // 2
    (folder / "damaged.glic").write_bytes(data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :])
    file = container.parse(data)
    header = dataclasses.replace(file.header, model_fingerprint=bytes.fromhex("0badcafe"), fields=())
    (folder / "other.glic").write_bytes(container.pack(header, file.payload, file.symbol_checksum))
    return SimpleNamespace(folder=folder, photo=photo, data=data, decoded=decoded)


@pytest.fixture(scope="module")
def bundle(engine, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("web") / "bundle"
    web_bundle.write(engine, folder, encoder=True)
    return folder


@pytest.fixture(scope="module")
def answers(web_page, bundle, files) -> dict[str, viewer.Answer]:
    shown = [files.folder / name for name in ("parrot.glic", "parrot.png", "damaged.glic")]
    element = viewer.Answer(ELEMENT.encode(), "text/html; charset=utf-8")
    style = viewer.Answer(b"#shown { max-width: 90px } div { height: 9000px }", "text/css")
    return {**viewer.answers(web_page, bundle, shown), "/element.html": element, "/element.css": style}


@pytest.fixture(scope="module")
def url(answers) -> Iterator[str]:
    with serving(answers) as server:
        yield server.url


class Page:
    """The page in the browser, as the tests use it."""

    def __init__(self, browser, url: str) -> None:
        self.browser = browser
        browser.set_window_size(1200, 1000)
        for log in ("performance", "browser"):
            browser.get_log(log)
        browser.get(url)

    def script(self, code: str, *arguments: object):
        return self.browser.execute_script(code, *arguments)

    def text(self, identifier: str) -> str:
        return self.script("return document.getElementById(arguments[0]).textContent", identifier)

    def until(self, condition: Callable[[], object]):
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.browser, WAIT_S, poll_frequency=0.05).until(lambda _: condition())

    def until_status(self, text: str) -> None:
        self.until(lambda: text in self.text("status") or self.text("problems"))
        assert text in self.text("status"), self.text("problems")

    def until_problem(self, name: str) -> None:
        self.until(lambda: f"{name} cannot be shown" in self.text("status") or "is decoded" in self.text("status"))
        assert name in self.text("problems"), self.text("status")

    def drop(self, *paths: Path) -> None:
        """Drop files on the page, as a file manager does."""
        contents = [[path.name, base64.b64encode(path.read_bytes()).decode()] for path in paths]
        self.script(
            """const dataTransfer = new DataTransfer();
            for (const [name, data] of arguments[0]) {
              dataTransfer.items.add(new File([Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0))], name));
            }
            document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));""",
            contents,
        )

    def pixels(self, selector: str) -> np.ndarray:
        """The red, green and blue of a canvas."""
        width, height, data = self.script(
            """const canvas = document.querySelector(arguments[0]);
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            return [canvas.width, canvas.height, btoa(data.reduce((all, byte) => all + String.fromCharCode(byte), ""))];
            """,
            selector,
        )
        return np.frombuffer(base64.b64decode(data), np.uint8).reshape(height, width, 4)[..., :3]


@pytest.fixture(scope="module")
def page(browser, url) -> Page:
    """The page, with the parrot and the damaged file named on the command line."""
    page = Page(browser, url)
    page.until_status("parrot is decoded.")
    return page


class TestPage:
    def test_nothing_is_requested_from_outside(self, page):
        requested = [
            message["params"]["request"]["url"]
            for entry in page.browser.get_log("performance")
            if (message := json.loads(entry["message"])["message"])["method"] == "Network.requestWillBeSent"
        ]
        home = page.script("return location.origin")
        assert [url for url in requested if not url.startswith((home, "data:", "blob:", "chrome:"))] == []
        assert [entry for entry in page.browser.get_log("browser") if entry["level"] == "SEVERE"] == []

    def test_decodes_beside_the_original(self, page, files):
        decoded = page.pixels(".after canvas")
        assert np.abs(decoded.astype(int) - files.decoded).max() <= 2
        np.testing.assert_array_equal(page.pixels(".before canvas"), files.photo)
        assert page.script("return crossOriginIsolated")

    def test_numbers(self, page, files):
        shown = page.text("headline")
        psnr = metrics.psnr(files.photo, page.pixels(".after canvas"))
        assert f"{len(files.data):,}bytes" in shown
        assert f"{metrics.bits_per_pixel(len(files.data), SIZE[0] * SIZE[1]):.4f}bits per pixel" in shown
        assert f"{psnr:.2f} dBPSNR" in shown
        assert f"all{len(files.data):,}" in page.text("bits")
        assert "synthesis" in page.text("times")
        assert f"{SIZE[0]} × {SIZE[1]}" in page.text("metadata")
        assert "wings" in page.text("metadata")
        assert "cameraCamera <i>7</i>" in page.text("metadata")
        assert "exposure1/250 s" in page.text("metadata")
        assert "aperturef/5.6" in page.text("metadata")

    def test_says_what_it_runs_on(self, page):
        assert "conformance vectors" in page.text("engine")
        assert "one thread" not in page.text("engine")

    def test_divider_by_keys(self, page):
        from selenium.webdriver import Keys
        from selenium.webdriver.common.by import By

        keys = page.browser.find_element(By.ID, "split")
        keys.send_keys(Keys.ARROW_LEFT * 10)
        style = "return getComputedStyle(document.querySelector('.after')).clipPath"
        assert page.script(style).endswith("45%)")
        assert keys.get_attribute("aria-valuetext") == "45 %"

    def test_zoom_and_pan_by_keys_wheel_and_buttons(self, page):
        from selenium.webdriver import Keys
        from selenium.webdriver.common.by import By

        def transforms() -> list[str]:
            return page.script("return [...document.querySelectorAll('.layer > *')].map(one => one.style.transform)")

        viewer = page.browser.find_element(By.CLASS_NAME, "viewer")
        viewer.send_keys("++")
        assert transforms() == ["scale(4) translate(-37.5%, -37.5%)"] * 2
        viewer.send_keys(Keys.ARROW_LEFT)
        assert transforms() == ["scale(4) translate(-34.375%, -37.5%)"] * 2
        wheel = "arguments[0].dispatchEvent(new WheelEvent('wheel', {deltaY: 100, ctrlKey: true, cancelable: true}))"
        page.script(wheel, viewer)
        assert transforms()[0].startswith("scale(2)")
        page.browser.find_element(By.CSS_SELECTOR, "[data-zoom='8']").click()
        assert transforms()[0].startswith("scale(8)")
        viewer.send_keys("0")
        assert transforms() == ["scale(1) translate(0%, 0%)"] * 2

    def test_map_of_the_bits(self, page):
        from selenium.webdriver.common.by import By

        button = page.browser.find_element(By.ID, "left-bits")
        button.click()
        assert page.pixels(".before canvas").shape[:2] == (-(-SIZE[1] // 128) * 8, -(-SIZE[0] // 128) * 8)
        assert button.get_attribute("aria-pressed") == "true"
        button.click()
        assert page.script("return document.querySelector('.viewer').classList.contains('single')")
        page.browser.find_element(By.ID, "left-original").click()
        assert not page.script("return document.querySelector('.viewer').classList.contains('single')")

    def test_damaged_file(self, page):
        from selenium.webdriver.common.by import By

        page.browser.find_element(By.XPATH, "//nav//button[text()='damaged']").click()
        page.until(lambda: page.text("problems"))
        assert page.text("problems").startswith("damaged.glic: checksum mismatch")
        assert "get an unaltered copy" in page.text("problems")
        assert not page.browser.find_element(By.ID, "shown").is_displayed()

    def test_drop_of_a_file_of_another_model(self, page, files):
        page.drop(files.folder / "other.glic")
        page.until_problem("other.glic")
        assert page.text("problems").startswith("other.glic: ")
        assert "model" in page.text("problems")

    def test_drop_of_no_image(self, page, tmp_path):
        (tmp_path / "letter.txt").write_text("Dear reader")
        page.drop(tmp_path / "letter.txt")
        page.until_problem("letter.txt")
        assert page.text("problems").startswith("letter.txt: this browser cannot decode the image; choose a PNG")

    def test_drop_of_a_photograph_is_encoded(self, page, files, engine, tmp_path):
        path = tmp_path / "<b>wing.png"
        Image.fromarray(files.photo[:64, :96]).save(path)
        page.drop(path)
        page.until_status("<b>wing is decoded.")
        assert "to encode" in page.text("headline")
        assert page.script("return document.querySelector('#name').children.length") == 0
        decoded = page.pixels(".after canvas")
        assert decoded.shape == (64, 96, 3)
        assert metrics.psnr(files.photo[:64, :96], decoded) > 24

    def test_original_of_another_size_is_not_compared(self, page, files, tmp_path):
        Image.fromarray(files.photo[:50]).save(tmp_path / "half.png")
        page.drop(files.folder / "half.glic", tmp_path / "half.png")
        page.until_status("half is decoded.")
        assert f"half.png has {SIZE[0]} × 50 pixels" in page.text("problems")
        assert "PSNR" not in page.text("headline")
        assert "camera" not in page.text("metadata")

    def test_usable_without_a_pointer(self, page):
        """Every control has a name and can be focused, and messages are read out."""
        unnamed = page.script(
            """return [...document.querySelectorAll("button, input, [tabindex]")].filter((one) =>
              !one.textContent.trim() && !one.getAttribute("aria-label") && !one.labels?.length
            ).map((one) => one.outerHTML)"""
        )
        assert unnamed == []
        assert page.script("return [...document.querySelectorAll('[tabindex]')].every(one => one.tabIndex <= 0)")
        assert page.script("return document.getElementById('status').role") == "status"
        assert page.script("return document.getElementById('problems').role") == "alert"

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_colours_follow_the_system(self, page, scheme):
        """Text has a contrast of at least 4.5 with what is behind it, as WCAG asks."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        names = ("--ink", "--muted", "--accent", "--paper", "--panel")
        read = "return arguments[0].map(name => getComputedStyle(document.documentElement).getPropertyValue(name))"
        ink, muted, accent, *grounds = (luminance(colour) for colour in page.script(read, names))
        assert (grounds[0] > 0.5) == (scheme == "light")
        for text in (ink, muted, accent):
            for ground in grounds:
                assert (max(text, ground) + 0.05) / (min(text, ground) + 0.05) >= 4.5
        page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})

    def test_narrow_window(self, page):
        size = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
        page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        try:
            assert page.script("return innerWidth") == 360
            assert page.script("return document.documentElement.scrollWidth") == 360
            cut = page.script(
                """return [...document.querySelectorAll("main *")].filter((one) => !one.closest("ul") &&
                  one.getBoundingClientRect().right > 361 && !one.closest(".layer")).map((one) => one.outerHTML)"""
            )
            assert cut == []
        finally:
            page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def luminance(colour: str) -> float:
    """The relative luminance of `#rgb` or `#rrggbb`, as WCAG defines it."""
    digits = colour.strip().removeprefix("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    values = np.array([int(digits[i : i + 2], 16) for i in (0, 2, 4)]) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def test_a_server_without_the_headers(browser, answers, monkeypatch, files):
    """Without cross-origin isolation there are no threads: the page decodes on one, and says so."""
    headers = {name: value for name, value in viewer.HEADERS.items() if not name.startswith("Cross-Origin")}
    monkeypatch.setattr(viewer, "HEADERS", headers)
    with serving(answers) as server:
        page = Page(browser, server.url)
        page.until_status("parrot is decoded.")
        assert not page.script("return crossOriginIsolated")
        assert "1 thread" in page.text("engine")
        assert "COOP" in page.text("engine")
        assert np.abs(page.pixels(".after canvas").astype(int) - files.decoded).max() <= 2


@pytest.mark.parametrize("file", ["decoder.bin", "web.json"])
def test_a_damaged_bundle(browser, answers, file):
    with serving({**answers, f"/bundle/{file}": viewer.Answer(b"nothing", "text/plain")}) as server:
        page = Page(browser, server.url)
        page.until(lambda: page.text("problems"))
        assert page.text("problems").startswith("The decoder cannot be used: ")
        assert file in page.text("problems")
        assert "glic web-bundle" in page.text("problems")
        assert page.text("status") == "The decoder cannot be used."


def test_element(browser, url):
    page = Page(browser, f"{url}element.html")

    def complete(name: str) -> bool:
        return page.script("return document.getElementById(arguments[0]).complete", name)

    # The size is there before the image: also of the image that is far away and not loaded.
    page.until(lambda: page.script("return document.getElementById('far').naturalWidth") == SIZE[0])
    page.until(lambda: all(complete(name) for name in ("shown", "damaged", "gone")))
    width, height, label = page.script(
        """const shown = document.getElementById("shown"), canvas = shown.shadowRoot.querySelector("canvas");
        return [canvas.width, canvas.height, canvas.getAttribute("aria-label")];"""
    )
    assert (width, height, label) == (*SIZE, "a parrot")
    box = page.script("return document.getElementById('shown').getBoundingClientRect().toJSON()")
    assert (box["width"], box["height"]) == (90, pytest.approx(90 * SIZE[1] / SIZE[0], abs=0.1))
    instead, alt = page.script(
        "const { src, alt } = document.getElementById('damaged').shadowRoot.querySelector('img'); return [src, alt]"
    )
    assert (instead.endswith("files/1"), alt) == (True, "a parrot")
    assert page.script("return document.getElementById('gone').shadowRoot.textContent") == "a parrot"
    assert not complete("far")
    page.script("document.getElementById('far').scrollIntoView()")
    page.until(lambda: complete("far"))
    assert page.script("return document.getElementById('far').shadowRoot.querySelector('canvas').width") == SIZE[0]
