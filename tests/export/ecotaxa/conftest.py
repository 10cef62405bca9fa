"""Runs that the tests of EcoTaxa bundles share."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import labelled_run
import pytest
from ecotaxa_runs import (
    FACTS,
    Survey,
    Write,
)

from pi10_classifier.classify import classify
from pi10_classifier.export.dataset_facts import DatasetFacts, read_facts
from pi10_classifier.export.ecotaxa.export import Exported, write_bundles
from pi10_classifier.export.taxa import read_taxa
from pi10_classifier.inference.settings import Settings


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Survey:
    """Two bins of which minutes were raised differently; half of the particles are labelled."""
    built = labelled_run.build(tmp_path_factory.mktemp("survey"))
    (built.path / "dataset.toml").write_text(FACTS, "utf-8")
    return built


@pytest.fixture
def run(survey: Survey, tmp_path: Path) -> Path:
    """A copy, whose images lie where they were."""
    return Path(shutil.copytree(survey.path, tmp_path / "run"))


@pytest.fixture(scope="module")
def facts(survey: Survey) -> DatasetFacts:
    return read_facts(survey.path / "dataset.toml")


@pytest.fixture
def write(tmp_path: Path, facts: DatasetFacts) -> Write:
    def written(run: Path, name: str = "b.zip", **options: Any) -> Exported:
        return write_bundles(run, tmp_path / name, facts, read_taxa(), threads=2, **options)

    return written


@pytest.fixture
def classified(package: Path, tmp_path: Path) -> Callable[[Path], Path]:
    def done(source: Path) -> Path:
        classify([str(source)], tmp_path / "fresh", Settings(model=package, jobs=2))
        return tmp_path / "fresh"

    return done
