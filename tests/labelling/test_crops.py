"""The pixels of a sample are read again from folders, archives and buckets, each once."""

from __future__ import annotations

import errno
import io
import os
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from s3_server import Server

from pi10_classifier.classify import Settings, classify
from pi10_classifier.imaging.decode import decode
from pi10_classifier.labelling.crops import CropCache, read_crops
from pi10_classifier.labelling.draw import draw


@pytest.fixture(scope="module")
def day(cruise: Path) -> Path:
    return cruise / "2024-06-24"


@pytest.fixture
def files(day: Path, tmp_path: Path) -> dict[str, bytes]:
    """Member -> content of a bin, whatever the simulation packed it as."""
    found: dict[str, bytes] = {}
    for archive in sorted(day.rglob("*.tar"))[:1]:
        with tarfile.open(archive) as tar:
            for member in tar:
                stream = tar.extractfile(member) if member.isfile() else None
                if stream is not None:
                    found[member.name] = stream.read()
    assert len(found) > 40
    return found


def unpacked(files: dict[str, bytes], root: Path) -> Path:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def zipped(files: dict[str, bytes], path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def tarred(files: dict[str, bytes], path: Path) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def results(inputs: Path | str, out: Path, package: Path) -> Path:
    classify([str(inputs)], out, Settings(model=package, jobs=2))
    return out


@pytest.mark.parametrize("pack", ["folder", "tar", "zip"])
def test_pixels_are_those_of_the_file(
    pack: str, files: dict[str, bytes], package: Path, tmp_path: Path
) -> None:
    source = {
        "folder": lambda: unpacked(files, tmp_path / "data"),
        "tar": lambda: tarred(files, tmp_path / "RV 2024-06-24 - 1454.tar"),
        "zip": lambda: zipped(files, tmp_path / "bin.zip"),
    }[pack]()
    run = results(source, tmp_path / "out", package)
    _, sample = draw(run, 25)
    crops = list(read_crops(run, sample))
    assert sorted(crop.particle.order for crop in crops) == list(range(25))
    for crop in crops:
        assert crop.rgb is not None, crop.problem
        assert np.array_equal(crop.rgb, decode(files[crop.particle.member]).rgb)


def test_what_moved_changed_or_is_broken_is_told(
    files: dict[str, bytes], package: Path, tmp_path: Path
) -> None:
    data = unpacked(files, tmp_path / "data")
    run = results(data, tmp_path / "out", package)
    _, sample = draw(run, 12)
    gone, other, broken, *rest = sample
    (data / gone.member).unlink()
    larger = np.full((300, 310, 3), 200, np.uint8)
    (data / other.member).write_bytes(cv2.imencode(".tif", larger)[1].tobytes())
    (data / broken.member).write_bytes(b"II*\0")
    cache = CropCache(run)
    problems = cache.fill(sample)
    assert set(problems) == {p.particle_id for p in (gone, other, broken)}
    assert "does not hold" in problems[gone.particle_id]
    assert "is 310 x 300 px, was" in problems[other.particle_id]
    assert problems[broken.particle_id]
    assert cache.missing(sample) == [gone, other, broken]

    # what is kept needs the data no more, and what moved is found where it is now
    shutil.move(data, tmp_path / "elsewhere")
    shutil.rmtree(run / "validation/crops")
    problems = cache.fill(sample)
    assert len(problems) == len(sample)
    assert f"{data} does not exist; where it moved: --moved" in problems[rest[0].particle_id]
    moved = {str(data): str(tmp_path / "elsewhere")}
    assert len(cache.fill(sample, moved=moved)) == 3
    shutil.rmtree(tmp_path / "elsewhere")
    assert len(cache.fill(sample)) == 3
    picture = cv2.imdecode(np.frombuffer(cache.read(rest[0]) or b"", np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert np.array_equal(picture[:, :, ::-1], decode(files[rest[0].member]).rgb)


@pytest.mark.skipif(sys.platform == "win32", reason="there a name too long is just absent")
def test_a_source_that_cannot_be_reached_is_told(
    files: dict[str, bytes], package: Path, tmp_path: Path
) -> None:
    """By a name too long, which the system refuses for root too; a folder without permission ends
    in the same place."""
    data = unpacked(files, tmp_path / "data")
    run = results(data, tmp_path / "out", package)
    _, sample = draw(run, 3)
    away = tmp_path / ("x" * 300)
    problems = CropCache(run).fill(sample, moved={str(data): str(away)})
    assert set(problems) == {particle.particle_id for particle in sample}
    reason = os.strerror(errno.ENAMETOOLONG)
    for problem in problems.values():
        assert f"{away} cannot be reached ({reason}); get permission, or say where" in problem


def test_another_image_of_the_same_size_is_told(
    files: dict[str, bytes], package: Path, tmp_path: Path
) -> None:
    data = unpacked(files, tmp_path / "data")
    run = results(data, tmp_path / "out", package)
    _, sample = draw(run, 12)
    other = sample[0]
    shape = decode(files[other.member]).rgb.shape
    image = np.full(shape, 230, np.uint8)
    cv2.circle(image, (shape[1] // 2, shape[0] // 2), 4, (20, 20, 20), -1)
    (data / other.member).write_bytes(cv2.imencode(".tif", image)[1].tobytes())
    cache = CropCache(run)
    problems = cache.fill(sample)
    assert list(problems) == [other.particle_id]
    assert "µm² in the run" in problems[other.particle_id]

    # the run is made again with what lies there now: pictures of before are not shown for it
    results(data, tmp_path / "again", package)
    shutil.copytree(run / "validation", tmp_path / "again/validation")
    again = CropCache(tmp_path / "again")
    _, sample = draw(tmp_path / "again", 12, overwrite=True)
    old = next(particle for particle in sample if particle.particle_id != other.particle_id)
    again.path(old).parent.mkdir(exist_ok=True)
    again.path(old).write_bytes(cv2.imencode(".png", image)[1].tobytes())
    os.utime(again.path(old), (0, 0))
    assert again.fill(sample) == {}
    picture = cv2.imdecode(np.frombuffer(again.read(old) or b"", np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert np.array_equal(picture[:, :, ::-1], decode(files[old.member]).rgb)


def test_a_table_from_elsewhere_does_not_lead_out_of_its_folder(
    files: dict[str, bytes], package: Path, tmp_path: Path
) -> None:
    from dataclasses import replace

    data = unpacked(files, tmp_path / "data")
    run = results(data, tmp_path / "out", package)
    _, (one, *_) = draw(run, 3)
    (tmp_path / "secret.tif").write_bytes((data / one.member).read_bytes())
    for member in ("../secret.tif", str(tmp_path / "secret.tif")):
        (crop,) = read_crops(run, [replace(one, member=member)])
        assert crop.rgb is None


def test_pixels_in_a_bucket(
    s3: Server, files: dict[str, bytes], package: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from s3_units import put

    for name, value in s3.environ().items():
        monkeypatch.setenv(name, value)
    bucket = "crops-of-a-sample"
    s3.client.make_bucket(bucket)
    for name, data in files.items():
        put(s3, bucket, f"loose/{name}", data)
    tar = tarred(files, tmp_path / "a.tar")
    put(s3, bucket, "packed/a.tar", tar.read_bytes())
    for prefix in ("loose/", "packed/"):
        run = results(f"s3://{bucket}/{prefix}", tmp_path / prefix, package)
        _, sample = draw(run, 10)
        for crop in read_crops(run, sample):
            assert crop.rgb is not None, crop.problem
            assert np.array_equal(crop.rgb, decode(files[crop.particle.member]).rgb)


def test_a_run_of_another_pixel_size(
    files: dict[str, bytes], package: Path, tmp_path: Path
) -> None:
    path, run = tarred(files, tmp_path / "bin.tar"), tmp_path / "out"
    classify([str(path)], run, Settings(model=package, jobs=2, um_per_px=20.0))
    _, sample = draw(run, 12)
    assert [crop.problem for crop in read_crops(run, sample)] == [""] * 12
