"""Pictures of EcoTaxa bundles are the pixels of the archives; what is lost or changed is listed."""

from __future__ import annotations

import io
import secrets
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import support
from ecotaxa_import import densities, read_bundles
from ecotaxa_runs import (
    Survey,
    Write,
    assert_same,
    listed,
    per_m3,
    pixels_of,
)
from s3_server import Server
from s3_units import put

from pi10_classifier.classify import classify
from pi10_classifier.errors import SettingError
from pi10_classifier.imaging.decode import decode
from pi10_classifier.inference.settings import Settings


def test_pictures_are_the_pixels_of_the_archives(survey: Survey, write: Write) -> None:
    (path,) = write(survey.path).paths
    seen = 0
    for tar in (survey.path.parent / "cruise").glob("*.tar"):
        with zipfile.ZipFile(path) as bundle:
            for stem, rgb in pixels_of(tar).items():
                png = bundle.read(f"images/{stem.split('+')[0]}/{stem}.png")
                assert np.array_equal(decode(png).rgb, rgb)
                seen += 1
    assert seen == len(survey.truth)


def test_archives_that_moved(survey: Survey, write: Write, tmp_path: Path) -> None:
    cruise = survey.path.parent / "cruise"
    moved = Path(shutil.copytree(cruise, tmp_path / "elsewhere"))
    run = Path(shutil.copytree(survey.path, tmp_path / "run"))
    hidden = cruise.rename(cruise.with_name("hidden"))
    try:
        with pytest.raises(SettingError, match=r"no picture .* --moved FROM=TO"):
            write(run)
        assert [path.name for path in tmp_path.glob("b*")] == []
        rows = read_bundles(write(run, moved={str(cruise): str(moved)}).paths)
        assert_same(densities(rows, "object_predicted"), run)
        # one of two: its bin is no sample, and the other one is as it was
        (moved / "1450.tar").unlink()
        done = write(run, name="one.zip", moved={str(cruise): str(moved)})
    finally:
        hidden.rename(cruise)
    rows = read_bundles(done.paths)
    assert {row["sample_id"] for row in rows} == {"pia7.2024-06-24.1500"}
    assert (done.gone_bins, done.left_out) == (1, {"gone": 120})
    gone = listed(done)
    assert len(gone) == 120 and {line["outcome"] for line in gone} == {"gone"}
    found = densities(rows, "object_predicted")
    for key, value in per_m3(run).items():
        assert found.get(key, 0.0) == pytest.approx(value if "1500" in key[0] else 0.0, rel=1e-5)


def test_images_that_changed_are_left_out_and_listed(
    survey: Survey, write: Write, tmp_path: Path
) -> None:
    cruise = survey.path.parent / "cruise"
    moved = Path(shutil.copytree(cruise, tmp_path / "elsewhere"))
    files = support.tar_of(moved / "1450.tar")
    names = [name for name in files if "+N" in name]
    files[names[0]] = support.particle(1)
    files[names[1]] = b"II*\0"
    del files[names[2]]
    # as wide and as high, but of another silhouette
    areas = {row["member"]: row["area_um2"] for row in survey.rows}
    other = next(name for name in names if areas[name] > 1.5 * areas[names[3]])
    files[names[3]] = files[other]
    support.write_tar(moved / "1450.tar", files)
    done = write(survey.path, moved={str(cruise): str(moved)})
    rows = read_bundles(done.paths)
    assert done.left_out == {"changed": 2, "unreadable": 1, "gone": 1}
    assert [line["outcome"] for line in listed(done)].count("changed") == 2
    assert {line["member"] for line in listed(done)} == set(names[:4])
    assert len(rows) == len(survey.truth) - 4
    # the minute's other objects stand for those that are left out
    total = densities(rows, "acq_instrument")["pia7.2024-06-24.1450", "Plankton Imager"]
    wanted = sum(value for key, value in per_m3(survey.path).items() if "1450" in key[0])
    assert total == pytest.approx(wanted, rel=1e-5)


