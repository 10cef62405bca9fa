"""Pages of a listing: as minio-py reads them, and in the order of the keys' bytes."""

from __future__ import annotations

from xml.etree.ElementTree import ParseError

import pytest
from minio import Minio
from s3_server import Server
from s3_units import put

from pi10_classifier.sources import s3_listing
from pi10_classifier.sources.s3_client import S3Client
from pi10_classifier.sources.s3_listing import Entry, read_page

KEYS = ["a b.tif", "a+b.tif", "a.tif", "a/1.tif", "a/2/3.tif", "b/c.tif", "café%2B.tif", "z"]
PAGE = (
    '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{}'
    "<IsTruncated>{}</IsTruncated></ListBucketResult>"
)


@pytest.fixture
def filled(s3: Server, bucket: str) -> str:
    for key in KEYS:
        put(s3, bucket, key, key.encode())
    return bucket


@pytest.mark.parametrize("delimiter", ["", "/"])
def test_as_minio_py_reads_it(
    s3: Server, filled: str, monkeypatch: pytest.MonkeyPatch, delimiter: str
) -> None:
    store = S3Client(s3.environ())
    wanted = sorted(
        (o.object_name, o.etag, o.size, o.last_modified)
        for o in store.client.list_objects(bucket_name=filled, recursive=not delimiter)
    )
    monkeypatch.setattr(s3_listing, "PAGE", 3)
    own = [entry for page in store.pages(filled, "", delimiter) for entry in page]
    assert sorted(entry[:4] for entry in own) == wanted
    names = [entry.object_name for entry in own]
    assert names == sorted(names, key=s3_listing.key_bytes)
    monkeypatch.delattr(Minio, "_execute")  # as a version without it
    monkeypatch.setattr(Minio, "_list_objects", lambda *_, **__: iter(_library(own, __)))
    assert [entry for page in store.pages(filled, "", delimiter) for entry in page] == own


def _library(entries: list[Entry], options: dict[str, object]) -> list[object]:
    """What minio-py yields of these, behind ``start_after``: objects, then folders, by page."""
    from minio.datatypes import Object

    after = str(options.get("start_after") or "").encode()
    behind = [e for e in entries if e.object_name.encode() > after]
    pages = [behind[at : at + 3] for at in range(0, len(behind), 3)]
    return [
        Object("bucket", e.object_name, e.last_modified, e.etag, e.size)
        for page in pages
        for e in sorted(page, key=lambda e: e.is_folder)
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"<html>",
        PAGE.format("<Contents><Size>1</Size></Contents>", "false").encode(),
        PAGE.format("<Contents><Key>a</Key><Size>one</Size></Contents>", "false").encode(),
        PAGE.format("", "true").encode(),
    ],
    ids=["no XML", "no key", "no size", "no token"],
)
def test_no_listing(data: bytes) -> None:
    with pytest.raises(ParseError):
        read_page(data)
