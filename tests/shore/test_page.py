"""The page of ``pi10 shore``: under a prefix, its charts in a browser, its land."""

from __future__ import annotations

import csv
import io
import json
import shutil
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from shore_fleet import CLASSES, Shore, make_line, token_of, write_tokens

from pi10_classifier.shore.receiver.lines import minute_text
from pi10_classifier.shore.webpage.coast import outlines

NOW = int(time.time()) // 60
FIRST = NOW // 1440 * 1440 - 2880  # a midnight
SOURCE = "0123abcd"


def test_land_lies_where_the_coast_is() -> None:
    def is_land(east: float, north: float) -> bool:
        winding = 0
        for outline in outlines(-6, 49, 3, 53):
            for (x0, y0), (x1, y1) in pairwise(outline):
                crosses = (y0 <= north) != (y1 <= north)
                if crosses and x0 + (north - y0) / (y1 - y0) * (x1 - x0) > east:
                    winding += 1 if y1 > y0 else -1
        return winding != 0

    assert is_land(-1.0, 51.8)  # Oxford
    assert not is_land(-1.5, 50.2)  # the Channel
    assert is_land(-1.25, 50.67)  # the Isle of Wight


def test_the_page_under_a_prefix(place: Any, tmp_path: Path) -> None:
    tokens = write_tokens(tmp_path / "tokens", ["endeavour"])
    with place.shore(tokens, "--base-path", "/a/shore") as shore:
        lines = (make_line(SOURCE, seq, FIRST + seq, at=[50.0, -4.0]) for seq in range(3, 40))
        assert shore.send("endeavour", *lines)[0] == 200
        shore.base = "/a"
        status, _, headers = shore.ask("/shore")
        assert (status, headers["Location"]) == (302, "shore/")
        shore.base = "/a/shore"
        for path in ("/", "/shore.js", "/charts.js", "/shore.css", "/days/2026-01-01"):
            status, body, headers = shore.ask(path)
            assert status == 200
            assert "script-src 'self';" in headers["Content-Security-Policy"]
            assert b"http://" not in body and b"https://" not in body  # nothing from elsewhere
        status, body, headers = shore.ask("/api/voyages/endeavour/spectrum")
        assert (status, body) == (200, b"[]") and "no sizes" in headers["Pi10-No-Spectrum"]
        overview = shore.get("/api/voyages")
        assert [voyage["name"] for voyage in overview["voyages"]] == ["endeavour"]
        date = minute_text(FIRST)[:10]
        day = shore.get(f"/days/{date}.json")["voyages"][0]
        assert (day["minutes"], day["last_position"]) == (37, [50.0, -4.0])
        rows = list(csv.DictReader(io.StringIO(shore.ask(f"/days/{date}.csv")[1].decode())))
        assert [row["label"] for row in rows] == list(CLASSES)
        assert float(rows[0]["per_litre"]) == day["densities"]["copepod"]["per_litre"]
        page = shore.ask(f"/days/{date}")[1].decode()
        assert "endeavour" in page and "<script" not in page
        assert shore.ask("/days/nonsense")[0] == 400
        assert shore.ask("/api/voyages/nobody/series?from=2026-01-01&to=2026-01-02")[0] == 400
        assert shore.ask("/api/coast?west=5&south=0&east=4&north=1")[0] == 400
        assert token_of("endeavour") not in json.dumps(overview)


def test_the_page_draws_its_charts(tmp_path: Path) -> None:
    pytest.importorskip("plotly")
    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        pytest.skip("no Chromium")
    tokens = write_tokens(tmp_path / "tokens", ["endeavour"])
    words = ("--store", str(tmp_path / "s"), "--tokens", str(tokens), "--base-path", "/shore")
    with Shore(*words) as shore, sync_api.sync_playwright() as play:
        lines = (
            make_line(SOURCE, seq, NOW - 400 + seq, at=[50.0 + seq / 999, -4.0], flags=["step"])
            for seq in range(3, 400)
        )
        assert shore.send("endeavour", *lines)[0] == 200
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 800})
        problems: list[str] = []
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(f"http://127.0.0.1:{shore.port}/shore/")
        for chart in ("density", "map", "section", "hits", "images", "flags"):
            page.locator(f"#{chart} .main-svg").first.wait_for(timeout=60_000)
        page.wait_for_function("document.querySelector('#map').data.length === 4")  # with land
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert problems == []
        browser.close()


def test_a_time_without_particles_tells_where_they_begin(tmp_path: Path) -> None:
    pytest.importorskip("plotly")
    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        pytest.skip("no Chromium")
    tokens = write_tokens(tmp_path / "tokens", ["endeavour"])
    words = ("--store", str(tmp_path / "s"), "--tokens", str(tokens))
    first = FIRST - 30 * 1440
    idle = {"id": SOURCE, "seq": 2, "minute": minute_text(NOW - 1), "model": "5b9cd020",
            "n": {}, "failed": 0, "skipped": 0, "backlog": 0}  # fmt: skip
    with Shore(*words) as shore, sync_api.sync_playwright() as play:
        lines = (make_line(SOURCE, 1, first + 2), json.dumps(idle))
        assert shore.send("endeavour", *lines)[0] == 200
        assert shore.get("/api/voyages")["voyages"][0]["refused"] == 0
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 800})
        page.goto(f"http://127.0.0.1:{shore.port}/")
        page.locator("#empty").wait_for(state="visible", timeout=60_000)
        text = page.inner_text("#empty")
        assert text.startswith("endeavour has no particles from")
        assert minute_text(first)[:10] in text
        page.fill("#until", minute_text(first)[:10])
        page.locator("#empty").wait_for(state="hidden")
        browser.close()
