"""Names of results: unique, bounded, and read back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pi10_classifier.oscar.records.naming import (
    FOLDER_BYTES,
    TABLES,
    Ending,
    ObjectVersion,
    ResultName,
    skip_reason,
    stem_of,
)

MODEL = "ab" * 32
ETAG = "0" * 32


def name(key: str, ending: str = Ending.RESULT, etag: str = ETAG, model: str = MODEL) -> str:
    return str(ResultName.of(ObjectVersion("pi10", key, etag, 5), model, ending))


KEYS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@given(KEYS.filter(lambda key: len(key.encode()) <= 1024))
def test_a_name_fits_any_file_system_and_is_read_back(key: str) -> None:
    for ending in Ending:
        text = name(key, ending)
        segments = text.split("/")
        assert all(0 < len(segment.encode()) <= 255 for segment in segments)
        assert not {".", ".."} & set(segments)
        assert len(text.encode()) <= 1024 - FOLDER_BYTES
        found = ResultName.parse(text)
        assert found is not None
        assert (found.stem, found.ending) == (stem_of(key), ending)


@pytest.mark.parametrize(
    "key",
    [
        "in/" + "x" * 251 + ".tif",
        "in/" + "é" * 120 + ".tif",
        "/".join(["in", *["d" * 200] * 4, "x" * 200])[:1024],
        "in/../../etc/passwd",
        "in//double.tif",
        "/leading.tif",
        "in/./x.tif",
        "in/a\0b.tif",
    ],
    ids=["255 bytes", "UTF-8", "1024 bytes", "dots", "empty", "leading", "dot", "NUL"],
)
def test_a_key_no_file_system_holds_gets_a_short_form(key: str) -> None:
    stem = stem_of(key)
    assert stem.startswith("~long/")
    assert stem.count("/") == 1
    assert stem == stem_of(key) != stem_of(key + "x")


@pytest.mark.parametrize("key", ["in/c 1/a+b %2B é.tif", "in/RawImages\\pia7.tif", "a"])
def test_an_ordinary_key_is_its_own_stem(key: str) -> None:
    assert name(key).startswith(f"{key}.pi10.abababab.")


def test_each_of_bucket_key_etag_and_model_makes_another_name() -> None:
    base = ObjectVersion("pi10", "in/a.tif", ETAG, 5)
    others = [
        (ObjectVersion("other", "in/a.tif", ETAG, 5), MODEL),
        (ObjectVersion("pi10", "in/b.tif", ETAG, 5), MODEL),
        (ObjectVersion("pi10", "in/a.tif", "1" * 32, 5), MODEL),
        (base, "cd" * 32),
    ]
    names = {str(ResultName.of(version, model, Ending.RESULT)) for version, model in others}
    assert len({*names, name("in/a.tif")}) == 5


@pytest.mark.parametrize(
    "text",
    [
        "in/a.tif",
        "in/a.tif.pi10.json",
        "in/a.tif.pi10.abababab.0123456789abcdef.txt",
        "in/a.tif.pi10.ABABABAB.0123456789abcdef.json",
        "in/a.tif.pi10.abababab.0123456789abcdef.json.bak",
        "in/a.tif.pi10.abababab.0123456789abcdef.attempt-0",
        "in/a.tif.pi10.abababab.0123456789abcdef.attempt-1.began",
        ".pi10.abababab.0123456789abcdef.json",
    ],
)
def test_what_is_no_name_of_ours_is_not_taken_for_one(text: str) -> None:
    assert ResultName.parse(text) is None


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("in/cruise/", "a folder marker"),
        ("in/HitsMisses.txt", "a sidecar of the instrument"),
        ("in/b/Background.tif", "a sidecar of the instrument"),
        ("in/._a.tif", "a hidden file"),
        ("in/.DS_Store", "a hidden file"),
        ("in/@eaDir/a.tif", "in '@eaDir', a hidden or system folder"),
        ("in/a.tif.part", "still being written"),
        *((name("in/a.tif", ending), "a result of ours") for ending in (*TABLES, Ending.RETRY)),
        ("in/a.tif", ""),
        ("in/notes.txt", ""),
        ("in/a.pi10.json", ""),
    ],
)
def test_what_is_no_input_is_known_by_its_key(key: str, why: str) -> None:
    assert skip_reason(key) == why
