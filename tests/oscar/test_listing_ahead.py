"""Several folders of a bucket listed at once give the keys of one listing, in its order."""

from __future__ import annotations

import io
import threading
from itertools import islice

import pytest
from s3_server import Proxy, Server, slow_down

from pi10_classifier.errors import SettingError
from pi10_classifier.oscar import listing_ahead
from pi10_classifier.oscar.listing_ahead import ListingAhead
from pi10_classifier.sources import s3_listing
from pi10_classifier.sources.s3_client import S3Client

KEYS = [
    *(f"in/2024-06-2{day}/14{minute}0/{n}.tif" for day in range(2) for minute in range(5)
      for n in range(3)),
    "in/2024-06-20.tar", "in/2024-06-20/1400.tar", "in/é l+oose/%2B.tif", "in/marker/", "in/a",
    "in/a.tif", "in/a!/b.tif", "elsewhere/c.tif",
]  # fmt: skip


@pytest.fixture(scope="module")
def bucket(s3: Server) -> str:
    s3.client.make_bucket(bucket_name="ahead")
    for key in KEYS:
        s3.client.put_object(
            bucket_name="ahead", object_name=key, data=io.BytesIO(b"x"),
            length=0 if key.endswith("/") else 1,
        )  # fmt: skip
    return "ahead"


@pytest.mark.parametrize(("wide", "levels"), [(16, 64), (2, 64), (16, 2), (1, 1)])
def test_the_same_keys_in_the_same_order(
    s3: Server, bucket: str, monkeypatch: pytest.MonkeyPatch, wide: int, levels: int
) -> None:
    monkeypatch.setattr(listing_ahead, "WIDE", wide)
    monkeypatch.setattr(listing_ahead, "MOST_LEVELS", levels)
    for module in (s3_listing, listing_ahead):
        monkeypatch.setattr(module, "PAGE", 2)
    store = S3Client(s3.environ())
    found = [entry.object_name for entry in ListingAhead(store, bucket, "in/")]
    assert found == sorted((key for key in KEYS if key.startswith("in/")), key=str.encode)
    assert list(ListingAhead(store, bucket, "in/2024-06-20")) == list(
        store.objects(bucket, "in/2024-06-20")
    )
    assert list(ListingAhead(store, bucket, "nothing/")) == []


def test_a_reader_that_stops_leaves_no_thread(s3: Server, bucket: str) -> None:
    ahead = iter(ListingAhead(S3Client(s3.environ()), bucket, "in/"))
    assert len(list(islice(ahead, 3))) == 3
    ahead.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if "listing" in thread.name]


def test_errors_reach_the_reader(s3: Server, bucket: str) -> None:
    proxy = Proxy(s3.url)
    try:
        proxy.script = [slow_down] * 3
        store = S3Client(s3.environ(AWS_ENDPOINT_URL=proxy.url))
        assert len(list(ListingAhead(store, bucket, "in/"))) == len(KEYS) - 1
        assert not proxy.script
        with pytest.raises(SettingError, match="NoSuchBucket"):
            list(ListingAhead(store, "no-such-bucket", "in/"))
    finally:
        proxy.close()
