"""``s3://`` against a real server, through a proxy that misbehaves on script."""

from __future__ import annotations

import functools
import gzip
import io
import itertools
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator

import pytest
import s3_server
from minio import Minio
from s3_server import Proxy, Server

from pi10_classifier.errors import Code, InputError, SettingError
from pi10_classifier.oscar.local.s3_gateway import free_port
from pi10_classifier.sources import s3_client
from pi10_classifier.sources.base import LIMITS, Item, Limits, Unit
from pi10_classifier.sources.discovery import discover
from pi10_classifier.sources.s3_client import ObjectStream, S3Client

PAYLOAD = bytes(range(256)) * 12_000  # 3 MB: several reads of a stream's buffer
_numbers = itertools.count()


@pytest.fixture
def bucket(s3: Server) -> str:
    name = f"bucket-{next(_numbers)}"
    s3.client.make_bucket(bucket_name=name)
    return name


@pytest.fixture
def proxy(s3: Server) -> Iterator[Proxy]:
    proxy = Proxy(s3.url)
    yield proxy
    proxy.close()


def put(s3: Server, bucket: str, key: str, data: bytes = b"II*\0 image", **options) -> None:
    s3.client.put_object(
        bucket_name=bucket, object_name=key, data=io.BytesIO(data), length=len(data), **options
    )


def units(s3: Server, *inputs: str, limits: Limits = LIMITS, **environ: str) -> list[Unit]:
    return list(discover(inputs, limits, s3.environ(**environ)))


def items(found: list[Unit]) -> list[Item]:
    return [item for unit in found for item in unit.items()]


