"""The report in a browser as narrow as a phone: only tables and code scroll sideways."""

import shutil

import pytest

from pi10_classifier.model.package import embedded


@pytest.mark.parametrize("width", [390, 1200])
def test_nothing_runs_over_the_edge(full, width, tmp_path):
    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        pytest.skip("chromium is not installed: the page was not opened in a browser")
    source = full.write(embedded("starter")).source  # its card has hashes and long commands
    (tmp_path / "report.html").write_text(source, encoding="utf-8")
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 800}, is_mobile=width < 560)
        page.goto((tmp_path / "report.html").as_uri())
        assert "Stage 1" in page.inner_text("#model")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        browser.close()
