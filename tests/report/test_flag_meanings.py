"""The report's words for flags."""

import re
from pathlib import Path
from typing import Any

from pi10_classifier.abundance.quality import FLAGS
from pi10_classifier.report.flag_meanings import OF_PARTICLES, meaning_of


def test_every_flag_of_a_particle_that_the_docs_list_has_a_meaning() -> None:
    text = (Path(__file__).parents[2] / "docs" / "results.md").read_text("utf-8")
    table = text.partition("Flags of a particle:")[2].partition("\n\n- ")[0].partition("\n\n## ")[0]
    listed = re.findall(r"^\| `(\w+)(?:=\w+)?` \|", table, re.MULTILINE)
    assert sorted(listed) == sorted(OF_PARTICLES)


def test_the_report_tells_them(full: Any) -> None:
    full.part(["copepod"], name="part-9", flags=["objects=2"])
    assert f"objects=2 1 1.1 % 0 0 {OF_PARTICLES['objects']}" in full.write().text("flags")


def test_meanings() -> None:
    assert meaning_of("objects=3") == OF_PARTICLES["objects"]
    assert meaning_of("gap_before") == FLAGS["gap_before"].meaning
    assert meaning_of("something") == ""