def tar_of(**files: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def zip_of(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def stream_of(s3: Server, bucket: str, key: str, **environ: str) -> ObjectStream:
    info = s3.client.stat_object(bucket_name=bucket, object_name=key)
    return ObjectStream(S3Client(s3.environ(**environ)), bucket, key, info.size, info.etag)


class TestListing:
    def test_pages_are_followed(
        self, s3: Server, bucket: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pages_of_two = functools.partialmethod(Minio._list_objects, max_keys=2)
        monkeypatch.setattr(Minio, "_list_objects", pages_of_two)
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


class Clock:
    """A clock that only sleeping moves: how long is waited does not depend on the machine."""

    def __init__(self) -> None:
        self.now, self.lock = 0.0, threading.Lock()

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        with self.lock:
            self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(s3_client, "time", clock)
    return clock


class TestMisbehaviour:
    @pytest.mark.parametrize(
        "script",
        [
            [s3_server.slow_down] * 3,
            [s3_server.bad_gateway],
            [s3_server.hang_up] * 2,
            [s3_server.cut_body] * 4,
            [s3_server.cut_without_length] * 2,
            [s3_server.cut_body, s3_server.ignore_range, s3_server.slow_down],
        ],
        ids=["503", "502", "no answer", "cut", "cut unsaid", "range ignored"],
    )
    def test_content_is_the_same_byte_for_byte(
        self, s3: Server, bucket: str, proxy: Proxy, script: list[s3_server.Misdeed]
    ) -> None:
        put(s3, bucket, "a.tif", PAYLOAD)
        found = units(s3, f"s3://{bucket}/", AWS_ENDPOINT_URL=proxy.url)
        proxy.script = list(script)
        [item] = items(found)
        assert item.error is None
        assert item.data == PAYLOAD
        assert not proxy.script

    def test_an_archive_survives_cuts(self, s3: Server, bucket: str, proxy: Proxy) -> None:
        put(s3, bucket, "bin.tar", tar_of(**{"a.tif": PAYLOAD, "b.tif": b"b" * 5000}))
        found = units(s3, f"s3://{bucket}/", AWS_ENDPOINT_URL=proxy.url)
        proxy.script = [s3_server.cut_body, s3_server.slow_down, s3_server.cut_without_length]
        assert {i.member: i.data for i in items(found)} == {"a.tif": PAYLOAD, "b.tif": b"b" * 5000}

    def test_a_stalled_body_is_asked_for_again(self, s3: Server, bucket: str, proxy: Proxy) -> None:
        put(s3, bucket, "a.tif", PAYLOAD)
        found = units(s3, f"s3://{bucket}/", AWS_ENDPOINT_URL=proxy.url, PI10_S3_DEADLINE="1.5")
        proxy.script = [s3_server.stall]
        started = time.monotonic()
        [item] = items(found)
        # the first request used the deadline up; what counts is that no one waits for ever,
        # nor the 30 s of a read without a deadline
        assert item.data == PAYLOAD or (
            item.error is not None and item.error.code is Code.STORAGE_UNAVAILABLE
        )
        assert time.monotonic() - started < 29

    def test_an_answer_that_never_comes_ends_at_the_deadline(
        self, s3: Server, bucket: str, proxy: Proxy, clock: Clock
    ) -> None:
        put(s3, bucket, "a.tif", b"a")
        put(s3, bucket, "b.tif", b"b")
        found = units(s3, f"s3://{bucket}/", AWS_ENDPOINT_URL=proxy.url, PI10_S3_DEADLINE="1")
        proxy.script = [s3_server.slow_down] * 200
        outcome = items(found)
        assert 0 < clock.now <= 2  # one second each
        assert proxy.script
        assert [i.error.code for i in outcome if i.error] == [Code.STORAGE_UNAVAILABLE] * 2
        assert all(i.error and i.error.code.retryable for i in outcome)

    def test_a_server_that_is_down_is_unavailable_within_the_deadline(
        self, s3: Server, clock: Clock
    ) -> None:
        down = f"http://127.0.0.1:{free_port()}"
        with pytest.raises(InputError) as caught:
            units(s3, "s3://bucket/", AWS_ENDPOINT_URL=down, PI10_S3_DEADLINE="1")
        assert caught.value.code is Code.STORAGE_UNAVAILABLE
        assert 0 < clock.now <= 1
        assert s3_server.SECRET_KEY not in caught.value.message


class TestSettings:
    def test_a_missing_bucket_is_a_setting(self, s3: Server) -> None:
        with pytest.raises(SettingError, match="NoSuchBucket"):
            units(s3, "s3://no-such-bucket/")

    @pytest.mark.parametrize(
        "environ",
        [
            {"AWS_SECRET_ACCESS_KEY": "WrongSecret42"},
            {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "WrongSecret42"},
            {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
        ],
        ids=["wrong secret", "unknown key", "no keys"],
    )
    def test_refused_keys_are_a_setting_at_once(
        self, s3: Server, bucket: str, environ: dict[str, str], clock: Clock
    ) -> None:
        with pytest.raises(SettingError) as caught:
            units(s3, f"s3://{bucket}/", **environ)
        assert clock.now == 0, "it is asked again"
        assert "WrongSecret42" not in caught.value.message
        assert bucket in caught.value.message

    @pytest.mark.parametrize(
        "url",
        [
            "ftp://host",
            "host:9000",
            "http://",
            "http://host/path",
            "http://[::1",
            "http://host:notaport",
            "http://user:Hidden7@host",
            "https://Hidden7@host/",
        ],
    )
    def test_an_unusable_endpoint_is_refused_and_not_repeated(self, url: str) -> None:
        with pytest.raises(SettingError, match="AWS_ENDPOINT_URL") as caught:
            S3Client({"AWS_ENDPOINT_URL": url})
        assert "Hidden7" not in caught.value.message

    @pytest.mark.parametrize("seconds", ["soon", "nan", "inf", "-1", "0"])
    def test_an_unusable_deadline_is_refused(self, seconds: str) -> None:
        with pytest.raises(SettingError, match="PI10_S3_DEADLINE"):
            S3Client({"AWS_REGION": "eu-west-2", "PI10_S3_DEADLINE": seconds})

    def test_a_key_without_its_secret_is_refused(self) -> None:
        with pytest.raises(SettingError):
            S3Client({"AWS_REGION": "eu-west-2", "AWS_ACCESS_KEY_ID": "Hidden7"})

    @pytest.mark.parametrize(
        "environ", [{}, {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}]
    )
    def test_an_endpoint_that_is_not_set_is_said_at_once(self, environ: dict[str, str]) -> None:
        with pytest.raises(SettingError, match="AWS_ENDPOINT_URL is not set"):
            list(discover(["s3://nosuch/x"], environ=environ))

    def test_amazon_is_meant_by_a_region(self) -> None:
        assert S3Client({"AWS_DEFAULT_REGION": "eu-west-2"}).client._base_url.is_https

    @pytest.mark.parametrize("text", ["s3://", "s3:///a", "s3://a", "s3://UP_PER/a", "s3://a..b/c"])
    def test_a_bucket_that_cannot_be_is_refused(self, s3: Server, text: str) -> None:
        with pytest.raises(SettingError):
            units(s3, text)
