"""Etags of what was downloaded, and what makes results comparable."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import support

from pi10_classifier.errors import SettingError
from pi10_classifier.inference.settings import Settings
from pi10_classifier.model.package import read_package
from pi10_classifier.oscar.records.identity import etag_of, etags_from, model_identity
from pi10_classifier.oscar.records.settings import ServiceSettings

DATA = bytes(range(256)) * 70_000  # 17.9 MB: four parts of minio-py, three of boto3


def md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("etag") / "object"
    path.write_bytes(DATA)
    return path


@pytest.mark.parametrize("mib", [5, 8, 16, 64])
def test_an_etag_of_parts_is_recognised(path: Path, mib: int) -> None:
    size = mib * 2**20
    parts = [md5(DATA[start : start + size]) for start in range(0, len(DATA), size)]
    etag = f"{md5(b''.join(parts)).hex()}-{len(parts)}"
    assert etag_of(path, etag) == etag


@pytest.mark.parametrize("claimed", ["", "0" * 32, "0" * 32 + "-4", "nonsense"])
def test_another_etag_than_the_contents_gives_way_to_it(path: Path, claimed: str) -> None:
    assert etag_of(path, claimed) == md5(DATA).hex()


def test_an_opaque_etag_is_taken_as_it_is(path: Path) -> None:
    assert etag_of(path, "0" * 32, "opaque") == "0" * 32
    with pytest.raises(SettingError, match="PI10_ETAG is 'sse'"):
        etags_from({"PI10_ETAG": "sse"})


def test_speed_is_no_part_of_the_model(package: Path) -> None:
    found, _ = read_package(package)
    plain = Settings(model=package, jobs=1)
    base = model_identity(found, plain)
    assert base == model_identity(found, replace(plain, jobs=9, batch=64, device="cuda"))
    assert base == model_identity(found, replace(plain, device="openvino"))
    assert base != model_identity(found, replace(plain, device="openvino:bf16"))
    assert base != model_identity(found, replace(plain, um_per_px=5.0))
    assert base != model_identity(replace(found, temperature=2.0), plain)


def test_settings_come_from_the_environment(tmp_path: Path) -> None:
    package = support.write_package(tmp_path / "mine")
    said = ServiceSettings.from_environ(
        {"PI10_MODEL": str(package), "PI10_JOBS": "3", "PI10_MEASURE": "no", "PI10_UM_PER_PX": "5"}
    )
    assert said.classify == Settings(model=package, jobs=3, measure=False, um_per_px=5.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PI10_JOBS", "many"),
        ("PI10_JOBS", "0"),
        ("PI10_MEASURE", "maybe"),
        ("PI10_MODEL", "/no"),
        ("PI10_DEVICE", "openvino:fp64"),
    ],
)
def test_an_unusable_setting_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingError, match=value):
        ServiceSettings.from_environ({name: value})
