"""The Elyra pipeline: its steps, Elyra's own validator, and its scripts on a small run."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import published_run
import pytest

from pi10_classifier.oscar.hub import crate

FOLDER = Path(crate.__file__).parent / "elyra"
PIPELINE = FOLDER / "pi10.pipeline"
STEPS = ("classify_images", "validate_sample", "correct_densities", "export_results")


def nodes() -> list[dict[str, Any]]:
    [pipeline] = json.loads(PIPELINE.read_text("utf-8"))["pipelines"]
    return list(pipeline["nodes"])


def test_each_step_follows_the_one_before_and_has_its_file() -> None:
    found = nodes()
    files = [node["app_data"]["component_parameters"]["filename"] for node in found]
    assert files == [f"{name}.py" for name in STEPS]
    assert all((FOLDER / name).is_file() for name in files)
    links = [node["inputs"][0].get("links", []) for node in found]
    assert links[0] == []
    for before, [link] in zip(found, links[1:], strict=False):
        assert (link["node_id_ref"], link["port_id_ref"]) == (before["id"], "outPort")


def test_elyras_own_validator_accepts_it() -> None:
    """Elyra's pins do not fit this environment: PI10_ELYRA names its program in another one."""
    program = os.environ.get("PI10_ELYRA")
    if not program:
        pytest.skip("PI10_ELYRA does not name elyra-pipeline")
    done = subprocess.run([program, "validate", str(PIPELINE)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "SUCCEEDED" in done.stdout
    assert "Warning" not in done.stdout


@pytest.mark.slow
def test_its_scripts_end_in_corrected_densities_and_an_export(
    cruise: Path, package: Path, tmp_path: Path
) -> None:
    def step(name: str, **variables: str) -> subprocess.CompletedProcess[str]:
        # in a folder of its own, as on a cluster: it gets only what the step before declares
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        before = STEPS.index(name) - 1
        if before >= 0:
            for archive in (tmp_path / STEPS[before]).glob("*.tar"):
                shutil.copy(archive, folder)
        environ = {**os.environ, "MODEL": str(package), **variables}
        return subprocess.run(
            [sys.executable, str(FOLDER / f"{name}.py")],
            cwd=folder, env=environ, capture_output=True, text=True,
        )  # fmt: skip

    refused = step("classify_images", INPUTS="")
    assert refused.returncode and "INPUTS is empty" in refused.stderr
    tar = next((cruise / "2024-06-24").glob("*.tar"))
    first = step("classify_images", INPUTS=f"{tar}\n")
    assert first.returncode == 0, first.stderr
    waiting = step("validate_sample", SAMPLE="30")
    assert waiting.returncode and "LABELS is not set" in waiting.stderr
    assert (tmp_path / "validate_sample/sample.zip").is_file()
    sample = tmp_path / "validate_sample/results/validation/sample.csv"
    with sample.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    labels = tmp_path / "labels.csv"
    lines = [f"{row['particle_id']},{row['predicted']}" for row in rows]
    labels.write_text("\n".join(["particle_id,label", *lines]), "utf-8")
    facts = tmp_path / "facts.toml"
    facts.write_text(published_run.DATASET, "utf-8")
    for name, more in (
        ("validate_sample", {"LABELS": str(labels), "SAMPLE": "30"}),
        ("correct_densities", {}),
        ("export_results", {"DATASET": str(facts)}),
    ):
        done = step(name, **more)
        assert done.returncode == 0, (name, done.stderr)
    assert (tmp_path / "correct_densities/corrected.csv").read_text("utf-8").count("\n") > 1
    for name in ("ecotaxa.zip", "dwca.zip"):
        assert (tmp_path / "export_results" / name).stat().st_size > 1000
