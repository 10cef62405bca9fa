"""One object, one record: for whatever lies in a bucket."""

from __future__ import annotations

import base64
import io
import json
import os
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import support
from objects import BUCKET, files_of, record_of, version_of

from pi10_classifier.classify import classify
from pi10_classifier.errors import OutputError
from pi10_classifier.inference.settings import Settings
from pi10_classifier.oscar.records.handler import Handler
from pi10_classifier.oscar.records.naming import skip_reason
from pi10_classifier.oscar.records.settings import ServiceSettings


def archive(kind: str, members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(stream, "w") as packed:
            for name, data in members.items():
                packed.writestr(name, data)
    else:
        with tarfile.open(fileobj=stream, mode="w") as tar:
            for name, data in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def request_of(**files: bytes) -> dict[str, Any]:
    return {
        "oscar-files": [
            {"key": name, "file_format": "tif", "data": base64.b64encode(data).decode()}
            for name, data in files.items()
        ]
    }


def test_an_image_gets_one_record(handle, out: Path) -> None:
    said = handle("in/c 1/a+b é.tif", support.particle(1))
    [name] = files_of(out)
    assert name.startswith("in/c 1/a+b é.tif.pi10.")
    assert skip_reason(name) == "a result of ours"
    assert said["status"] == "result"
    assert said["url"] == f"s3://{BUCKET}/in/c%201/a%2Bb%20%C3%A9.tif"
    assert said["prediction"]["label"] in support.CLASSES
    assert said["prediction"]["particle_id"] == "in/c 1/a+b é"


def test_a_prediction_is_what_classify_says(
    handle, tmp_path: Path, package: Path, out: Path
) -> None:
    images = {support.name_of(n).replace("\\", "/"): support.particle(n) for n in range(12)}
    support.write_folder(tmp_path / "in", images)
    classify([str(tmp_path / "in")], tmp_path / "whole", Settings(model=package))
    rows = {row["member"]: row for row in support.rows_of(tmp_path / "whole")}
    for name, data in images.items():
        said = handle(f"in/{name}", data)
        row, mine = rows[name], said["prediction"]
        assert set(row) - set(mine) == {"model", "model_sha256"}
        for column, value in row.items():
            if isinstance(value, float) and column not in ("latitude", "longitude"):
                assert np.float32(mine[column]) == np.float32(value), column
            elif column not in ("source", "member", "datetime", "model", "model_sha256"):
                assert mine[column] == value, column
        assert mine["datetime"] == row["datetime"].strftime("%Y-%m-%dT%H:%M:%SZ")
        assert said["model"]["sha256"] == row["model_sha256"]


@pytest.mark.parametrize("kind", ["tar", "zip"])
@pytest.mark.parametrize("key", ["in/2024-06-24/1450", "in/bin"])
def test_an_archive_gets_the_tables_of_classify(
    handle, tmp_path: Path, package: Path, out: Path, kind: str, key: str
) -> None:
    members = support.bin_members(30)
    members[support.name_of(900)] = support.particle(1)[:500]
    data = archive(kind, members)
    said = handle(f"{key}.{kind}" if "bin" not in key else key, data)
    (tmp_path / f"1450.{kind}").write_bytes(data)
    run = classify([str(tmp_path / f"1450.{kind}")], tmp_path / "whole", Settings(model=package))
    assert said["totals"] == dict(run.tally.totals)
    assert said["totals"]["results"] == 30
    assert said["failures_by_code"] == {"corrupt_image": 1}
    files = {
        name.partition(".pi10.")[2].split(".", 2)[2]: data for name, data in files_of(out).items()
    }
    assert set(files) == {
        "predictions.parquet",
        "counts.csv",
        "bins.csv",
        "failures.csv",
        "tables.json",
    }
    assert files["counts.csv"] == (tmp_path / "whole/counts.csv").read_bytes()
    assert files["bins.csv"] == (tmp_path / "whole/bins.csv").read_bytes()
    rows = (
        pq.read_table(io.BytesIO(files["predictions.parquet"])).drop_columns("source").to_pylist()
    )
    [part] = (tmp_path / "whole/predictions.parquet").iterdir()
    assert rows == pq.read_table(part).drop_columns("source").to_pylist()
    for ending, table in said["tables"].items():
        assert table["bytes"] == len(files[ending])


def test_a_bin_without_a_particle_is_known_by_its_key(handle, out: Path) -> None:
    data = archive("tar", {"HitsMisses.txt": b"0,0\n" * 10})
    said = handle("in/2024-06-24/1450.tar", data)
    assert said["status"] == "result"
    [bins] = (data for name, data in files_of(out).items() if name.endswith("bins.csv"))
    assert b"2024-06-24.1450" in bins


@pytest.mark.parametrize(
    ("key", "data", "code"),
    [
        ("in/a.tif", b"", "empty_object"),
        ("in/a.tar", b"", "empty_object"),
        ("in/a.tif", support.particle(1)[:600], "corrupt_image"),
        ("in/a.tif", b"%!PS-Adobe-3.0 EPSF-3.0\n", "unsupported_format"),
        ("in/notes.txt", b"Station 4: wind\n", "unsupported_format"),
        ("in/a.json", b'{"threshold": "0.5"}', "unsupported_format"),
        ("in/a.json", b'{"oscar-files": [', "unsupported_format"),
        ("in/a.json", b'{"oscar-files": []}', "empty_object"),
        ("in/a.json", b'{"oscar-files": [{"key": "a.tif", "data": "!!"}]}', "corrupt_image"),
        ("in/a.json", b'{"oscar-files": ["/etc/passwd"]}', "unsupported_format"),
        ("in/a.tar", b"no tar at all" * 99, "archive_corrupt"),
        ("in/a.zip", b"PK\x03\x04" + b"x" * 99, "archive_corrupt"),
        ("in/a.tar", archive("tar", {"readme.txt": b"hello"}), "unsupported_format"),
    ],
)
def test_what_cannot_be_classified_gets_a_failure(
    handle, out: Path, key: str, data: bytes, code: str
) -> None:
    said = handle(key, data)
    [name] = (name for name in files_of(out) if skip_reason(name))
    assert name.endswith(".failure.json")
    assert said["status"] == "failure"
    assert said["failure"]["code"] == code
    assert said["failure"]["message"]
    assert said["failure"]["retryable"] is False


def test_an_archive_with_a_damaged_end_is_final(handle, out: Path) -> None:
    """A passing failure would have it submitted again and again, and nothing would mend it."""
    data = archive("zip", {f"{n}.tif": support.particle(n) for n in range(2)})
    end = data.rindex(b"PK\5\6")
    damaged = [data[: end + cut] for cut in (0, 4, 12, 21)]
    for at in range(end, len(data)):
        damaged += [data[:at] + bytes([byte]) + data[at + 1 :] for byte in (0, 0x7F, 0xFF)]
    said = []
    for number, case in enumerate(damaged):
        into = out / str(number)
        into.mkdir()
        record = handle("in/a.zip", case, into)
        failure = record.get("failure", {})
        said.append((record["status"], failure.get("code"), failure.get("retryable", False)))
        assert not [name for name in files_of(into) if name.endswith("retry.json")]
    assert {retryable for _, _, retryable in said} == {False}
    assert {status for status, _, _ in said} >= {"result"}


def test_no_input_file_is_a_setting(handler: Handler, out: Path) -> None:
    said = record_of(out, handler.handle(None, version_of("in/a.tif", b"x"), out))
    assert said["failure"]["code"] == "bad_setting"
    assert "file_stage_in" in said["failure"]["message"]


def test_a_marketplace_request_has_its_answer_under_its_own_name(handle, out: Path) -> None:
    files = {"a": support.particle(1), "b.tif": b"II*\0", "../../c.png": support.particle(2)}
    files["bin.tar"] = archive("tar", {"x.tif": support.particle(3)})
    said = handle("in/u1/abc.json", json.dumps(request_of(**files)).encode())
    assert said["totals"] == {"inputs": 4, "results": 3, "failures": 1, "skipped": 0}
    assert [row["member"] for row in said["predictions"]] == ["a.tif", "../../c.png", "x.tif"]
    assert [failure["member"] for failure in said["failures"]] == ["b.tif"]
    found = files_of(out)
    assert json.loads(found.pop("abc.json")) == said
    assert len(found) == 1


def test_a_data_url_and_a_byte_order_mark_are_taken(handle) -> None:
    said = request_of(a=support.particle(1))
    said["oscar-files"][0]["data"] = "data:image/tiff;base64," + said["oscar-files"][0]["data"]
    record = handle("in/abc", b"\xef\xbb\xbf  " + json.dumps(said).encode())
    assert record["totals"]["results"] == 1


def test_a_hundred_events_of_one_object_leave_the_same_bytes(
    handler: Handler, tmp_path: Path, out: Path
) -> None:
    data = support.particle(1)
    path = tmp_path / "downloaded"
    path.write_bytes(data)
    seen = set()

    def one(_: int) -> None:
        handler.handle(path, version_of("in/a.tif", data), out)
        seen.add(tuple(files_of(out).items()))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(100)))
    assert len(seen) == 1


