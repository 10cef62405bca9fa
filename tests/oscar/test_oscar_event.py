"""Events: read as MinIO writes them, written so that OSCAR's shell leaves them whole."""

from __future__ import annotations

import json
import subprocess
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pi10_classifier.oscar.event import Event

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
