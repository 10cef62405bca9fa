"""A reference made by hand: two classes with four cells, one class without."""

from __future__ import annotations

from typing import Any

import pytest

from pi10_classifier.drift.reference import Reference


@pytest.fixture
def fields() -> dict[str, Any]:
    cells = {"edges": [10.0, 20.0, 30.0], "shares": [0.25, 0.25, 0.25, 0.25]}
    told = {
        "mean": 0.0,
        "between_sd": 0.01,
        "classes": {"copepod": cells, "detritus": {**cells, "edges": [110.0, 120.0, 130.0]}},
    }
    return {
        "format": 1,
        "model": "tiny",
        "model_sha256": "ab" * 32,
        "um_per_px": 10.0,
        "images": 5000,
        "minutes": 20,
        "mix": {"copepod": 0.5, "detritus": 0.4, "noncopepod": 0.1},
        "mix_between": 0.01,
        "quantities": {"ground": told, "size": told},
    }


@pytest.fixture
def reference(fields: dict[str, Any]) -> Reference:
    made = Reference.from_dict(fields)
    assert made is not None
    return made