def test_an_archive_gives_the_same_bytes_for_any_number_of_jobs(
    package: Path, tmp_path: Path
) -> None:
    data = archive("tar", support.bin_members(100))
    path = tmp_path / "1450.tar"
    path.write_bytes(data)
    found = []
    for jobs in (1, 2, 5):
        out = tmp_path / f"out{jobs}"
        out.mkdir()
        settings = ServiceSettings(Settings(model=package, jobs=jobs))
        Handler(settings).handle(path, version_of("in/1450.tar", data), out)
        found.append(files_of(out))
    assert found[0] == found[1] == found[2]


def test_the_object_as_it_is_now_wins_over_the_events_order(
    handler: Handler, tmp_path: Path, out: Path
) -> None:
    old, new = support.particle(1), support.particle(2)
    path = tmp_path / "downloaded"
    path.write_bytes(new)  # both jobs download what is there now
    for said in (version_of("in/a.tif", new), version_of("in/a.tif", old)):
        handler.handle(path, said, out)
    [record] = files_of(out).values()
    assert json.loads(record)["etag"] == version_of("in/a.tif", new).etag


def test_long_and_hostile_keys_stay_in_the_folder(handle, out: Path, tmp_path: Path) -> None:
    for key in ("in/" + "x" * 251 + ".tif", "in/../../../../etc/x.tif", "in/" + "d/" * 500):
        key = key.rstrip("/")
        assert handle(key, support.particle(1))["key"] == key
    assert len(files_of(out)) == 3
    assert all(len(os.fsencode(part)) <= 255 for name in files_of(out) for part in name.split("/"))


def test_nothing_is_left_beside_the_output(handle, out: Path, tmp_path: Path) -> None:
    handle("in/1450.tar", archive("tar", support.bin_members(5)))
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".pi10")] == []


def test_an_output_that_cannot_be_written_is_an_error_and_leaves_nothing(
    handler: Handler, tmp_path: Path
) -> None:
    data = support.particle(1)
    path = tmp_path / "downloaded"
    path.write_bytes(data)
    with pytest.raises(OutputError):
        handler.handle(path, version_of("in/a.tif", data), tmp_path / "nowhere" / "output")
