"""The S3 client: retries, deadlines, settings."""

from __future__ import annotations

import threading
import time

import pytest
import s3_server
from s3_server import Proxy, Server
from s3_units import PAYLOAD, items, put, tar_of, units

from pi10_classifier.errors import Code, InputError, SettingError
from pi10_classifier.oscar.local.s3_gateway import free_port
from pi10_classifier.sources import s3_client
from pi10_classifier.sources.discovery import discover
from pi10_classifier.sources.s3_client import S3Client


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
