"""Writes model packages that are made from another one: int8, adapted, calibrated.

Before a package is published, it is loaded as in serving. No torch.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pi10_classifier.drift.quantities import FIELD as REFERENCE
from pi10_classifier.errors import SettingError, output_error
from pi10_classifier.model.card import body, card, embedded_card, head
from pi10_classifier.model.front_matter import front_matter, without_front_matter
from pi10_classifier.model.graphs.entries import FIELD as GRAPHS
from pi10_classifier.model.onnx_metadata import with_metadata
from pi10_classifier.model.package import Package
from pi10_classifier.model.runtime import FP32
from pi10_classifier.model.session import Model

# the part of a card on a graph in another precision, and those quoted in it, up to the next part
_OTHER_GRAPH = r"^(#+) The graph in (\w+): `[^\n]*\n.*?(?=^#+ |\Z)"
_OTHER_FILE = r"^\| File in \w+ \|[^\n]*\n"
_NO_OTHER_GRAPH = r"""\1 The graph in \2

That package also has a graph in \2. It is not in this package.

"""
MODEL, DESCRIPTION, CARD = "model.onnx", "model.json", "README.md"


def check_out(out: Path, base: Package) -> None:
    """Raise SettingError if ``out`` must not be written to. Called before any work."""
    if out.resolve() == base.folder.resolve():
        raise SettingError(f"--out is the package itself, {out}; name another folder")
    if out.exists() and not out.is_dir():
        raise SettingError(f"--out {out} is a file; name a folder")
    if out.is_dir() and any(out.iterdir()) and not (out / DESCRIPTION).is_file():
        raise SettingError(f"{out} holds files but no model package; name another folder")


def derive(base: Package, kind: str, **fields: Any) -> dict[str, Any]:
    """The description of a package made from ``base``: ``fields`` replace its own, None removes.

    ``derived`` names the packages that it was made from, as a list.
    """
    origin = {"kind": kind, "name": base.name, "version": base.version, "sha256": base.sha256}
    before = base.description.get("derived", [])
    # these belong to the base: its parity gate, its summary, the scores of its good run, and its
    # graphs in other precisions
    made = {
        **base.description,
        "parity": None,
        "summary": None,
        REFERENCE: None,
        GRAPHS: None,
        "derived": [*before, origin],
        **fields,
    }
    return {name: value for name, value in made.items() if value is not None}


def write_package(
    out: Path,
    graph: bytes,
    fields: Mapping[str, Any],
    sections: str,
    others: Mapping[str, bytes] | None = None,
) -> Path:
    """Publish a package at ``out``: graph, description and a card with ``sections``.

    others: further graphs by their file's name, which the field ``graphs`` describes.

    A new graph gets the package's name, version, classes, preprocessing and licence. The graph is
    loaded and run first. Raises ModelError, and writes nothing, if serving would refuse it. Raises
    OutputError if it cannot be written.
    """
    sha256 = hashlib.sha256(graph).hexdigest()
    # a base's own graph keeps its hash, by which drawn samples know the model
    known = [origin["sha256"] for origin in fields.get("derived", ())]
    known += [entry["sha256"] for entry in fields.get("files", {}).values()]
    graphs = {MODEL: graph if sha256 in known else with_metadata(graph, fields)}
    graphs |= {name: with_metadata(other, fields) for name, other in (others or {}).items()}
    files = {
        name: {"sha256": hashlib.sha256(stored).hexdigest(), "bytes": len(stored)}
        for name, stored in graphs.items()
    }
    described = {**fields, "files": files}
    text = json.dumps(described, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    target = out.resolve()
    trial = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        trial.mkdir(parents=True)
        for name, stored in graphs.items():
            (trial / name).write_bytes(stored)
        (trial / CARD).write_text(
            f"{front_matter(described)}{head(described)}\n{sections}", "utf-8", newline="\n"
        )
        (trial / DESCRIPTION).write_text(text, "utf-8", newline="\n")
        for precision in (FP32, *fields.get(GRAPHS, {})):
            Model.load(trial, "cpu" if precision == FP32 else f"cpu:{precision}")
        if target.is_dir() and any(target.iterdir()):
            for name in (*graphs, CARD, DESCRIPTION):  # the hash reveals an interruption
                (trial / name).replace(target / name)
        else:
            if target.is_dir():
                target.rmdir()
            trial.replace(target)
    except OSError as error:
        raise output_error(error, out) from error
    finally:
        shutil.rmtree(trial, ignore_errors=True)
    return out


def quoted_card(package: Package) -> str:
    """The card of the base package, with its headings one level lower."""
    try:
        text = (package.folder / CARD).read_text("utf-8", "replace")
    except OSError:
        text = ""
    text = re.sub(_OTHER_GRAPH, _NO_OTHER_GRAPH, text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(_OTHER_FILE, "", text, flags=re.MULTILINE)
    body = re.sub(r"^(#{1,5}) ", r"#\1 ", without_front_matter(text), flags=re.MULTILINE)
    title = f"## What it was made of: {package.name}, version {package.version}\n"
    return f"{title}\nSHA-256 `{package.sha256}`. Its card:\n\n{body}"


def extended_card(package: Package, fields: Mapping[str, Any], section: str) -> str:
    """What comes below the head of the card of a package that got a new section.

    A card that was made of its package's description is made anew of ``fields``, which have the
    section; another is quoted below it.
    """
    try:
        own = (package.folder / CARD).read_text("utf-8")
        if own in (card(package.description), embedded_card(package.description)):
            return body(fields)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return f"{section}\n{quoted_card(package)}"
