"""``validation/estimate.json``: what corrected densities were made of, and whether they still hold.

``run.json`` and the report say from it whether the classification of a run is validated.
"""

from __future__ import annotations

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
from pi10_classifier.labelling.sample import FOLDER, Design, Totals
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
    files = {name: sha256(folder / name) for name in (*tables, LABELS) if (folder / name).is_file()}
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
        },
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
        changed = _hash(run / FOLDER / LABELS) != record["sha256"].get(LABELS)
        note = "labels were added since the estimate" if changed else ""
        validated = bool(strata) and all(state["publishable"] for state in strata.values())
        if not validated:
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
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        note = f"{path} cannot be read ({error}); run: pi10 validate estimate {run}"
        return _state(validated=False, note=note)


def update_run(run: Path) -> None:
    """Bring ``classification`` in ``run.json`` up to the last estimate. Raises SettingError."""
    fields = read_run(run)
    state = classification_of(run, fields["model"]["sha256"])
    if fields.get("classification") != state:
        write_json(run / "run.json", {**fields, "classification": state})


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
        return "the estimate is of results of another model; draw and label a sample of these"
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
        if name != LABELS and _hash(run / FOLDER / name) != value:
            return f"{name} is not what the estimate wrote"
    return ""


def _hash(path: Path) -> str | None:
    try:
        return sha256(path)
    except FileNotFoundError:
        return None
