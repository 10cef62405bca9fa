"""``s3://`` against a real server, through a proxy that misbehaves on script."""

from __future__ import annotations

import gzip
import io

import pytest
import s3_server
from s3_server import Proxy, Server
from s3_units import PAYLOAD, items, put, stream_of, tar_of, units, zip_of

from pi10_classifier.errors import Code
from pi10_classifier.sources import s3_listing
from pi10_classifier.sources.base import Limits


class TestListing:
    def test_pages_are_followed(
        self, s3: Server, bucket: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(s3_listing, "PAGE", 2)
        keys = ["a b.tif", "a+b.tif", "b/c.tif", "b/d.tif", "b/e/f.tif", "caf\u00e9.tif", "z.tif"]
        for key in keys:
            put(s3, bucket, key, b"x")
        assert sorted(item.member for item in items(units(s3, f"s3://{bucket}"))) == sorted(keys)

    @pytest.mark.slow
    def test_more_keys_than_a_page(self, s3: Server, bucket: str) -> None:
        keys = [f"bin/{number:05d}.tif" for number in range(1_005)]
        for key in keys:
            put(s3, bucket, key, b"x")
        found = units(s3, f"s3://{bucket}/bin/")
        assert [item.member for item in items(found)] == [key[4:] for key in keys]

    def test_no_page_is_lost_or_doubled_where_one_fails(
        self, s3: Server, bucket: str, proxy: Proxy
    ) -> None:
        for number in range(5):
            put(s3, bucket, f"{number}.tif", b"x")
        proxy.script = [s3_server.slow_down, s3_server.cut_body, s3_server.cut_without_length]
        found = units(s3, f"s3://{bucket}/", AWS_ENDPOINT_URL=proxy.url)
        assert [item.member for item in items(found)] == [f"{n}.tif" for n in range(5)]
        assert not proxy.script

    @pytest.mark.parametrize(
        "key",
        [
            "a b.tif",
            "a+b.tif",
            "a%2Bb.tif",
            "a%20b.tif",
            "caf\u00e9.tif",
            "cafe\u0301.tif",
            "pia7.2024-06-24.1454+N00000000.tif",
            "RawImages\\pia7.2024-06-24.1454+N00000000.tif",
            "tab\tand&<>'\".tif",
            "deep/er/and deeper/a.tif",
            "#hash?query=1.tif",
        ],
    )
    def test_odd_keys_come_back_as_they_were_stored(
        self, s3: Server, bucket: str, key: str
    ) -> None:
        put(s3, bucket, f"in/{key}", key.encode())
        [item] = items(units(s3, f"s3://{bucket}/in/"))
        assert (item.member, item.data, item.error) == (key, key.encode(), None)
        [item] = items(units(s3, f"s3://{bucket}/in/{key}"))
        assert item.data == key.encode()

    def test_two_normal_forms_of_a_name_are_two_objects(self, s3: Server, bucket: str) -> None:
        put(s3, bucket, "\u00e9.tif", b"composed")
        put(s3, bucket, "e\u0301.tif", b"decomposed")
        found = {item.member: item.data for item in items(units(s3, f"s3://{bucket}"))}
        assert found == {"\u00e9.tif": b"composed", "e\u0301.tif": b"decomposed"}

    def test_folder_markers_are_no_inputs(self, s3: Server, bucket: str) -> None:
        put(s3, bucket, "cruise/", b"")
        put(s3, bucket, "cruise/a.tif")
        assert [item.member for item in items(units(s3, f"s3://{bucket}/"))] == ["cruise/a.tif"]

    def test_folders_and_archives_are_units_of_their_own(self, s3: Server, bucket: str) -> None:
        for key in ("c/b.tif", "c/a.tif", "c/d/e.tif", "c/d.tif", "z.tif"):
            put(s3, bucket, key)
        put(s3, bucket, "c/1450.tar", tar_of(**{"x.tif": b"x"}))
        found = units(s3, f"s3://{bucket}")
        names = {unit.name for unit in found}
        assert len(names) == len(found)
        assert f"s3://{bucket}/c/1450.tar" in names
        assert sorted(item.member for item in items(found)) == sorted(
            ["c/a.tif", "c/b.tif", "c/d.tif", "c/d/e.tif", "x.tif", "z.tif"]
        )

    def test_two_prefixes_in_one_folder_are_both_read(self, s3: Server, bucket: str) -> None:
        put(s3, bucket, "raw/a1.tif")
        put(s3, bucket, "raw/b1.tif")
        found = units(s3, f"s3://{bucket}/raw/a", f"s3://{bucket}/raw/b")
        assert [item.member for item in items(found)] == ["a1.tif", "b1.tif"]

    def test_one_prefix_given_twice_is_read_once(self, s3: Server, bucket: str) -> None:
        put(s3, bucket, "raw/a1.tif")
        assert len(units(s3, f"s3://{bucket}/raw/", f"s3://{bucket}/raw/")) == 1

    def test_an_empty_prefix_has_no_units(self, s3: Server, bucket: str) -> None:
        assert units(s3, f"s3://{bucket}/nothing/") == []

    def test_a_fingerprint_changes_with_the_content(self, s3: Server, bucket: str) -> None:
        put(s3, bucket, "a.tif", b"old")
        [before] = units(s3, f"s3://{bucket}/")
        [same] = units(s3, f"s3://{bucket}/")
        put(s3, bucket, "a.tif", b"new")
        [after] = units(s3, f"s3://{bucket}/")
        assert before.fingerprint == same.fingerprint != after.fingerprint


class TestReading:
    @pytest.mark.parametrize("kind", ["tar", "zip"])
    def test_archives_are_streamed(self, s3: Server, bucket: str, kind: str) -> None:
        files = {"a.tif": PAYLOAD, "b.tif": b"b", "c.txt": b""}
        put(s3, bucket, f"bin.{kind}", (tar_of if kind == "tar" else zip_of)(**files))
        found = items(units(s3, f"s3://{bucket}/"))
        assert {item.member: item.data for item in found} == files
        assert {item.source for item in found} == {f"s3://{bucket}/bin.{kind}"}

    def test_content_encoding_is_not_undone(self, s3: Server, bucket: str) -> None:
        packed = gzip.compress(tar_of(**{"a.tif": PAYLOAD}), mtime=0)
        put(s3, bucket, "bin.tar.gz", packed, metadata={"Content-Encoding": "gzip"})
        [item] = items(units(s3, f"s3://{bucket}/"))
        assert item.error is None
        assert item.data == PAYLOAD

    def test_an_empty_object_has_no_bytes(self, s3: Server, bucket: str) -> None:
        put(s3, bucket, "a.tif", b"")
        put(s3, bucket, "b.tar", b"")
        found = {item.source: item for item in items(units(s3, f"s3://{bucket}/"))}
        archive, image = found[f"s3://{bucket}/b.tar"], found[f"s3://{bucket}/"]
        assert image.data == b""
        assert archive.error is not None
        assert archive.error.code is Code.EMPTY_OBJECT

    def test_an_object_beyond_the_cap_is_not_fetched(
        self, s3: Server, bucket: str, proxy: Proxy
    ) -> None:
        put(s3, bucket, "big.tif", PAYLOAD)
        limits = Limits(member_bytes=1_000_000)
        found = units(s3, f"s3://{bucket}/", limits=limits, AWS_ENDPOINT_URL=proxy.url)
        listed = len(proxy.requests)
        [item] = items(found)
        assert item.error is not None
        assert item.error.code is Code.TOO_LARGE
        assert len(proxy.requests) == listed

    def test_an_object_deleted_after_listing_is_gone(self, s3: Server, bucket: str) -> None:
        for key in ("a.tif", "b.tif", "c.tar"):
            put(s3, bucket, key)
        found = units(s3, f"s3://{bucket}/")
        for key in ("a.tif", "c.tar"):
            s3.client.remove_object(bucket_name=bucket, object_name=key)
        outcome = {(i.member, i.error.code if i.error else None) for i in items(found)}
        assert outcome == {("a.tif", Code.OBJECT_GONE), ("b.tif", None), ("", Code.OBJECT_GONE)}

    def test_an_object_changed_after_listing_is_not_mixed(self, s3: Server, bucket: str) -> None:
        put(s3, bucket, "a.tif", b"old" * 1000)
        found = units(s3, f"s3://{bucket}/")
        put(s3, bucket, "a.tif", b"new" * 1000)
        [item] = items(found)
        assert item.data is None
        assert item.error is not None
        assert item.error.code is Code.STORAGE_UNAVAILABLE
        assert "changed while it was read" in item.error.message

    def test_a_stream_seeks(self, s3: Server, bucket: str) -> None:
        put(s3, bucket, "a", PAYLOAD)
        with stream_of(s3, bucket, "a") as stream:
            assert stream.seek(-10, io.SEEK_END) == len(PAYLOAD) - 10
            assert stream.read(99) == PAYLOAD[-10:]
            assert stream.read(1) == b""
            stream.seek(1_000_000)
            assert stream.read(5) == PAYLOAD[1_000_000:1_000_005]
            stream.seek(2, io.SEEK_CUR)
            assert stream.read(3) == PAYLOAD[1_000_007:1_000_010]
            with pytest.raises(OSError, match="before the beginning"):
                stream.seek(-1)
