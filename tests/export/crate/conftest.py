"""Runs that the tests of crates share."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import crate_facts
import pytest
import support

from pi10_classifier.classify import classify
from pi10_classifier.export.dataset_facts import DatasetFacts, read_facts
from pi10_classifier.inference.settings import Settings


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> DatasetFacts:
    return read_facts(crate_facts.write_facts(tmp_path_factory.mktemp("facts")))


@pytest.fixture(scope="module")
def run(cruise: Path, package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of three archives and a folder, with labels beside it and files that are none of it."""
    out = tmp_path_factory.mktemp("crate") / "out"
    classify([str(cruise)], out, Settings(model=package, jobs=2))
    (out / "validation/crops").mkdir(parents=True)
    (out / "validation/labels.csv").write_text("particle_id,label\n", "utf-8")
    (out / "validation/tasks.json").write_text("[]", "utf-8")
    (out / "my notes.txt").write_text("not to be published", "utf-8")
    return out


@pytest.fixture(scope="module")
def many(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of more archives than a Zenodo record takes files."""
    home = tmp_path_factory.mktemp("many")
    for number in range(104):
        begin = support.START + timedelta(minutes=10 * number)
        support.write_tar(
            home / f"bins/{begin:%Y-%m-%d}/{begin:%H%M}.tar",
            {support.name_of(0, begin): support.particle(number, begin)},
        )
    classify([str(home / "bins")], home / "out", Settings(model=package, jobs=2))
    return home / "out"
