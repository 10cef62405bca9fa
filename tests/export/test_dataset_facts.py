"""dataset.toml: what is wrong is told at once, with key, line and remedy."""

from __future__ import annotations

from pathlib import Path

import published_run
import pytest

from pi10_classifier.errors import SettingError
from pi10_classifier.export.dataset_facts import read_facts, template, write_template


def write(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def test_a_filled_file_is_read_whole(tmp_path: Path) -> None:
    facts = read_facts(write(tmp_path / "dataset.toml", published_run.DATASET))
    assert (facts.cruise, facts.ship, facts.intake_depth_m) == ("C24", "Endeavour", 4.5)
    assert facts.licence.url == "http://creativecommons.org/licenses/by/4.0/legalcode"
    assert [person.name for person in facts.having("verifier")] == ["Anna Bergström"]
    assert "Carberry, Josiah" in facts.citation
    assert facts.title in facts.citation


def test_the_template_names_all_that_is_to_be_filled_in(tmp_path: Path) -> None:
    path = write_template(tmp_path)
    assert path.read_text("utf-8") == template()
    with pytest.raises(SettingError) as refused:
        read_facts(path)
    for key in ("title", "abstract", "licence", "institution.name", "institution.code",
                "cruise.id", "cruise.ship", "cruise.intake_depth_m", "people[1].family",
                "people[1].email"):  # fmt: skip
        assert f"\n  {key} (line " in str(refused.value)
    with pytest.raises(SettingError, match="there already"):
        write_template(tmp_path)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ('licence = "CC-BY-4.0"', 'licence = "CC-BY-SA-4.0"', "licence .line 4.: is 'CC-BY-SA"),
        ('licence = "CC-BY-4.0"', "", "licence: is missing: without one nobody may use"),
        ("intake_depth_m = 4.5", 'intake_depth_m = "4,5"', "give a number in metres"),
        ("intake_depth_m = 4.5", "intake_depth_m = -4.5", "is -4.5; give metres below"),
        ("intake_depth_m = 4.5", "intake_depth_m = nan", "is nan"),
        ("intake_depth_m = 4.5", "", "cruise.intake_depth_m .line 9.: is missing"),
        ("1825-0097", "1825-0098", "no ORCID iD"),
        ('"creator", "contact"', '"creater", "contact"', "did you mean 'creator'"),
        ('"creator", "contact"', '"creator"', "nobody has the role 'contact'"),
        ('email = "josiah@example.org"', "", "a contact must have one"),
        ('email = "josiah@example.org"', 'email = "josiah"', "no email address"),
        ('id = "C24"', 'id = "C 24"', "letters, digits, dots"),
        ('ship = "Endeavour"', 'shipp = "Endeavour"', "did you mean 'ship'"),
        ('title = "', "title = ", "is not TOML"),
        ("[cruise]", "[[cruise]]", "write a table"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, before: str, after: str, told: str) -> None:
    assert before in published_run.DATASET
    path = write(tmp_path / "dataset.toml", published_run.DATASET.replace(before, after, 1))
    with pytest.raises(SettingError, match=told):
        read_facts(path)


def test_no_file_and_no_text(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="pi10 export init"):
        read_facts(tmp_path / "dataset.toml")
    (tmp_path / "dataset.toml").write_bytes(b"title = '\xff'")
    with pytest.raises(SettingError, match="UTF-8"):
        read_facts(tmp_path / "dataset.toml")
