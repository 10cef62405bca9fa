"""The head of a model card, read as the Hugging Face Hub reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pi10_classifier.model.card import card
from pi10_classifier.model.front_matter import front_matter, licence_of, without_front_matter
from pi10_classifier.model.package import embedded, read_package
from pi10_classifier.model.writer import derive, extended_card, quoted_card, write_package

FIGURE = {"value": 0.9, "low": 0.8, "high": 0.95}


def read(text: str) -> dict[str, Any]:
    """What stands between the first line and the next ``---``."""
    begin, body, _ = text.split("---\n", 2)
    assert begin == ""
    found = yaml.safe_load(body)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    ("licence", "told"),
    [
        ("Apache-2.0", {"license": "apache-2.0"}),
        ("LicenseRef: mine", {"license": "other", "license_name": "LicenseRef: mine"}),
        ("", {"license": "unknown"}),
    ],
)
def test_the_licence(licence: str, told: dict[str, str]) -> None:
    found = read(front_matter({"name": "n", "metrics": {}, "licence": licence}))
    assert {key: found[key] for key in found if key.startswith("license")} == told
    assert found["library_name"] == "onnx"
    assert found["pipeline_tag"] == "image-classification"
    assert "plankton" in found["tags"]
    assert "model-index" not in found


@pytest.mark.parametrize(
    ("card", "told"),
    [
        (front_matter({"name": "n", "metrics": {}, "licence": "MIT"}), "mit"),
        (front_matter({"name": "n", "metrics": {}, "licence": "Ref: mine"}), "Ref: mine"),
        ("# n\n\nlicense: mit\n", ""),
    ],
)
def test_the_licence_is_read_from_the_head_alone(card: str, told: str) -> None:
    assert licence_of(card) == told


@pytest.mark.parametrize("name", ["plain", "no", "1.0", "a: b", "#1", 'naïve "x"', "- x", "null"])
def test_figures_and_names_that_yaml_could_take_for_others(name: str) -> None:
    fields = {"name": name, "metrics": {name: {"macro_f1": FIGURE, "accuracy": 0.91}}}
    found = read(front_matter(fields))
    (model,) = found["model-index"]
    (result,) = model["results"]
    assert model["name"] == result["dataset"]["name"] == name
    assert isinstance(result["dataset"]["type"], str)
    assert {m["type"]: m["value"] for m in result["metrics"]} == {"f1": 0.9, "accuracy": 0.91}
    assert found["metrics"] == ["accuracy", "f1"]


@pytest.mark.parametrize("name", ["starter", "fast"])
def test_embedded_cards_begin_with_it(name: str) -> None:
    text = (embedded(name) / "README.md").read_text("utf-8")
    found = read(text)
    fields = read_package(embedded(name))[0].description
    assert found["license"] == "apache-2.0"
    values = {result["dataset"]["name"]: result["metrics"][0]["value"]
              for result in found["model-index"][0]["results"]}  # fmt: skip
    assert values == {
        source: figures["macro_f1"]["value"] for source, figures in fields["metrics"].items()
    }
    assert without_front_matter(text).startswith(f"# {name}, version")
    assert without_front_matter(text) == without_front_matter(card(fields))


def test_a_quoted_card_says_that_the_int8_graph_is_not_here() -> None:
    base, _ = read_package(embedded("starter"))
    assert "## The graph in int8: `model.int8.onnx`" in (base.folder / "README.md").read_text()
    text = quoted_card(base)
    assert "model.int8.onnx" not in text and "cpu:int8" not in text
    assert "### The graph in int8\n\nThat package also has a graph in int8." in text
    assert "\n### Limits\n" in text and "\n### Groups\n" in text
    assert text.count("\n### ") == (base.folder / "README.md").read_text().count("\n## ")


def test_a_new_section_of_an_embedded_package_quotes_no_card() -> None:
    base, _ = read_package(embedded("starter"))
    text = extended_card(base, base.description, "## Own\n")
    assert "What it was made of" not in text
    assert text in (base.folder / "README.md").read_text("utf-8")


def test_a_card_that_quotes_another_has_one_head(package: Path, tmp_path: Path) -> None:
    base, graph = read_package(package)
    fields = {"training": {}, "metrics": {}, "never_seen": "", **derive(base, "calibrated")}
    fields["files"] = {"model.onnx": {"sha256": "0", "bytes": 1}}
    first, _ = read_package(write_package(tmp_path / "one", graph, fields, "## Own\n"))
    second = write_package(tmp_path / "two", graph, fields, quoted_card(first))
    text = (second / "README.md").read_text("utf-8")
    assert text.count("pipeline_tag") == 1
    assert "### Own" in text
    assert read(text)["library_name"] == "onnx"
