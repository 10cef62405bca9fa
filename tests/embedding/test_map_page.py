"""The map: one file, with every particle that has pixels, and nothing that could run."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import embedded_run
import pytest

from pi10_classifier.embedding.map_page import check_map, write_map
from pi10_classifier.errors import SettingError


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> embedded_run.EmbeddedRun:
    return embedded_run.build(tmp_path_factory.mktemp("map"), bins=1)


def data_of(page: Path) -> dict[str, list[list[object]]]:
    found = re.search(r'id="data">(.*?)</script>', page.read_text("utf-8"), re.DOTALL)
    assert found
    return dict(json.loads(found[1]))


def test_it_is_one_file_with_the_particles_and_their_places(
    made: embedded_run.EmbeddedRun,
) -> None:
    page = write_map(made.path, most=50)
    assert page.path is not None and page.particles == 50 and not page.problems
    text = page.path.read_text("utf-8")
    assert not re.search(r"(src|href)=|https?://|url\(", text)  # nothing is loaded
    model = json.loads((made.path / "run.json").read_text("utf-8"))["model"]
    assert f"features of {model['name']} {model['version']} ({model['sha256'][:8]})" in text
    data = data_of(page.path)
    assert len(data["particles"]) == 50 and str(data["sheets"][0]).startswith("data:image/jpeg")
    assert {str(row[6]) for row in data["particles"]} <= set(made.truth)
    assert all(abs(float(str(v))) <= 1 for row in data["particles"] for v in row[:2])
    assert write_map(made.path, most=50).path.read_text("utf-8") == text  # type: ignore[union-attr]


def test_particles_whose_images_are_gone_are_told(
    made: embedded_run.EmbeddedRun, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(made.path, tmp_path / "run"))
    away = made.cruise.with_name("away")
    made.cruise.rename(away)
    try:
        page = write_map(run, most=20)
    finally:
        away.rename(made.cruise)
    assert page.path is None and len(page.problems) == 20


def test_umap_without_its_extra_is_refused_before_work(monkeypatch: pytest.MonkeyPatch) -> None:
    check_map("pca")
    monkeypatch.setattr("pi10_classifier.embedding.map_page.find_spec", lambda name: None)
    with pytest.raises(SettingError, match=r"umap-learn.*--map pca"):
        check_map("umap")


def test_a_map_by_umap_tells_so_and_few_particles_are_placed_without(
    made: embedded_run.EmbeddedRun, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(made.path, tmp_path / "run"))
    few = write_map(run, "umap", most=10)
    assert few.path is not None and "principal components" in few.path.read_text("utf-8")
    pytest.importorskip("umap", reason="the extra [umap] is not installed")
    many = write_map(run, "umap", most=40)
    assert many.path is not None and "placed by UMAP" in many.path.read_text("utf-8")
    assert len(data_of(many.path)["particles"]) == 40
