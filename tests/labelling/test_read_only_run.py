"""A run that may not be written to: no message names an option that the commands lack."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pi10_classifier.embedding.sort_journal import SortJournal
from pi10_classifier.errors import OutputError
from pi10_classifier.labelling.labels import LabelStore
from pi10_classifier.labelling.sample import DESIGN, FOLDER, Design, make_folder, write_sample
from pi10_classifier.labelling.suggestions import write_suggestions


def _sort(run: Path) -> None:
    with SortJournal(run, {}):
        pass


WRITERS: dict[str, Callable[[Path], object]] = {
    "folder": lambda run: make_folder(run.with_name("new")),
    "pictures": lambda run: make_folder(run, "crops"),
    "suggestions": lambda run: write_suggestions(run, []),
    "sample": lambda run: write_sample(run, []),
    "design": lambda run: Design(0, 1, "cruise", "").write(run / FOLDER / DESIGN),
    "labels": lambda run: LabelStore(run, ("Copepoda",)).add([("p1", "Copepoda")], "Anna"),
    "sorting": _sort,
}


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Path]:
    """A run with a folder ``validation`` that may not be written to; beside it one without."""
    closed = [tmp_path / "run" / FOLDER, tmp_path / "new"]
    for folder in closed:
        folder.mkdir(parents=True)
        folder.chmod(0o500)
    root = os.geteuid() == 0
    if root:  # permissions do not bind it
        os.seteuid(65534)
    try:
        yield tmp_path / "run"
    finally:
        if root:
            os.seteuid(0)
        for folder in closed:
            folder.chmod(0o700)


@pytest.mark.skipif(sys.platform == "win32", reason="no such permissions")
@pytest.mark.parametrize("name", WRITERS)
def test_the_remedy_is_write_permission(name: str, run: Path) -> None:
    with pytest.raises(OutputError, match=r"; get write permission for it$"):
        WRITERS[name](run)