def test_an_id_that_repeats_comes_once(
    tmp_path: Path, write: Write, classified: Callable[[Path], Path]
) -> None:
    files = support.bin_members(30)
    for folder in ("a", "b"):
        support.write_tar(tmp_path / f"twice/{folder}/1450.tar", files)
    run = classified(tmp_path / "twice")
    done = write(run)
    rows = read_bundles(done.paths)
    assert (len(rows), done.left_out) == (30, {"repeated": 30})
    assert_same(densities(rows, "object_predicted"), run)
    drawn = read_bundles(write(run, name="few.zip", per_minute=2).paths)
    assert set(Counter(row["acq_id"] for row in drawn).values()) == {2}


def test_the_last_copy_in_an_archive_counts(
    tmp_path: Path, write: Write, classified: Callable[[Path], Path]
) -> None:
    """As in the run: of an archive that was appended to, though both copies can be read."""
    import tarfile

    files = support.bin_members(12)
    path = support.write_tar(tmp_path / "in/1450.tar", files)
    name = support.name_of(3)
    last = support.particle(77, support.START + timedelta(seconds=150), side=60)
    with tarfile.open(path, "a") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(last)
        tar.addfile(info, io.BytesIO(last))
    (bundle,) = write(classified(tmp_path / "in")).paths
    read_bundles([bundle])
    with zipfile.ZipFile(bundle) as archive:
        png = archive.read("images/pia7.2024-06-24.1450/pia7.2024-06-24.1450+N00000003.png")
    assert np.array_equal(decode(png).rgb, decode(last).rgb)


def test_damaged_members_and_loose_images(
    cruise: Path, write: Write, classified: Callable[[Path], Path]
) -> None:
    run = classified(cruise)
    done = write(run)
    rows = read_bundles(done.paths)
    assert len(rows) == len(support.rows_of(run))
    assert not done.left_out
    assert_same(densities(rows, "object_predicted"), run)


def test_another_pixel_size_gives_the_same_pixels_and_other_lengths(
    package: Path, tmp_path: Path, write: Write
) -> None:
    path = support.write_tar(tmp_path / "in/1450.tar", support.bin_members(12))
    rows = {}
    for um in (10.0, 7.0):
        run = tmp_path / f"run{um:g}"
        classify([str(path)], run, Settings(model=package, jobs=2, um_per_px=um))
        path.touch()  # so that images are compared with what the run saw
        rows[um] = read_bundles(write(run, name=f"{um:g}.zip").paths)
    both = zip(rows[10.0], rows[7.0], strict=True)
    pairs = [pair for pair in both if all(row["object_area"] for row in pair)]
    assert len(pairs) > 3
    for usual, other in pairs:
        assert float(other["object_area"]) == pytest.approx(float(usual["object_area"]), rel=1e-6)
        assert (usual["acq_pixel_size"], other["acq_pixel_size"]) == ("0.010", "0.007")
        volumes = []
        for row in (usual, other):  # EcoTaxa's individual_volume, mm3
            radius = (float(row["object_area"]) / np.pi) ** 0.5 * float(row["acq_pixel_size"])
            volumes.append(4 / 3 * np.pi * radius**3)
            assert 2000 * radius == pytest.approx(float(row["object_esd_um"]), rel=1e-5)
        assert volumes[1] / volumes[0] == pytest.approx(0.343, rel=1e-5)


def test_images_in_a_bucket(
    s3: Server, package: Path, tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.environ().items():
        monkeypatch.setenv(name, value)
    bucket = f"ecotaxa-{secrets.token_hex(4)}"
    s3.client.make_bucket(bucket)
    tar = support.write_tar(tmp_path / "in/1450.tar", support.bin_members(12))
    put(s3, bucket, "packed/1450.tar", tar.read_bytes())
    later = support.START + timedelta(minutes=10)
    for name, data in support.bin_members(3, later, 1).items():
        put(s3, bucket, f"loose/{name.rpartition(chr(92))[2]}", data)
    run = tmp_path / "run"
    inputs = [f"s3://{bucket}/packed/", f"s3://{bucket}/loose/"]
    classify(inputs, run, Settings(model=package, jobs=2))
    done = write(run)
    rows = read_bundles(done.paths)
    assert (len(rows), done.left_out) == (15, {})
    assert_same(densities(rows, "object_predicted"), run)
