"""A network trained on a run's labels names the particles that it has seen."""

from __future__ import annotations

import json
from pathlib import Path

import labelled_run
import pytest
from click.testing import CliRunner

from pi10_classifier.cli import pi10
from pi10_classifier.datasets.manifest import read_manifest
from pi10_classifier.labelling.labelled import made_of


def test_training_names_its_particles_but_those_of_the_test(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="training needs the extra 'train'")
    made = labelled_run.build(tmp_path / "home", size=110, bins=4)
    out = tmp_path / "out"
    words = ("train", made.path, "--recipe", "small", "--epochs", 1, "--size", 32, "--init",
             "random", "--set", "augmentation=none", "--no-tracking", "--out", out)  # fmt: skip
    done = CliRunner().invoke(pi10, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    assert "trained on the labels of survey" in done.output
    samples = read_manifest((out / "manifest.csv").read_text("utf-8"))
    description = json.loads((out / "seed-0/package/model.json").read_text("utf-8"))
    used = {sample.member for sample in samples if sample.split != "test"}
    assert made_of(description["validated"], {sample.member for sample in samples}) == used
    assert description["validated"][0]["how"] == "trained"
