"""Simulated cruises: named as the instrument's, deterministic, told by their truth."""

from __future__ import annotations

import csv
import hashlib
import struct
import tarfile
from collections import Counter
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import broken_files
import numpy as np
import pytest

from pi10_classifier.errors import OutputError, SettingError
from pi10_classifier.instrument.hits_misses import HitsMisses
from pi10_classifier.instrument.names import Bin, Particle
from pi10_classifier.simulate import (
    CRUISE,
    TRUTH_COLUMNS,
    BinPlan,
    plan_cruise,
    simulate_cruise,
    write_bin,
)
from pi10_classifier.simulate.bins import Track, draw_misses
from pi10_classifier.simulate.particles import KINDS
from pi10_classifier.simulate.scene import Scene

START = datetime(2024, 6, 24, 14, 50, tzinfo=UTC)


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar}


def digests(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def truth_of(cruise: Path) -> list[dict[str, str]]:
    with (cruise / "truth.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def cruise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sim")
    simulate_cruise(out, bins=3, images=60, partial=1, seed=7)
    return out / CRUISE


class TestCruise:
    def test_bins_are_named_by_their_start(self, cruise: Path) -> None:
        tars = sorted(p.relative_to(cruise).as_posix() for p in cruise.rglob("*.tar"))
        assert tars[:2] == ["2024-06-24/1450.tar", "2024-06-24/1500.tar"]
        late = Bin.from_archive(tars[2])
        assert late is not None
        assert late.is_partial

    def test_members_bear_a_backslash(self, cruise: Path) -> None:
        names = list(members(cruise / "2024-06-24" / "1450.tar"))
        particles = [name for name in names if name.startswith("RawImages\\")]
        assert particles[0] == "RawImages\\pia7.2024-06-24.1450+N00000000.tif"
        assert len(particles) == 60
        assert {"Background.tif", "Bubbles.txt", "Cameralog.txt", "HitsMisses.txt"} <= set(names)

    def test_hits_are_the_images_of_each_minute(self, cruise: Path) -> None:
        for path in cruise.rglob("*.tar"):
            files = members(path)
            start = Bin.from_archive(path.as_posix()).start
            hits = HitsMisses.parse(files["HitsMisses.txt"])
            assert files["HitsMisses.txt"].startswith(b"hits,misses\r\n")
            assert len(hits.rows) == 10 - start.minute % 10
            minutes = Counter()
            last = start
            for name, data in files.items():
                if Particle.parse(name):
                    when = datetime.strptime(data[318:337].decode(), "%Y:%m:%d %H:%M:%S")
                    when = when.replace(tzinfo=UTC)
                    assert when >= last
                    last = when
                    minutes[(when - start) // timedelta(minutes=1)] += 1
            assert [minutes[m] for m in range(len(hits.rows))] == [hit for hit, _ in hits.rows]

    def test_truth_names_every_image_once(self, cruise: Path) -> None:
        rows = truth_of(cruise)
        assert list(rows[0]) == list(TRUTH_COLUMNS)
        told = {(row["bin"], row["member"]) for row in rows}
        found = {
            (str(Particle.parse(name).bin), name)
            for path in cruise.rglob("*.tar")
            for name in members(path)
            if Particle.parse(name)
        }
        assert len(rows) == len(told) == 180
        assert told == found
        assert {row["label"] for row in rows} <= set(KINDS)
        assert all(
            Particle.parse(r["member"]) == Particle.parse(r["particle_id"] + ".tif") for r in rows
        )

    def test_truth_agrees_with_the_minute_of_capture(self, cruise: Path) -> None:
        files = {}
        for path in cruise.rglob("*.tar"):
            files |= members(path)
        for row in truth_of(cruise):
            stamp = files[row["member"]][318:334].decode().replace(":", "-", 2).replace(" ", "T")
            assert row["minute"] == stamp + ":00Z"

    def test_same_seed_same_bytes(self, cruise: Path, tmp_path: Path) -> None:
        simulate_cruise(tmp_path, bins=3, images=60, partial=1, seed=7)
        assert digests(tmp_path / CRUISE) == digests(cruise)
        simulate_cruise(tmp_path / "other", bins=3, images=60, partial=1, seed=8)
        ours, theirs = digests(cruise), digests(tmp_path / "other" / CRUISE)
        assert not set(ours.values()) & set(theirs.values())

    def test_bins_do_not_depend_on_their_order(self, cruise: Path, tmp_path: Path) -> None:
        plans = plan_cruise(bins=3, images=60, partial=1, seed=7)
        for plan in reversed(plans):
            write_bin(plan, tmp_path, seed=7)
        tars = {name: value for name, value in digests(cruise).items() if name != "truth.csv"}
        assert digests(tmp_path) == tars

    def test_rewriting_the_same_cruise_is_allowed(self, tmp_path: Path) -> None:
        for folders in (False, True):
            out = tmp_path / str(folders)
            simulate_cruise(out, bins=1, images=2, folders=folders)
            before = digests(out)
            simulate_cruise(out, bins=1, images=2, folders=folders)
            assert digests(out) == before

    def test_slash_and_folders(self, tmp_path: Path) -> None:
        simulate_cruise(tmp_path / "a", bins=1, images=5, slash=True)
        (tar,) = (tmp_path / "a").rglob("*.tar")
        files = members(tar)
        assert sum(name.startswith("RawImages/") for name in files) == 5
        (path,) = simulate_cruise(tmp_path / "b", bins=1, images=5, folders=True)
        assert path.is_dir()
        on_disk = {p.relative_to(path).as_posix(): p.read_bytes() for p in path.rglob("*.t*")}
        assert on_disk == files

    def test_sizes_override_images(self, tmp_path: Path) -> None:
        done: list[int] = []
        paths = simulate_cruise(tmp_path, sizes=[130, 1, 7], progress=done.append)
        assert [len([n for n in members(p) if "RawImages" in n]) for p in paths] == [130, 1, 7]
        assert done == [100, 130, 131, 138]

    def test_positions_move_or_are_missing(self, tmp_path: Path) -> None:
        with_fix = members(simulate_cruise(tmp_path / "a", bins=1, images=9, no_fix=0)[0])
        degrees = [data[338:346] for name, data in with_fix.items() if "RawImages" in name]
        minutes = {data[346:350] for name, data in with_fix.items() if "RawImages" in name}
        assert all(struct.unpack("<2I", value)[0] > 40 for value in degrees)
        assert len(minutes) > 4
        without = members(simulate_cruise(tmp_path / "b", bins=1, images=9, no_fix=1)[0])
        for name, data in without.items():
            if "RawImages" in name:
                assert data[338:386] == struct.pack("<6I", 0, 1, 0, 100_000, 0, 1) * 2

    def test_a_failed_write_leaves_no_bin(self, tmp_path: Path) -> None:
        class Broken:
            given = 0

            def image(self, number: int, rng: np.random.Generator) -> Scene:
                self.given += 1
                if self.given == 3:
                    raise OSError(28, "No space left on device")
                return Scene("copepod", "calanoid", np.zeros((8, 8, 3), np.uint8))

        (plan,) = plan_cruise(bins=1, images=9)
        for folders in (False, True):
            with pytest.raises(OutputError, match="no space left") as caught:
                write_bin(plan, tmp_path, seed=0, source=Broken(), folders=folders)
            assert caught.value.code == "disk_full"
            assert not list(tmp_path.rglob("*.tif"))
            assert not list(tmp_path.rglob("1450*"))

    def test_a_genuine_cruise_is_never_touched(self, tmp_path: Path) -> None:
        genuine = tmp_path / CRUISE / "2024-06-24" / "1450.tar"
        genuine.parent.mkdir(parents=True)
        genuine.write_bytes(b"irreplaceable")
        with pytest.raises(SettingError, match="holds other files"):
            simulate_cruise(tmp_path, bins=1, images=1)
        assert genuine.read_bytes() == b"irreplaceable"

    def test_another_simulation_is_not_mixed_in(self, tmp_path: Path) -> None:
        simulate_cruise(tmp_path, bins=2, images=1)
        with pytest.raises(SettingError, match="holds other files"):
            simulate_cruise(tmp_path, bins=1, images=1)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"bins": 0},
            {"images": 0},
            {"sizes": []},
            {"sizes": [5, -1]},
            {"images": 10**8 + 1},
            {"partial": 4},
            {"partial": -1},
            {"seed": -1},
            {"no_fix": 1.5},
            {"instrument": "../pia7"},
            {"instrument": ""},
            {"cruise": "a/b"},
            {"cruise": ".."},
            {"start": datetime(2024, 6, 24, 14, 50)},
            {"start": datetime(2024, 6, 24, 14, 54, tzinfo=UTC)},
            {"proportions": {"krill": 1.0}},
            {"crops": Path("nowhere")},
            {"crops": Path("nowhere"), "proportions": {"copepod": 1.0}},
        ],
    )
    def test_wrong_settings_are_refused(self, wrong: dict[str, object], tmp_path: Path) -> None:
        with pytest.raises(SettingError):
            simulate_cruise(tmp_path, **wrong)
        assert not list(tmp_path.iterdir())

    def test_a_plan_speaks_utc(self) -> None:
        with pytest.raises(SettingError, match="UTC"):
            BinPlan("pia7", START.astimezone(timezone(timedelta(hours=2))), 5)

    def test_a_plan_checks_its_minutes(self) -> None:
        with pytest.raises(SettingError, match="11 minutes"):
            BinPlan("pia7", START, 5, minutes=11)

    def test_the_track_moves_at_a_ship_s_speed(self) -> None:
        track = Track(3)
        for hour in range(0, 400, 13):
            when = START + timedelta(hours=hour)
            (a, b), (c, d) = track.at(when), track.at(when + timedelta(hours=1))
            miles = 60 * np.hypot(c - a, (d - b) * np.cos(np.radians(a)))
            assert miles < 16
            assert 45 < a < 60

    def test_raising_factors_are_those_of_a_survey(self) -> None:
        hits = [1000] * 10
        factors = []
        for seed in range(400):
            misses = draw_misses(hits, np.random.default_rng(seed))
            factors.append((sum(hits) + sum(misses)) / sum(hits))
        assert np.median(factors) == 1
        assert 8 < np.quantile(factors, 0.9) < 40
        assert draw_misses([0] * 10, np.random.default_rng(1)) == [0] * 10


class TestHostile:
    def test_there_are_sixty_kinds_and_none_twice(self) -> None:
        files = broken_files.broken_files(np.random.default_rng(1))
        assert len(files) >= 60
        assert len(set(files.values())) == len(files)
        assert max(map(len, files.values())) < 200_000
        assert files == broken_files.broken_files(np.random.default_rng(1))

    def test_mutations_differ_from_their_origin(self) -> None:
        rng = np.random.default_rng(2)
        good = broken_files.good_tiff(rng)
        mutants = {broken_files.mutate(good, rng) for _ in range(200)}
        assert len(mutants - {good}) > 180
