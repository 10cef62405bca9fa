"""``validation/estimate.json``: what corrected densities were made of, and whether they still hold.

``run.json`` and the report say from it whether the classification of a run is validated.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from pi10_classifier.abundance.quality import CLASS_NOT_VALIDATED, CLASS_VALIDATED, Codes
from pi10_classifier.errors import SettingError
from pi10_classifier.foundation.files import sha256, write_json
from pi10_classifier.labelling.estimation.run_totals import change_since, read_totals
from pi10_classifier.labelling.sample import (
    DESIGN,
    FOLDER,
    SAMPLE,
    Design,
    Totals,
    strata_of,
)
from pi10_classifier.results.run_info import read_run

RECORD = "estimate.json"
LABELS = "labels.csv"


class StratumRow(Protocol):
    """What is read of a line of ``corrected.csv``."""

    @property
    def stratum(self) -> str: ...
    @property
    def labelled(self) -> int: ...
    @property
    def publishable(self) -> bool: ...
    @property
    def note(self) -> str: ...


def write_record(
    run: Path, design: Design, rows: Sequence[StratumRow], tables: Sequence[str],
    counts: Mapping[str, int], labeller: str,
) -> None:  # fmt: skip
    """Write the record of an estimate beside its tables.

    tables: their file names. counts: of labelled particles that were left out, by reason.
    """
    folder = run / FOLDER
    strata: dict[str, dict[str, Any]] = {}
    for row in rows:
        state = strata.setdefault(
            row.stratum, {"labelled": row.labelled, "publishable": True, "note": ""}
        )
        state["publishable"] = state["publishable"] and row.publishable
        state["note"] = state["note"] or row.note
    names = (*tables, SAMPLE, DESIGN, LABELS)
    files = {name: sha256(folder / name) for name in names if (folder / name).is_file()}
    write_json(
        folder / RECORD,
        {
            "format": 1,
            "estimated": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "by": design.by,
            "seed": design.seed,
            "model_sha256": design.model_sha256,
            "labeller": labeller,
            **counts,
            "strata": strata,
            "totals": {
                name: {label: asdict(totals) for label, totals in classes.items()}
                for name, classes in design.strata.items()
            },
            "sha256": files,
            "labels_bytes": _size(folder / LABELS),
        },
        option="",
    )


def classification_of(run: Path, model_sha256: str) -> dict[str, Any]:
    """The entry ``classification`` of ``run.json``.

    ``validated`` is whether the corrected densities of every stratum may be published; ``note``
    says why not, ``strata`` which may. The quality codes are of the corrected densities.
    """
    path = run / FOLDER / RECORD
    if not path.exists():
        return _state(validated=False)
    try:
        record = json.loads(path.read_text("utf-8"))
        reason = _outdated(run, record, model_sha256)
        if reason:
            return _state(validated=False, note=f"{reason}; run: pi10 validate estimate {run}")
        strata = {
            str(name): {key: state[key] for key in ("labelled", "publishable", "note")}
            for name, state in record["strata"].items()
        }
        added = _size(run / FOLDER / LABELS) > record["labels_bytes"]
        note = "labels were added since the estimate" if added else ""
        validated = bool(strata) and all(state["publishable"] for state in strata.values())
        outside = _outside(run, record["by"])
        if outside:
            validated = False
            note = f"{outside:,} bins are in no stratum of --by {record['by']}, and not corrected"
        elif not validated:
            lacking = [name for name, state in strata.items() if not state["publishable"]]
            note = f"{len(lacking):,} of {len(strata):,} strata cannot be published yet"
        return _state(
            validated=validated,
            note=note,
            labelled=sum(state["labelled"] for state in strata.values()),
            estimated=str(record["estimated"]),
            by=str(record["by"]),
            strata=strata,
            sha256={str(name): str(value) for name, value in record["sha256"].items()},
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError, SettingError) as error:
        note = f"{path} cannot be read ({error}); run: pi10 validate estimate {run}"
        return _state(validated=False, note=note)


def update_run(run: Path) -> None:
    """Bring ``classification`` in ``run.json`` up to the last estimate. Raises SettingError."""
    fields = read_run(run)
    state = classification_of(run, fields["model"]["sha256"])
    if fields.get("classification") != state:
        write_json(run / "run.json", {**fields, "classification": state}, option="")


def _state(*, validated: bool, note: str = "", **more: object) -> dict[str, Any]:
    codes = Codes(*(CLASS_VALIDATED if validated else CLASS_NOT_VALIDATED))
    state: dict[str, Any] = {
        "validated": validated,
        "quality_l20": codes.l20,
        "quality_qartod": codes.qartod,
    }
    return {**state, **({"note": note} if note else {}), **more}


def _outdated(run: Path, record: Mapping[str, Any], model_sha256: str) -> str:
    """Why the estimate no longer speaks of this run; empty where it does."""
    if record["model_sha256"] != model_sha256:
        return (
            "the estimate is of results of another model, or of another graph of it (fp32, int8);"
            " draw and label a sample of these"
        )
    strata = {
        name: {label: Totals(**totals) for label, totals in classes.items()}
        for name, classes in record["totals"].items()
    }
    try:
        change = change_since(read_totals(run), strata, record["by"])
    except SettingError as error:
        return error.message
    if change:
        return f"the run changed since the estimate ({change})"
    for name, value in record["sha256"].items():
        if name == LABELS:  # to which lines are only ever added
            found = _hash(run / FOLDER / name, record["labels_bytes"])
        else:
            found = _hash(run / FOLDER / name)
        if found != value:
            return f"{name} is not as it was at the estimate"
    return ""


def _outside(run: Path, by: str) -> int:
    """Bins with particles that belong to no stratum."""
    stratum_of = strata_of(by)
    bins = {name for name, _ in read_totals(run).cells}
    return sum(stratum_of(name) is None for name in bins)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _hash(path: Path, size: int | None = None) -> str | None:
    """SHA-256 of a file, or of its beginning of ``size`` bytes; None where there is no file."""
    try:
        if size is None:
            return sha256(path)
        with path.open("rb") as stream:
            return hashlib.sha256(stream.read(size)).hexdigest()
    except FileNotFoundError:
        return None
