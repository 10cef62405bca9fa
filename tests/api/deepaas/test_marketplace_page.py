"""What AI4OS's page for people (deepaas_ui, on Gradio) makes of the API's description.

Its rules, as its launch.py and ui_utils.py have them: a tab for each type in ``produces``,
ending at a type it cannot show; a component for each parameter, by position; a component for
each property of ``ModelPredictionResponse``; a chart of ``labels`` and ``probabilities``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests
import support
from deepaas_server import NAME, Server

SHOWN = ("image/", "audio/", "video/", "application/")
MEDIA = ("image", "audio", "video")
INPUTS = ("integer", "number", "boolean", "string", "array", "file")
OUTPUTS = ("string", "boolean", "integer", "number", "array", "object")


@pytest.fixture(scope="module")
def described(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = requests.get(f"{server.root}/swagger.json", timeout=60).json()
    return found


@pytest.fixture(scope="module")
def post(described: dict[str, Any]) -> dict[str, Any]:
    (path,) = (path for path in described["paths"] if path.endswith("predict/"))
    found: dict[str, Any] = described["paths"][path]["post"]
    return found


def test_it_can_show_each_type(post: dict[str, Any]) -> None:
    kinds = [kind for kind in post["produces"] if kind != "*/*"]
    assert "application/json" in kinds
    assert not [kind for kind in kinds if not kind.startswith(SHOWN)]
    assert len({kind.rpartition("/")[2] for kind in kinds}) == len(kinds), "suffixes of its files"


def test_the_file_field_takes_archives(post: dict[str, Any]) -> None:
    (field,) = (p for p in post["parameters"] if p.get("type") == "file")
    assert field["name"] == "data"
    said = field["description"].lower()
    named = [word for word in MEDIA if word in said]
    assert len(named) != 1, f"it would show a picker of {named}"
    assert "zip" in said


def test_it_has_a_component_for_each_parameter(post: dict[str, Any]) -> None:
    # a parameter without a type is a text to it
    kinds = {p["name"]: p.get("type", "string") for p in post["parameters"]}
    assert set(kinds.values()) <= set(INPUTS)
    # it counts the parameters from the first, and leaves accept out
    assert list(kinds)[-1] == "accept"


def test_it_has_a_component_for_each_part_of_the_answer(described: dict[str, Any]) -> None:
    parts = described["definitions"]["ModelPredictionResponse"]["properties"]
    assert {"labels", "probabilities", "densities"} <= set(parts)
    for name, part in parts.items():
        kind = part.get("type", "string")
        assert kind in OUTPUTS, name
        if kind in ("string", "boolean"):
            said = part.get("description", "").lower()
            assert not any(word in said for word in MEDIA), f"{name} would be shown as a picture"


def test_its_way_of_asking_is_answered(server: Server, tmp_path: Path) -> None:
    """Without the last slash, with accept in the query too, and all options at their defaults."""
    data = support.write_tar(tmp_path / "bin.tar", support.bin_members(20)).read_bytes()
    given = {"model": "starter", "top_k": 3, "measurements": True, "accept": "application/json"}
    answer = requests.post(
        f"{server.root}/v2/models/{NAME}/predict", files={"data": ("bin.tar", data)},
        params=given, headers={"accept": "application/json"}, timeout=240,
    )  # fmt: skip
    assert answer.status_code == 200
    told = answer.json()
    chart = dict(zip(told["labels"], told["probabilities"], strict=True))
    assert sum(chart.values()) == pytest.approx(1, abs=1e-4)
    assert any(found["per_litre"] is not None for found in told["densities"])
