"""The report: tables and plots from fixed results, and the page in a browser."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import numpy as np
import pytest
from PIL import Image

from glic_deploy.bench.images import synthetic
from glic_deploy.cli import exits, main
from glic_deploy.evaluation import results
from glic_deploy.evaluation import tables as eval_tables
from glic_deploy.evaluation.run import SCHEMA_FILE, Evaluation, Settings
from glic_deploy.report import figures, maps, markdown, page
from glic_deploy.report.build import FIGURES, MAPS, Report, foreign

from .conftest import DATA, PHOTOS

BENCH = DATA / "bench" / "result.json"


def document() -> dict:
    return json.loads((DATA / "eval" / "result.json").read_text())


@pytest.fixture(scope="module")
def report() -> Report:
    """Of the fixed results, with two small pictures."""
    report = Report(Evaluation(Settings(["out/sample"], []), print), document(), [json.loads(BENCH.read_text())])
    picture = synthetic(64, 48)
    values = np.arange(12.0).reshape(3, 4)
    drawn = figures.overlay(picture, values, 16, title="Bits", unit="bits")
    report.overlays = [maps.Overlay("bits", "Bits", figures.as_png(drawn), values)]
    report.map_of = "photos/a.png"
    report.pairs = [page.Pair(row, picture, 255 - picture) for row in report.document["engines"][0]["rows"]]
    return report


class TestFixedResult:
    def test_follows_the_schema(self):
        jsonschema.validate(document(), json.loads(SCHEMA_FILE.read_text()))

    def test_text(self):
        assert eval_tables.render(document()) + "\n" == (DATA / "eval" / "table.txt").read_text()

    def test_csv(self):
        assert results.as_csv(document()).encode() == (DATA / "eval" / "rows.csv").read_bytes()

    def test_markdown(self):
        rendered = markdown.render(document(), [json.loads(BENCH.read_text())], ["sample"])
        assert rendered == (DATA / "eval" / "tables.md").read_text()


class TestFigures:
    def test_plots_are_svg_and_the_same_every_time(self, report):
        plots = report.plots()
        assert list(plots) == [
            "Rate and distortion",
            "Bits by stage",
            "Time by stage",
            "Growth with size: bundle",
        ]
        assert all(ElementTree.fromstring(svg).tag.endswith("svg") for svg in plots.values())
        again = figures.spent_bits(report.document["engines"])
        assert figures.as_svg(again) == plots["Bits by stage"]

    def test_files(self, report, tmp_path):
        for _ in range(2):
            report.write_figures(tmp_path / "figures")
            report.write_maps(tmp_path / "maps")
            assert not foreign(tmp_path / "figures", FIGURES)
            assert not foreign(tmp_path / "maps", MAPS)
        assert len(list((tmp_path / "figures").glob("*.svg"))) == 4
        assert (tmp_path / "figures" / "tables.md").read_text().startswith("Means over 2 images")
        assert (tmp_path / "maps" / "bits.png").read_bytes().startswith(b"\x89PNG")

    def test_numbers_of_a_map(self, report):
        assert report.overlays[0].numbers("a") == {
            "image": "a", "name": "bits", "mean": 5.5, "min": 0, "max": 11, "zero_share": 1 / 12,
        }  # fmt: skip


def test_names_of_pictures_cannot_break_the_page(report):
    contents = page.Contents(document(), [], [], {}, report.overlays, "</p><script>alert(1)</script>", [])
    contents.document["failures"][0]["image"] = "</script><script>alert(2)</script>.png"
    html = page.render(contents)
    assert html.count("<script") == 2
    assert "alert(1)</script>" not in html


@pytest.fixture(scope="module")
def shown(report, browser, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    report.write_page(str(path))
    browser.set_window_size(1200, 1000)
    for log in ("performance", "browser"):
        browser.get_log(log)  # of other tests
    browser.get(path.as_uri())
    return path


class TestPage:
    def split(self, browser) -> float:
        return browser.execute_script(
            "return parseFloat(getComputedStyle(document.querySelector('.viewer')).getPropertyValue('--split') || 50)"
        )

    def test_nothing_is_requested_from_outside(self, browser, shown):
        requested = [
            message["params"]["request"]["url"]
            for entry in browser.get_log("performance")
            if (message := json.loads(entry["message"])["message"])["method"] == "Network.requestWillBeSent"
        ]
        outside = [url for url in requested if not url.startswith(("data:", "file:", "chrome:", "about:"))]
        assert outside == []
        assert [url for url in requested if url.startswith("file:")] == [shown.as_uri()]
        assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []

    def test_every_picture_is_shown(self, browser, shown):
        broken = "return [...document.images].filter(image => !image.complete || !image.naturalWidth).length"
        assert browser.execute_script("return document.images.length") == 4 + 1 + 2 * 2
        assert browser.execute_script(broken) == 0

    def test_divider_moves(self, browser, shown):
        from selenium.webdriver import ActionChains, Keys
        from selenium.webdriver.common.by import By

        viewer = browser.find_element(By.CLASS_NAME, "viewer")
        divider = browser.find_element(By.CLASS_NAME, "divider")
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", viewer)
        before = divider.rect["x"]
        ActionChains(browser).drag_and_drop_by_offset(divider, -200, 0).perform()
        assert divider.rect["x"] == pytest.approx(before - 200, abs=3)
        dragged = self.split(browser)
        assert dragged < 45
        keys = browser.find_element(By.CSS_SELECTOR, "input[type=range]")
        keys.send_keys(Keys.ARROW_RIGHT * 4)
        assert self.split(browser) == pytest.approx(dragged + 2, abs=0.51)
        clipped = browser.execute_script("return getComputedStyle(document.querySelector('.after')).clipPath")
        assert clipped.startswith("inset(0px 0px 0px")

    def test_both_sides_zoom_alike(self, browser, shown):
        from selenium.webdriver.common.by import By

        browser.find_element(By.CSS_SELECTOR, "button[data-zoom='4']").click()
        transforms = browser.execute_script(
            "return [...document.querySelector('.viewer').querySelectorAll('img')].map(image => image.style.transform)"
        )
        assert transforms[0] == transforms[1]
        assert transforms[0].startswith("scale(4)")
        browser.find_element(By.CSS_SELECTOR, "button[data-zoom='1']").click()

    def test_two_fingers_zoom_and_one_pans(self, browser, shown):
        from selenium.webdriver.common.by import By

        box = browser.find_element(By.CLASS_NAME, "viewer").rect
        top = browser.execute_script("return scrollY")
        middle, y = box["x"] + box["width"] / 2, box["y"] - top + box["height"] / 2

        def touch(kind: str, *places: float) -> None:
            points = [{"x": x, "y": y, "id": number} for number, x in enumerate(places)]
            browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

        def place() -> tuple[float, ...]:
            transform = browser.execute_script("return document.querySelector('.viewer img').style.transform")
            return tuple(map(float, re.findall(r"-?\d+\.?\d*", transform)))

        divider = self.split(browser)
        touch("touchStart", middle - 20, middle + 20)
        touch("touchMove", middle - 40, middle + 40)
        touch("touchEnd")
        assert place() == pytest.approx((2, -25, -25), abs=0.5)
        touch("touchStart", middle)
        touch("touchMove", middle + box["width"] / 10)
        touch("touchEnd")
        assert place() == pytest.approx((2, -20, -25), abs=0.5)
        assert self.split(browser) == divider
        browser.find_element(By.CSS_SELECTOR, "button[data-zoom='1']").click()

    def test_numbers_can_be_read_back(self, browser, shown, report):
        numbers = browser.execute_script("return JSON.parse(document.getElementById('result').textContent)")
        assert numbers["evaluation"]["engines"] == report.document["engines"]
        assert numbers["benchmarks"][0]["schema"] == "glic-bench/3"

    def test_prints(self, browser, shown):
        printed = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"])
        assert printed.startswith(b"%PDF")
        assert printed.count(b"/Type /Page\n") + printed.count(b"/Type /Page ") >= 2


class TestCommand:
    def test_page_maps_and_figures(self, engine, tmp_path, capsys):
        photo = tmp_path / "part.png"
        Image.open(sorted(PHOTOS.glob("*.png"))[0]).crop((0, 0, 250, 130)).save(photo)
        arguments = ["--engine", str(engine), "--threads", "1", "--codecs", "none", "--bench", str(BENCH), "-q"]
        written = ["--report", str(tmp_path / "r.html"), "--maps", str(tmp_path / "maps"), "--json", "-"]
        assert main(["eval", str(photo), *arguments, *written, "--figures", str(tmp_path / "figures")]) == exits.OK
        result = json.loads(capsys.readouterr().out)
        jsonschema.validate(result, json.loads(SCHEMA_FILE.read_text()))
        assert [shown["name"] for shown in result["maps"]] == [
            "bits", "degrees_g_a.g2_local", "degrees_g_a.g2_global", "degrees_g_a.g3_local", "degrees_g_a.g3_global",
        ]  # fmt: skip
        assert photo.name in (tmp_path / "r.html").read_text()
        assert len(list((tmp_path / "maps").glob("*.png"))) == 5
        assert (tmp_path / "figures" / "tables.md").exists()

    def test_what_is_missing_is_told_before_the_work(self, tmp_path, capsys, monkeypatch):
        monkeypatch.setattr("glic_deploy.report.figures.importlib.util.find_spec", lambda name: None)
        code = main(["eval", str(PHOTOS), "--engine", str(tmp_path), "--report", str(tmp_path / "r.html")])
        assert code == exits.BAD_ENGINE
        assert "matplotlib" in capsys.readouterr().err

    @pytest.mark.slow
    def test_short_bench_of_its_own(self, engine, tmp_path, capsys):
        photo = sorted(PHOTOS.glob("*.png"))[0]
        arguments = ["--engine", str(engine), "--codecs", "jpeg", "--report", str(tmp_path / "r.html")]
        assert main(["eval", str(photo), *arguments]) == exits.OK
        assert "Growth with size" in (tmp_path / "r.html").read_text()
