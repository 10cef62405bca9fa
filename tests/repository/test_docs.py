"""The documentation's site: built without a warning, complete, and readable without a network."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from pi10_classifier.cli import pi10

ROOT = Path(__file__).parents[2]
MODULES = re.findall(r"^::: (\S+)$", (ROOT / "docs/reference/modules.md").read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for needed in ("material", "mkdocstrings", "mkdocs_click"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed; pip install '.[docs]'")
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return out


class Loaded(HTMLParser):
    """What a page makes a browser fetch by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in ("script", "img", "iframe", "source") and given.get("src"):
            self.addresses.append(given["src"])
        if tag == "link" and given.get("rel") not in ("canonical", "next", "prev", "edit"):
            self.addresses.append(given.get("href") or "")


def test_every_page_of_docs_is_in_the_site(site: Path) -> None:
    pages = sorted(path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md"))
    assert pages
    menu = (ROOT / "mkdocs.yml").read_text("utf-8")
    for page in pages:
        assert (site / page.with_suffix(".html")).is_file(), page
        assert str(page.as_posix()) in menu, f"{page} is not in the menu of mkdocs.yml"


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    for path in site.rglob("*.html"):
        page = Loaded()
        page.feed(path.read_text("utf-8"))
        assert page.addresses
        far = [address for address in page.addresses if re.match(r"(https?:)?//", address)]
        assert not far, (path.name, far)
    for path in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", path.read_text("utf-8"))


def test_the_reference_has_every_command(site: Path) -> None:
    text = (site / "reference/cli.html").read_text("utf-8")
    for name in pi10.commands:
        assert f">{name}<" in text or f" {name}<" in text, name


@pytest.mark.parametrize("module", MODULES)
def test_the_reference_has_what_a_module_shows(site: Path, module: str) -> None:
    text = (site / "reference/modules.html").read_text("utf-8")
    assert f'id="{module}"' in text
    assert re.search(rf'id="{re.escape(module)}\.\w+"', text), f"nothing of {module} is documented"


def test_the_picture_is_drawn_from_simulated_particles(tmp_path: Path) -> None:
    pytest.importorskip("deepaas")
    out = tmp_path / "sheet.png"
    done = subprocess.run([sys.executable, str(ROOT / "docs/picture.py"), str(out)],
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    drawn = cv2.imread(str(out))
    kept = cv2.imread(str(ROOT / "docs/images/sheet.png"))
    assert drawn.shape == kept.shape
    # of the same seed; another platform may round a score or a pixel otherwise
    assert np.mean(cv2.absdiff(drawn, kept)) < 2
