"""One odd tree, with all the litter there is: every face makes the same tables of it."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections import Counter
from datetime import timedelta
from pathlib import Path

import batches
import pyarrow.parquet as pq
import pytest
import support
from objects import version_of

from pi10_classifier.classify import classify
from pi10_classifier.inference.pipeline import publish_units
from pi10_classifier.inference.settings import Settings
from pi10_classifier.model.session import Model
from pi10_classifier.oscar.batch.mounted import mounted
from pi10_classifier.oscar.batch.units import read_units
from pi10_classifier.oscar.records.handler import Handler
from pi10_classifier.oscar.records.naming import skip_reason as left_out
from pi10_classifier.oscar.records.settings import ServiceSettings
from pi10_classifier.results.run_folder import RunFolder
from pi10_classifier.results.tables import summarise
from pi10_classifier.sources.base import LIMITS
from pi10_classifier.sources.input_rules import skip_reason
from pi10_classifier.watch.options import WatchOptions
from pi10_classifier.watch.watcher import watch

LATER = support.START + timedelta(minutes=10)
ARCHIVE = "2024-06-24/1500.tar"
PARTICLES = 12 + 8


def tar_of(files: list[tuple[str, bytes]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def archive() -> bytes:
    """A copy that was cut short, then added to; and what a Mac puts beside its files."""
    members = list(support.bin_members(8, LATER, 1).items())
    first = members[0]
    names = [support.name_of(number, LATER) for number in range(8)]
    return tar_of(
        [
            *members[1:4],
            (first[0], first[1][:700]),
            ("__MACOSX/RawImages/._pia7.2024-06-24.1500+N00000000.tif", support.particle(3)),
            (f"RawImages/.{names[1].rpartition(chr(92))[2]}.Qx7A2b", support.particle(4)),
            *((name.replace("\\", "/"), data) for name, data in members[:3]),
            *((f"./{name}" if "Raw" not in name else name, data) for name, data in members),
            (names[2].replace(".tif", ".TIFF"), members[2][1]),
        ]
    )


def tree() -> dict[str, bytes]:
    images = {
        f"2024-06-24/1450/{name.replace(chr(92), '/')}": data
        for name, data in support.bin_members(12).items()
    }
    raw = "2024-06-24/1450/RawImages"
    name = "pia7.2024-06-24.1450+N00000000.tif"
    image = images[f"{raw}/{name}"]
    litter = {
        f"{raw}/@eaDir/{name}/THUMB_M.png": image,
        f".Trash-1000/files/{name}": image,
        f"#recycle/{name}": image,
        f"2024-06-24/.snapshot/hourly/1450/RawImages/{name}": image,
        f"System Volume Information/{name}": image,
        f"lost+found/{name}": image,
        f"$RECYCLE.BIN/S-1-5/{name}": image,
        f"__MACOSX/._{name}": image,
        f"{raw}/.{name}.Qx7A2b": image[:900],
        f"{raw}/{name}.part": image,
        f"{raw}/{name}.6eF3B2c1": image,
        f"{raw}/{name}~": image,
        f"{raw}/.nfs000000000000a1b2": image,
        f"{ARCHIVE}.filepart": archive()[:5000],
        "2024-06-24/.1500.tar.Qx7A2b": archive(),
        ".cache/1500.tar": archive(),
    }
    return {**images, ARCHIVE: archive(), **litter}


@pytest.fixture(scope="module")
def mount(tmp_path_factory: pytest.TempPathFactory, package: Path) -> batches.Mount:
    found = batches.Mount(tmp_path_factory.mktemp("tree"), package)
    batches.write(found, {f"rapid/{name}": data for name, data in tree().items()})
    return found


@pytest.fixture(scope="module")
def root(mount: batches.Mount) -> Path:
    return mount.bucket / "rapid"


@pytest.fixture(scope="module")
def whole(root: Path, package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    run = classify([str(root)], out, Settings(model=package, jobs=2))
    assert run.tally.adds_up
    assert run.tally.totals["results"] == PARTICLES
    assert set(run.tally.failures_by_code) == {"repeated_name"}
    [said] = [text for text in run.tally.warnings if "folders" in text]
    assert said.startswith("9 hidden or system folders were skipped")
    return out


def ids(out: Path) -> Counter[str]:
    return Counter(row["particle_id"] for row in support.rows_of(out))


def same_tables(out: Path, other: Path) -> None:
    assert ids(out) == ids(other)
    for name in ("counts.csv", "bins.csv"):
        assert (out / name).read_text() == (other / name).read_text()


def test_each_particle_counts_once(whole: Path) -> None:
    found = ids(whole)
    assert len(found) == PARTICLES
    assert set(found.values()) == {1}


def test_watch(root: Path, whole: Path, package: Path, tmp_path: Path) -> None:
    plan = WatchOptions(settle_s=0.0, until_idle=True)
    run = watch(str(root), tmp_path / "out", Settings(model=package, jobs=2), plan, environ={})
    assert run.tally.adds_up
    same_tables(tmp_path / "out", whole)


def test_batch(
    mount: batches.Mount, whole: Path, package: Path, model: Model, tmp_path: Path
) -> None:
    mount.plan()
    index = (mount.bucket / "rapid" / "index.txt").read_bytes()
    units = [
        mounted(unit, index[unit.at : unit.at + unit.length], "s3://pi10/rapid/", LIMITS,
                {"PI10_MOUNT": str(mount.root)})
        for _, unit in read_units(mount.out / ".pi10-batch/units.jsonl")
    ]  # fmt: skip
    folder = RunFolder(tmp_path / "out", model.package.classes)
    folder.open({}, resume=False, overwrite=False)
    publish_units(iter(units), folder, Settings(model=package, jobs=2), model)
    assert summarise(folder).adds_up
    folder.close()
    same_tables(tmp_path / "out", whole)


def test_events(root: Path, whole: Path, package: Path, tmp_path: Path) -> None:
    handler = Handler(ServiceSettings(Settings(model=package, jobs=2)))
    found: Counter[str] = Counter()
    for name, data in tree().items():
        key = f"in/{name}"
        if left_out(key):
            continue
        out = tmp_path / str(len(list(tmp_path.iterdir())))
        out.mkdir()
        done = handler.handle(root / name, version_of(key, data), out)
        assert done.failure is None, (key, done)
        for part in out.rglob("*.parquet"):
            found.update(pq.ParquetFile(part).read().column("particle_id").to_pylist())
            [counts] = out.rglob("*.counts.csv")
            assert counts.read_text().splitlines()[1:] == [
                line for line in (whole / "counts.csv").read_text().splitlines()
                if "2024-06-24.1500" in line
            ]  # fmt: skip
        if ".tables." not in done.names[-1]:
            found[json.loads((out / done.names[-1]).read_text())["prediction"]
                  ["particle_id"]] += 1  # fmt: skip
    assert found == ids(whole)


def test_the_service(whole: Path, package: Path, tmp_path: Path) -> None:
    pytest.importorskip("deepaas", reason="the extra [serve] is not installed")
    from pi10_classifier.api.predictions.handler import predict
    from pi10_classifier.api.predictions.uploads import Spooled, Upload

    folder = tmp_path / "request"
    folder.mkdir()
    loose = {name: data for name, data in tree().items() if name != ARCHIVE and ".tar" not in name}
    support.write_zip(folder / "0", loose)
    (folder / "1").write_bytes(archive())
    (folder / "2").write_bytes(support.particle(5))
    sent = (("tree.zip", "0"), ("1500.tar", "1"), (".x.tif.Qx7A2b", "2"))
    files = Spooled(folder, tuple(Upload(name, folder / path) for name, path in sent))
    environ = {"PI10_MODELS_DIR": str(package.parent), "PI10_JOBS": "2"}
    answer = predict(environ, data=files, model="tiny")
    assert Counter(row["particle_id"] for row in answer["predictions"]) == ids(whole)


@pytest.mark.skipif(os.name != "posix", reason="links to folders need rights elsewhere")
def test_links_count_once(root: Path, whole: Path, package: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    support.write_folder(source, {name: data for name, data in tree().items()
                                  if not skip_reason(name)})  # fmt: skip
    (source / "0-again").symlink_to(source / "2024-06-24")
    (source / "2024-06-24/back").symlink_to(source)
    name = "pia7.2024-06-24.1450+N00000001.tif"
    (source / name).symlink_to(source / f"2024-06-24/1450/RawImages/{name}")
    settings = Settings(model=package, jobs=2)
    run = classify([str(source)], tmp_path / "out", settings)
    assert len([text for text in run.tally.warnings if "link" in text]) == 2
    same_tables(tmp_path / "out", whole)
    watch(str(source), tmp_path / "watched", settings, WatchOptions(settle_s=0.0, until_idle=True),
          environ={})  # fmt: skip
    same_tables(tmp_path / "watched", whole)
