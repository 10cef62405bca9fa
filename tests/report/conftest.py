"""Folders of runs, and the report of one, that the tests share."""

import pytest
from report_folder import CARD, Out, fill


@pytest.fixture
def out(tmp_path):
    return Out(tmp_path / "out")


@pytest.fixture
def full(out):
    return fill(out)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("full")
    (folder / "README.md").write_text(CARD)
    return fill(Out(folder / "out")).write(folder)
