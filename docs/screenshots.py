"""Draws docs/images/report.png and page.png: a simulated cruise as the report and the page show it.

python docs/screenshots.py      (needs the extras [report,serve,dev] and Chromium)
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from pi10_classifier.classify import Settings, classify
from pi10_classifier.report.page import write_report
from pi10_classifier.simulate import simulate_cruise

IMAGES = Path(__file__).parent / "images"
VIEW = {"width": 1100, "height": 760}
COLOURS = 128  # of the palette: text stays sharp, and the file small


def save(name: str, shot: bytes) -> None:
    """Write a screenshot with a palette of its own."""
    from io import BytesIO

    from PIL import Image

    image = Image.open(BytesIO(shot)).convert("RGB").quantize(COLOURS)
    image.save(IMAGES / name, optimize=True)


def draw(browser: Any, home: Path) -> None:
    cruise = simulate_cruise(home / "cruise", bins=6, images=220, partial=1)
    settings = Settings()
    classify([str(home / "cruise")], home / "out", settings)
    page = browser.new_page(viewport=VIEW)
    page.goto(f"{write_report(home / 'out', settings.model).as_uri()}#density")
    save("report.png", page.screenshot())
    with subprocess.Popen(
        [sys.executable, "-m", "pi10_classifier", "serve", "--port", "0", "--workers", "1"],
        stderr=subprocess.PIPE, text=True,
    ) as server:  # fmt: skip
        try:
            assert server.stderr is not None
            address = next(
                found[0]
                for line in server.stderr
                if (found := re.search(r"http://127\.0\.0\.1:\d+", line))
            )
            page.goto(f"{address}/ui/")
            page.set_input_files("#files", str(cruise[0]))
            page.locator("#particles .name").first.wait_for(timeout=120_000)
            page.wait_for_timeout(1500)  # previews
            save("page.png", page.screenshot())
        finally:
            server.terminate()


def main() -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as play, tempfile.TemporaryDirectory() as folder:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        draw(browser, Path(folder))
        browser.close()


if __name__ == "__main__":
    main()
