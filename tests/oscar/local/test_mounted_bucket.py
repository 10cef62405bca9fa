"""The imitated mount: a bucket's objects as files, and files as objects."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import s3_server

from pi10_classifier.oscar.bucket import Bucket
from pi10_classifier.oscar.bucket_folder import BucketFolder
from pi10_classifier.oscar.local.mounted_bucket import MountedBucket
from pi10_classifier.sources.s3_client import S3Client

NAME = "mirrored"


@pytest.fixture
def bucket(s3: s3_server.Server) -> Bucket:
    if not s3.client.bucket_exists(bucket_name=NAME):
        s3.client.make_bucket(bucket_name=NAME)
    found = Bucket(S3Client(s3.environ()), BucketFolder(NAME, ""))
    for output in list(found.outputs("")):
        found.delete(output.name)
    return found


def names(bucket: Bucket) -> set[str]:
    return {output.name for output in bucket.outputs("")}


def test_a_job_sees_objects_and_leaves_objects(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("in/a b+é.tif", b"one")
    bucket.put("in/gone.tif", b"two")
    mirror, folder = MountedBucket(bucket, tmp_path), tmp_path / NAME
    with mirror.attached():
        assert (folder / "in/a b+é.tif").read_bytes() == b"one"
        (folder / "out").mkdir()
        (folder / "out/part").write_bytes(b"three")
        (folder / "out/.half.tmp").write_bytes(b"thr")
        (folder / "in/gone.tif").unlink()
        mirror.push()
        assert names(bucket) == {"in/a b+é.tif", "out/part"}  # not what is half-written
    # a killed process has closed its files
    assert names(bucket) == {"in/a b+é.tif", "out/part", "out/.half.tmp"}
    assert bucket.get("out/part") == b"three"


def test_what_changes_on_either_side_reaches_the_other(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("a", b"1")
    mirror, folder = MountedBucket(bucket, tmp_path), tmp_path / NAME
    mirror.pull()
    bucket.put("a", b"2")
    bucket.put("b/c", b"3")
    mirror.pull()
    assert (folder / "a").read_bytes() == b"2"
    (folder / "b/c").write_bytes(b"33")
    mirror.push()
    assert bucket.get("b/c") == b"33"
    bucket.delete("b/c")
    mirror.pull()
    assert not (folder / "b/c").exists()
    etags = bucket.etags("")
    mirror.push()
    assert bucket.etags("") == etags  # nothing is written again


def test_keys_that_are_no_files_are_left_out(bucket: Bucket, tmp_path: Path) -> None:
    for key in ("folder/", f"in/{'x' * 256}"):
        bucket.store.client.put_object(
            bucket_name=NAME, object_name=key, data=io.BytesIO(b""), length=0
        )
    bucket.put("in/a", b"1")
    MountedBucket(bucket, tmp_path).pull()
    assert [p.name for p in (tmp_path / NAME).rglob("*") if p.is_file()] == ["a"]
