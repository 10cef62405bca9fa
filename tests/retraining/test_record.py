"""A candidate becomes a version of the registry; a registry that is away costs nothing but time."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import pytest
import support
from labelled_shapes import sorted_shapes, tar_of

from pi10_classifier.model.session import Model
from pi10_classifier.oscar.local.s3_gateway import free_port
from pi10_classifier.packaging.champion_gate import Comparison, compare_models
from pi10_classifier.registry.client import Registry
from pi10_classifier.retraining.fitting import Candidate
from pi10_classifier.retraining.record import UNSENT, Registered, record

REPORT = {
    "champion": {"name": "tiny"}, "limits": {"minutes": 1}, "labels": {"counts": {"copepod": 12}}
}  # fmt: skip


@pytest.fixture(scope="module")
def candidate(tmp_path_factory: pytest.TempPathFactory) -> Candidate:
    folder = tmp_path_factory.mktemp("candidate") / "package"
    model = support.tiny_model(support.weights(seed=2))
    return Candidate(support.write_package(folder, model), "adapt", 1.0, "pi10 adapt")


@pytest.fixture(scope="module")
def comparison(
    package: Path, candidate: Candidate, tmp_path_factory: pytest.TempPathFactory
) -> Comparison:
    test = tmp_path_factory.mktemp("test") / "test.tar"
    test.write_bytes(tar_of(sorted_shapes(12)))
    return compare_models(Model.load(package), Model.load(candidate.package), [test])


def recorded(work: Path, uri: str, candidate: Candidate, comparison: Comparison) -> Registered:
    environ = {"MLFLOW_TRACKING_URI": uri, "PATH": "/usr/bin:/bin"}
    return record(
        work, "20260101T000000Z", REPORT, candidate, comparison, "shapes", "0" * 64, environ,
        lambda line: None,
    )  # fmt: skip


def test_a_candidate_becomes_a_version_with_the_alias(
    mlflow_server_process: Any, candidate: Candidate, comparison: Comparison, tmp_path: Path
) -> None:
    pytest.importorskip("mlflow")
    mlflow_server_process.start()
    done = recorded(tmp_path, mlflow_server_process.url, candidate, comparison)
    assert done.done, done.text
    registry = Registry.from_environ({"MLFLOW_TRACKING_URI": mlflow_server_process.url})
    version = registry.with_alias("shapes", "candidate")
    assert version is not None
    assert f"version {version.version} of" in done.text
    assert f"--candidate {version.version} --data" in done.promote


def test_a_registry_that_is_away_leaves_what_can_be_sent_later(
    candidate: Candidate, comparison: Comparison, tmp_path: Path
) -> None:
    pytest.importorskip("mlflow")
    done = recorded(tmp_path, f"http://127.0.0.1:{free_port()}", candidate, comparison)
    assert not done.done
    assert "pi10 track sync" in done.text
    with tarfile.open(tmp_path / UNSENT) as tar:
        assert any(name.endswith("model.onnx") for name in tar.getnames())


def test_without_an_address_nothing_is_registered(
    candidate: Candidate, comparison: Comparison, tmp_path: Path
) -> None:
    done = recorded(tmp_path, "", candidate, comparison)
    assert (done.done, done.text) == (
        False, "not registered, because MLFLOW_TRACKING_URI is not set"
    )  # fmt: skip
