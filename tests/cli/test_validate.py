"""``pi10 validate`` from a run to a corrected density, as a person would go."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
import support
from click.testing import CliRunner, Result

from pi10_classifier.classify import Settings, classify
from pi10_classifier.cli import pi10
from pi10_classifier.errors import SettingError


@pytest.fixture(scope="module")
def run(cruise: Path, package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("validate") / "out"
    classify([str(cruise / "2024-06-24")], out, Settings(model=package, jobs=2))
    return out


def ask(*words: object) -> Result:
    return CliRunner().invoke(pi10, ["validate", *map(str, words)])


def filled(text: str, label: str) -> str:
    rows = list(csv.DictReader(io.StringIO(text)))
    out = io.StringIO()
    writer = csv.DictWriter(out, list({**rows[0], "label": ""}), lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, "label": label} for row in rows)
    return out.getvalue()


def test_from_a_run_to_a_corrected_density(run: Path, tmp_path: Path) -> None:
    drawn = ask("draw", run, "--n", 110)
    assert drawn.exit_code == 0, drawn.output
    assert "110 particles in" in drawn.output
    empty = ask("estimate", run)
    assert empty.exit_code == 3
    assert "too few labels" in empty.output
    # all particles are detritus, say: the corrected density is the plain one of all together
    sheet = tmp_path / "labels.csv"
    sheet.write_text(filled(ask("export", run).stdout, "detritus"))
    taken = ask("import", run, sheet, "--labeller", "Anna")
    assert (taken.exit_code, taken.output) == (
        0,
        "110 labels taken, 0 were known already, 0 rows have none yet\n",
    )
    assert ask("estimate", run).exit_code == 0
    rows = {row["label"]: row for row in support.csv_of(run / "validation/corrected.csv")}
    plain = sum(float(rows[name]["plain_per_litre"]) for name in support.CLASSES)
    its = rows["detritus"]
    assert float(its["per_litre"]) == pytest.approx(plain, rel=1e-4)
    assert float(its["per_litre_low"]) < plain < float(its["per_litre_high"])
    assert its["publishable"] == "True"
    assert float(rows["copepod"]["per_litre"]) == 0
    assert "not by labels" in ask("plan", run, "--width", "1%").output
    # a plan only looks
    (run / "validation/corrected.csv").unlink()
    ask("plan", run)
    assert not (run / "validation/corrected.csv").exists()
    again = ask("import", run, sheet, "--labeller", "Anna")
    assert "0 labels taken, 110 were known" in again.output


def test_what_fits_nowhere_is_listed(run: Path, tmp_path: Path) -> None:
    ask("draw", run, "--n", 110)
    sheet = tmp_path / "labels.csv"
    sheet.write_text("particle_id,label\nnobody,copepod\n")
    told = ask("import", run, sheet)
    assert told.exit_code == 3
    assert "nobody" in told.output
    sheet.write_text("id,label\nnobody,copepod\n")
    with pytest.raises(SettingError, match="particle_id"):
        CliRunner().invoke(pi10, ["validate", "import", str(run), str(sheet)],
                           catch_exceptions=False)  # fmt: skip


def test_a_sample_of_another_model_is_refused(run: Path, tmp_path: Path) -> None:
    ask("draw", run, "--n", 110)
    path = run / "run.json"
    before = path.read_text()
    try:
        path.write_text(before.replace('"sha256": "', '"sha256": "0', 1))
        with pytest.raises(SettingError, match="another model"):
            CliRunner().invoke(pi10, ["validate", "estimate", str(run)], catch_exceptions=False)
    finally:
        path.write_text(before)


def test_labels_of_another_run_are_refused_and_others_counted(run: Path) -> None:
    from pi10_classifier.labelling.labels import LabelStore

    ask("draw", run, "--n", 110, "--overwrite")
    labels = run / "validation/labels.csv"
    before = labels.read_bytes() if labels.exists() else None
    labels.unlink(missing_ok=True)
    try:
        store = LabelStore(run, support.CLASSES)
        store.add([("pia9.elsewhere", "copepod")], "Anna")
        refused = ask("estimate", run)
        assert isinstance(refused.exception, SettingError)
        assert "another run or sample" in str(refused.exception)
        first = support.csv_of(run / "validation/sample.csv")[0]["particle_id"]
        store.add([(first, "copepod")], "Anna")
        told = ask("estimate", run)
        assert "1 labelled particles are neither in the sample nor suggested" in told.output
    finally:
        labels.unlink()
        if before is not None:
            labels.write_bytes(before)


def test_suggestions_are_labelled_like_the_sample_and_change_no_estimate(
    cruise: Path, package: Path, tmp_path: Path
) -> None:
    run = tmp_path / "out"
    classify([str(cruise / "2024-06-24")], run, Settings(model=package, jobs=2))
    told = ask("suggest", run, "--n", 12)
    assert told.exit_code == 0, told.output
    assert "uncertain" in told.output
    # they can be looked at: no sample is needed for that
    pictures = ask("crops", run, "--suggested", "--out", tmp_path / "suggested")
    assert (pictures.exit_code, pictures.output.split(" in ")[0]) == (0, "12 pictures")
    assert len(list((tmp_path / "suggested/unsorted").iterdir())) == 12
    listed = ask("export", run, "--suggested").stdout
    assert len(listed.splitlines()) == 13
    sheet = tmp_path / "labels.csv"
    # nobody has drawn a sample yet: labels of suggestions are welcome all the same
    suggestions = (run / "validation/suggestions.csv").read_text()
    sheet.write_text(filled(suggestions, "copepod"))
    taken = ask("import", run, sheet)
    assert (taken.exit_code, taken.output.split(",")[0]) == (0, "12 labels taken")
    ask("draw", run, "--n", 110)
    sheet.write_text(filled(ask("export", run).stdout, "detritus"))
    assert ask("import", run, sheet).exit_code == 0
    assert ask("estimate", run).exit_code == 0
    rows = support.csv_of(run / "validation/corrected.csv")
    assert {row["labelled"] for row in rows} == {"110"}
