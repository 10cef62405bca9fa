"""How many labels a wanted width takes, and where labels cannot give it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import support

from pi10_classifier.classify import Settings, classify
from pi10_classifier.labelling.draw import draw
from pi10_classifier.labelling.estimation.estimate import LEAST_LABELLED, estimate_run
from pi10_classifier.labelling.estimation.plan import Forecast, forecast
from pi10_classifier.labelling.labels import LabelStore

ASKED = 120


@pytest.fixture(scope="module")
def finished(cruise: Path, package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("planned") / "out"
    classify([str(cruise / "2024-06-24")], out, Settings(model=package, jobs=2))
    draw(out, ASKED)
    return out


def labelled(finished: Path, tmp_path: Path, doubt: int) -> Path:
    """The run with every ``doubt``-th particle labelled as another class than predicted."""
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    _, sample = draw(run, ASKED)
    other = dict(zip(support.CLASSES, (*support.CLASSES[1:], support.CLASSES[0]), strict=True))
    pairs = [
        (p.particle_id, other[p.predicted] if n % doubt == 0 else p.predicted)
        for n, p in enumerate(sample)
    ]
    LabelStore(run, support.CLASSES).add(pairs, "Anna")
    return run


def forecasts(run: Path, wanted: float) -> dict[str, Forecast]:
    rows = estimate_run(run, write=False).rows
    return {entry.row.label: entry for entry in forecast(run, rows, wanted)}


def test_errors_of_the_model_are_narrowed_by_labels(finished: Path, tmp_path: Path) -> None:
    run = labelled(finished, tmp_path, doubt=3)
    known = [entry for entry in forecasts(run, 10.0).values() if entry.width is not None]
    assert known
    for entry in known:
        assert entry.width < 10 and entry.labels == entry.row.labelled
        hopeless = forecasts(run, 0.01)[entry.row.label]
        assert hopeless.labels is None and 0 < hopeless.narrowest <= hopeless.width
    wide = next(entry for entry in known if entry.narrowest < 0.95 * entry.width)
    wanted = (wide.width + wide.narrowest) / 2
    found = forecasts(run, wanted)[wide.row.label]
    assert found.labels is not None and found.labels > found.row.labelled


def test_few_labels_may_not_be_published(finished: Path, tmp_path: Path) -> None:
    run = labelled(finished, tmp_path, doubt=3)
    assert all(row.publishable for row in estimate_run(run, write=False).rows)
    labels = run / "validation/labels.csv"
    labels.write_text("".join(labels.read_text().splitlines(keepends=True)[:LEAST_LABELLED]))
    rows = estimate_run(run, write=False).rows
    assert {row.labelled for row in rows} == {LEAST_LABELLED - 1}
    for row in rows:
        assert not row.publishable and f"hold from {LEAST_LABELLED} on" in row.note
        assert row.per_litre is not None, "shown, as one labels"
