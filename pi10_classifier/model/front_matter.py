"""The head of a model card that the Hugging Face Hub reads: YAML between two lines of ``---``.

Fields as in https://huggingface.co/docs/hub/model-cards#model-card-metadata.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

_FENCE = re.compile(r"\A---\n.*?^---\n\n?", re.DOTALL | re.MULTILINE)
_TAGS = ("plankton", "zooplankton", "plankton-imager", "marine-biology", "pi10-classifier")
_NOT_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
# SPDX identifiers, in lower case, that the Hub knows; it takes others by their name
_HUB_LICENCES = frozenset(
    {
        "apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0",
        "cc-by-sa-4.0", "cc-by-nc-4.0", "gpl-3.0", "lgpl-3.0", "agpl-3.0", "mpl-2.0", "eupl-1.2",
    }
)  # fmt: skip


def front_matter(fields: Mapping[str, Any]) -> str:
    """From the fields of ``model.json``, with an empty line after it.

    The figures on held-out images become the Hub's model-index.
    """
    licence = str(fields.get("licence", ""))
    known = licence.lower() if licence.lower() in _HUB_LICENCES else "other"
    described: dict[str, Any] = {
        "license": known if licence else "unknown",
        **({"license_name": licence} if licence and known == "other" else {}),
        "library_name": "onnx",
        "pipeline_tag": "image-classification",
        "tags": list(_TAGS),
    }
    if results := list(_results(fields.get("metrics") or {})):
        described["metrics"] = sorted({m["type"] for r in results for m in r["metrics"]})
        described["model-index"] = [{"name": fields["name"], "results": results}]
    return "\n".join(["---", *_lines(described), "---", "", ""])


def without_front_matter(card: str) -> str:
    """The text of a card for people."""
    return _FENCE.sub("", card, count=1)


def licence_of(card: str) -> str:
    """The licence that the head of a card names; empty if it names none."""
    found = _FENCE.match(card)
    head = found.group() if found else ""
    for key in ("license_name", "license"):
        if told := re.search(rf"^{key}: (.+)$", head, re.MULTILINE):
            return told.group(1).strip().strip("\"'")
    return ""


def _results(metrics: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for source, found in metrics.items():
        figures = [{"type": "f1", "name": "macro-F1", "value": found["macro_f1"]["value"]}]
        if "accuracy" in found:
            figures.append({"type": "accuracy", "name": "accuracy", "value": found["accuracy"]})
        slug = re.sub(r"[^a-z0-9]+", "-", source.lower()).strip("-") or "images"
        yield {
            "task": {"type": "image-classification"},
            "dataset": {"name": source, "type": slug, "split": "test"},
            "metrics": figures,
        }


def _lines(value: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """Block YAML; scalars are written as JSON, which YAML reads as the same."""
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            yield f"{indent}{key}:"
            yield from _lines(inner, indent + "  ")
        elif isinstance(inner, list):
            yield f"{indent}{key}:"
            for item in inner:
                if isinstance(item, Mapping):
                    first, *more = _lines(item, indent + "  ")
                    yield f"{indent}- {first.lstrip()}"
                    yield from more
                else:
                    yield f"{indent}- {_scalar(item)}"
        else:
            yield f"{indent}{key}: {_scalar(inner)}"


def _scalar(value: object) -> str:
    words = isinstance(value, str) and re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9.]+)*", value)
    if words and value not in _NOT_WORDS:
        return str(value)
    return json.dumps(value, ensure_ascii=False)
