"""Events: read as MinIO writes them, written so that OSCAR's shell leaves them whole."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pi10_classifier.oscar.records.event import Event

KEYS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


def minio(key: str, **stored: object) -> str:
    record = {
        "eventSource": "minio:s3",
        "s3": {"bucket": {"name": "pi10"}, "object": {"key": quote_plus(key), **stored}},
    }
    return json.dumps({"EventName": "s3:ObjectCreated:Put", "Key": key, "Records": [record]})


@given(KEYS)
def test_a_key_is_decoded_once(key: str) -> None:
    assert Event.parse(minio(key, eTag="abc", size=9)) == Event("pi10", key, "abc", 9)


@given(KEYS)
def test_an_event_of_ours_is_read_back(key: str) -> None:
    event = Event("pi10", key, "abc", 9)
    assert Event.parse(event.to_json()) == event


def test_a_submission_tells_its_number() -> None:
    event = Event("pi10", "in/a.tif", "abc", 9, attempt=2)
    found = Event.parse(event.to_json())
    assert found is not None and found.attempt == 2
    assert '"pi10":{' not in Event("pi10", "in/a.tif").to_json()


@pytest.mark.parametrize("number", [-1, 0, 10, "2", None, 1.5, [1]])
def test_a_number_that_is_none_of_ours_is_left_out(number: object) -> None:
    said = json.loads(minio("in/a.tif"))
    said["Records"][0]["pi10"] = {"attempt": number}
    found = Event.parse(json.dumps(said))
    assert found is not None and found.attempt == 0


@pytest.mark.parametrize("time", ["2026-01-01T00:00:00.000Z", "2026-01-01T00:00:00", "soon", 3])
def test_the_time_of_an_event(time: object) -> None:
    said = json.loads(minio("in/a.tif"))
    said["Records"][0]["eventTime"] = time
    found = Event.parse(json.dumps(said))
    expected = datetime(2026, 1, 1, tzinfo=UTC) if str(time).startswith("2026") else None
    assert found is not None and found.when == expected


@pytest.mark.parametrize(
    "key", ["in/RawImages\\pia7+N1.tif", "a  b\\nc\\c.tif", "%2B+ é.tif", "$(id) * `id`.tif"]
)
def test_the_shell_of_a_job_leaves_an_event_of_ours_whole(key: str) -> None:
    event = Event("pi10", key, "abc", 9)
    # as OSCAR's Job does: unquoted, and by an echo that knows escapes
    passed = subprocess.run(
        ["/bin/sh", "-c", "echo $EVENT"],
        env={"EVENT": event.to_json()}, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert Event.parse(passed) == event


def test_a_wrapped_event_is_unwrapped() -> None:
    wrapped = json.dumps({"storage_provider": "local", "event": minio("in/a.tif")})
    assert Event.parse(wrapped) == Event("pi10", "in/a.tif")


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "3", "null", '{"Records": []}', "II*", '{"event": 3}']
)
def test_what_is_no_event_is_none(text: str) -> None:
    assert Event.parse(text) is None


def test_the_supervisor_names_the_object() -> None:
    said = {"EVENT": minio("in/a.tif", eTag="abc"), "STORAGE_OBJECT_KEY": "in/a.tif"}
    assert Event.from_environ(said) == Event("pi10", "in/a.tif", "abc")
    assert Event.from_environ({"STORAGE_OBJECT_KEY": "in/a.tif"}) == Event("", "in/a.tif")
    assert Event.from_environ({}) is None
