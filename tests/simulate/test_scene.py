"""Images of a simulation: every drawn kind, the three classes, real crops."""

from __future__ import annotations

import csv
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pi10_classifier.errors import SettingError
from pi10_classifier.simulate import CRUISE, Crops, Studio, simulate_cruise
from pi10_classifier.simulate.particles import KINDS, draw
from pi10_classifier.simulate.scene import pad_crop


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    folder = tmp_path / "crops"
    for number, group in enumerate(("copepod", "detritus", "other")):
        (folder / group / "some").mkdir(parents=True)
        image = Image.fromarray(np.full((13, 21, 3), 40 * number, np.uint8))
        image.save(folder / group / "some" / f"{number:02}.png")
    (folder / "README.txt").write_text("no crop")
    return folder


class TestDrawing:
    @pytest.mark.parametrize(
        ("label", "number"), [(label, i) for label in KINDS for i in range(len(KINDS[label]))]
    )
    def test_every_kind_is_visible(self, label: str, number: int) -> None:
        kind, _, share = KINDS[label][number]
        assert share > 0
        seen = set()
        for seed in range(300):
            particle = draw(label, np.random.default_rng(seed), length=32)
            seen.add(particle.kind)
            if particle.kind == kind:
                assert particle.extent > 20
                assert particle.levels[0].max() > 60
                break
        assert kind in seen

    def test_shares_of_kinds_add_up(self) -> None:
        for kinds in KINDS.values():
            assert sum(share for _, _, share in kinds) == pytest.approx(1)

    def test_images_are_dark_on_light_and_framed_on_the_grid(self) -> None:
        studio, rng = Studio(1), np.random.default_rng(1)
        sides = []
        for number in range(150):
            rgb = studio.image(number, rng).rgb
            sides.append(rgb.shape[:2])
            assert rgb.dtype == np.uint8
            assert not any(side % 8 for side in rgb.shape[:2])
            edge = np.concatenate((rgb[0], rgb[-1], rgb[:, 0], rgb[:, -1]))
            assert np.median(edge) > 190
            assert rgb.min() < np.median(edge) - 40
        middle = np.median(sides, axis=0)
        assert (middle >= 48).all()
        assert (middle <= 128).all()

    def test_giants_pass_a_thousand_px(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("pi10_classifier.simulate.scene.GIANT_SHARE", 1.0)
        rng = np.random.default_rng(5)
        sides = [max(Studio(1).image(n, rng).rgb.shape) for n in range(4)]
        assert max(sides) > 1000

    def test_images_are_distinct(self) -> None:
        studio, rng = Studio(3, {"detritus": 1}), np.random.default_rng(1)
        seen = {studio.image(n, rng).rgb.tobytes() for n in range(400)}
        assert len(seen) == 400

    def test_proportions_are_kept(self) -> None:
        studio = Studio(3, {"copepod": 3, "detritus": 1})
        rng = np.random.default_rng(1)
        drawn = Counter(studio.image(n, rng).label for n in range(400))
        assert set(drawn) == {"copepod", "detritus"}
        assert drawn["copepod"] == pytest.approx(300, abs=40)

    @pytest.mark.parametrize(
        "wrong", [{"krill": 1}, {"copepod": -1}, {"copepod": 0}, {}, {"copepod": float("nan")}]
    )
    def test_wrong_proportions_are_refused(self, wrong: dict[str, float]) -> None:
        with pytest.raises(SettingError, match="proportions"):
            Studio(0, wrong)


class TestCrops:
    def test_crops_fill_a_bin_from_the_start_again(self, crops: Path, tmp_path: Path) -> None:
        (path,) = simulate_cruise(tmp_path / "out", bins=1, images=8, crops=crops)
        with (tmp_path / "out" / CRUISE / "truth.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        drawn = Counter(row["label"] for row in rows)
        assert sum(drawn.values()) == 8
        assert set(drawn) == {"copepod", "detritus", "other"}
        assert {row["kind"] for row in rows} == {"some"}
        levels = {"copepod": 0, "detritus": 40, "other": 80}
        with tarfile.open(path) as tar:
            for row in rows:
                with Image.open(tar.extractfile(row["member"])) as image:
                    rgb = np.asarray(image)
                assert rgb.shape == (16, 24, 3)
                assert (rgb == levels[row["label"]]).all()

    def test_a_tar_of_crops_equals_its_folder(self, crops: Path, tmp_path: Path) -> None:
        tar = tmp_path / "crops.tar"
        with tarfile.open(tar, "w") as archive:
            archive.add(crops, ".")
            archive.add(crops / "README.txt", "copepod/README.txt")
        (a,) = simulate_cruise(tmp_path / "a", bins=1, images=6, crops=crops)
        (b,) = simulate_cruise(tmp_path / "b", bins=1, images=6, crops=tar)
        assert a.read_bytes() == b.read_bytes()

    def test_padding_keeps_the_crop_and_takes_its_border_level(self) -> None:
        rgb = np.full((10, 17, 3), (250, 240, 230), np.uint8)
        rgb[3:7, 5:12] = 20
        padded = pad_crop(rgb)
        assert padded.shape == (16, 24, 3)
        assert np.array_equal(padded[3:13, 3:20], rgb)
        assert (padded[0] == (250, 240, 230)).all()
        exact = np.zeros((8, 16, 3), np.uint8)
        assert pad_crop(exact) is exact

    def test_no_crops_is_a_setting_error(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("x")
        with pytest.raises(SettingError, match="holds no"):
            Crops(tmp_path)

    def test_a_damaged_crop_is_named(self, crops: Path, tmp_path: Path) -> None:
        (crops / "copepod" / "some" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
        with pytest.raises(SettingError, match=r"bad\.png"):
            simulate_cruise(tmp_path / "out", bins=1, images=4, crops=crops)
        assert not list((tmp_path / "out").rglob("*.tar*"))

    def test_a_compressed_tar_is_refused(self, crops: Path, tmp_path: Path) -> None:
        tar = tmp_path / "crops.tar.gz"
        with tarfile.open(tar, "w:gz") as archive:
            archive.add(crops, ".")
        with pytest.raises(SettingError, match="uncompressed"):
            Crops(tar)
