"""``run.json`` and the report say whether a run is validated, and only as long as that holds."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
import support

from pi10_classifier.classify import Settings, classify
from pi10_classifier.errors import SettingError
from pi10_classifier.labelling.draw import draw
from pi10_classifier.labelling.estimation.estimate import estimate_run
from pi10_classifier.labelling.estimation.record import classification_of
from pi10_classifier.labelling.labels import LabelStore
from pi10_classifier.report.page import write_report

NOT_VALIDATED = {"validated": False, "quality_l20": "0", "quality_qartod": 2}


@pytest.fixture(scope="module")
def finished(cruise: Path, package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("recorded") / "out"
    classify([str(cruise / "2024-06-24")], out, Settings(model=package, jobs=2))
    assert described(out) == NOT_VALIDATED
    _, sample = draw(out, 110)
    store = LabelStore(out, support.CLASSES)
    store.add([(particle.particle_id, support.CLASSES[0]) for particle in sample], "Anna")
    assert described(out) == NOT_VALIDATED, "labels alone correct nothing"
    estimate_run(out)
    return out


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def described(run: Path) -> dict[str, object]:
    fields: dict[str, object] = json.loads((run / "run.json").read_text())["classification"]
    return fields


def state_of(run: Path) -> dict[str, object]:
    fields = json.loads((run / "run.json").read_text())
    return classification_of(run, fields["model"]["sha256"])


def test_an_estimate_validates_the_run(finished: Path) -> None:
    state = described(finished)
    assert (state["validated"], state["quality_l20"], state["quality_qartod"]) == (True, "1", 1)
    assert state["labelled"] == 110 and set(state["strata"]) == {"all"}
    assert "note" not in state


def test_resuming_an_unchanged_run_keeps_it(run: Path, cruise: Path, package: Path) -> None:
    before = described(run)
    settings = Settings(model=package, jobs=2)
    classify([str(cruise / "2024-06-24")], run, settings, resume=True)
    assert described(run) == before


def test_a_run_that_changed_is_validated_no_more(run: Path) -> None:
    counts = run / "counts.csv"
    head, *rows = counts.read_text().splitlines()
    first = min(row.split(",")[0] for row in rows)
    counts.write_text("\n".join([head, *(row for row in rows if not row.startswith(first))]))
    state = state_of(run)
    assert state["validated"] is False and state["quality_l20"] == "0"
    assert "changed since the estimate" in str(state["note"])
    counts.unlink()
    assert "cannot be read" in str(state_of(run)["note"])


def test_results_of_another_model_are_not_validated(run: Path) -> None:
    state = classification_of(run, "0" * 64)
    assert state["validated"] is False and "another model" in str(state["note"])


def test_a_corrected_table_that_was_edited_is_not_trusted(run: Path) -> None:
    table = run / "validation/corrected.csv"
    table.write_text(table.read_text().replace("copepod", "copepods"))
    state = state_of(run)
    assert state["validated"] is False and "corrected.csv is not as it was" in str(state["note"])


def test_labels_that_came_later_are_told(run: Path) -> None:
    store = LabelStore(run, support.CLASSES)
    store.add([("pia9.elsewhere", support.CLASSES[0])], "Anna")
    state = state_of(run)
    assert state["validated"] is True and "added since" in str(state["note"])


@pytest.mark.parametrize("name", ["labels.csv", "sample.csv", "design.json", "corrected_bins.csv"])
def test_what_the_estimate_was_made_of_must_be_there_as_it_was(run: Path, name: str) -> None:
    path = run / "validation" / name
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    assert state_of(run)["validated"] is False
    path.unlink()
    state = state_of(run)
    assert state["validated"] is False and name in str(state["note"])


def test_a_bin_in_no_stratum_is_not_validated(run: Path, tmp_path: Path) -> None:
    with (run / "bins.csv").open() as stream:
        names = sorted({row["bin"] for row in csv.DictReader(stream)})
    strata = tmp_path / "strata.csv"
    strata.write_text(f"bin,stratum\n{names[0]}, north \n{names[1]},\n")
    _, sample = draw(run, 500, by=str(strata), overwrite=True)
    store = LabelStore(run, support.CLASSES)
    store.add([(particle.particle_id, support.CLASSES[0]) for particle in sample], "Anna")
    assert {row.stratum for row in estimate_run(run).rows} == {"north"}
    state = state_of(run)
    assert state["validated"] is False and "in no stratum" in str(state["note"])


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"model_sha256": 1}', "\x00"])
def test_a_record_that_cannot_be_read_validates_nothing(run: Path, content: str) -> None:
    (run / "validation/estimate.json").write_text(content)
    state = state_of(run)
    assert state["validated"] is False and "validate estimate" in str(state["note"])


def test_too_few_labels_validate_nothing_and_the_report_says_why(run: Path) -> None:
    labels = run / "validation/labels.csv"
    labels.write_text("".join(labels.read_text().splitlines(keepends=True)[:4]))
    estimate_run(run)
    state = described(run)
    assert state["validated"] is False and "1 of 1 strata" in str(state["note"])
    page = write_report(run).read_text()
    assert "Before you use a number" in page and "cannot be published yet" in page


def test_the_report_shows_raw_and_corrected(run: Path) -> None:
    page = write_report(run).read_text()
    assert "Publish the" in page and "Before you use a number" not in page
    section = page.partition('<section id="validation"')[2].partition("</section>")[0]
    with (run / "validation/corrected.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert section.count("the corrected one") == len(rows) > 1
    assert 'id="plot-corrected"' in section and f"of {rows[0]['labelled']}" in section


def test_an_unfinished_run_is_refused(run: Path) -> None:
    (run / "run.json").unlink()
    with pytest.raises(SettingError, match="no finished run"):
        estimate_run(run)
