"""The labelled particles of a run, and whether a model was made of them.

A model that was fitted on labels of a survey is right more often on those particles than on the
others, so they are no sample of its errors any more. A package therefore keeps the particles that
it was made of, as short hashes of their ids, and ``run.json`` repeats them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pi10_classifier.errors import SettingError
from pi10_classifier.foundation.files import sha256
from pi10_classifier.labelling.crops import Located
from pi10_classifier.labelling.labels import LABELS, LabelStore, Verdicts, one_by_one, verdicts
from pi10_classifier.labelling.sample import FOLDER, SAMPLE, Drawn, read_sample
from pi10_classifier.labelling.suggestions import (
    Suggestion,
    read_suggestions,
    suggested_ids,
    without_suggested,
)
from pi10_classifier.model.package import MADE_OF
from pi10_classifier.results.run_folder import PREDICTIONS
from pi10_classifier.results.run_info import read_run

CALIBRATED = "calibrated"  # its labels changed scores alone, not which class is highest
_HASH_BYTES = 6
MOST_SHARED = 0.05  # of the labelled sample; more is no independent sample


def run_of(path: Path) -> Path | None:
    """The run whose labels a path stands for: RESULTS or RESULTS/validation; None of others.

    Raises SettingError for a run without any label.
    """
    resolved = path.resolve()
    run = resolved.parent if resolved.name == FOLDER else resolved
    if not (run / PREDICTIONS).is_dir():
        return None
    if not (run / FOLDER / LABELS).is_file():
        raise SettingError(
            f"{path} is a run whose particles nobody has labelled; label some of them first: "
            f"pi10 validate draw {run}"
        )
    return run


@dataclass(frozen=True, slots=True)
class LabelledRun:
    """The labelled particles of a run.

    particles: each with its label, the sample first. contradicting: ids on which labellers differ.
    lost: ids that are neither in the sample nor suggested any more, so that their pixels cannot be
    found.
    """

    particles: tuple[tuple[Located, str], ...]
    contradicting: tuple[str, ...]
    lost: tuple[str, ...]


def sample_of(run: Path) -> list[Drawn]:
    """The probability sample; empty where none was drawn, as labels may be of suggestions alone."""
    return read_sample(run) if (run / FOLDER / SAMPLE).is_file() else []


def read_labelled(run: Path) -> LabelledRun:
    """Read labels, sample and suggestions. Raises SettingError."""
    known = verdicts(LabelStore(run, ()).read())
    sample = sample_of(run)
    places: dict[str, Located] = {particle.particle_id: particle for particle in sample}
    for suggestion in read_suggestions(run):
        places.setdefault(suggestion.particle_id, suggestion)
    return LabelledRun(
        tuple((place, known.label_of[name]) for name, place in places.items()
              if name in known.label_of),
        tuple(name for name in known.contradicting if name in places),
        tuple(sorted({*known.label_of, *known.contradicting} - set(places))),
    )  # fmt: skip


def sample_labels(run: Path) -> Verdicts:
    """The labels of the probability sample that may be used for shares. Raises SettingError."""
    known = verdicts(one_by_one(LabelStore(run, ()).read()))
    return without_suggested(sample_of(run), known, suggested_ids(run))


def may_be_labelled(run: Path) -> list[Drawn | Suggestion]:
    """The sample, then the suggestions that are not in it. Raises SettingError where neither is."""
    suggested = read_suggestions(run)
    drawn = sample_of(run) if suggested else read_sample(run)
    there = {particle.particle_id for particle in drawn}
    return [*drawn, *(entry for entry in suggested if entry.particle_id not in there)]


def used(run: Path, ids: Iterable[str], how: str) -> dict[str, Any]:
    """What a package tells of the labelled particles of a run that it was made of.

    how: trained, adapted, calibrated. ``ids`` in the answer is Base64 of the first six bytes of
    the SHA-256 of each particle_id, sorted; ``sample_sha256`` is of ``sample.csv``.
    """
    ids = frozenset(ids)
    in_sample = ids & {particle.particle_id for particle in sample_of(run)}
    path = run / FOLDER / SAMPLE
    return {
        "run": run.name,
        "how": how,
        "run_model_sha256": read_run(run)["model"]["sha256"],
        "sample_sha256": sha256(path) if path.is_file() else "",
        "particles": len(ids),
        "of_sample": len(in_sample),
        "ids": base64.b64encode(b"".join(sorted(_short(name) for name in ids))).decode(),
    }


def made_of(entries: Any, ids: Iterable[str], *, calibrated: bool = True) -> frozenset[str]:
    """Those of ``ids`` that a model was made of; ``entries`` as ``used`` gave them.

    calibrated: count those that only the calibration was fitted on. Raises SettingError where the
    entries are damaged.
    """
    hashes: set[bytes] = set()
    try:
        for entry in entries or ():
            if entry["how"] == CALIBRATED and not calibrated:
                continue
            data = base64.b64decode(entry["ids"], validate=True)
            hashes.update(
                data[place : place + _HASH_BYTES] for place in range(0, len(data), _HASH_BYTES)
            )
    except (TypeError, KeyError, ValueError, binascii.Error) as error:
        raise SettingError(
            f"the model does not tell which labels it was made of: its field {MADE_OF!r} is "
            f"damaged ({error}); take the package as it was written"
        ) from error
    return frozenset(name for name in ids if _short(name) in hashes)


def shared_with_model(run: Path, ids: Sequence[str]) -> frozenset[str]:
    """Those of ``ids`` that the run's own model was fitted on. Raises SettingError."""
    if not (run / "run.json").is_file():  # not yet finished; an estimate is refused then
        return frozenset()
    model: Mapping[str, Any] = read_run(run)["model"]
    return made_of(model.get(MADE_OF), ids, calibrated=False)


def refuse_own_labels(run: Path, labelled: Sequence[str]) -> frozenset[str]:
    """Refuse an estimate by labels that the run's model was fitted on.

    labelled: ids of the sample with a label. Returns those that the model was fitted on, where
    they are at most 5 %: a sample drawn by itself meets some by chance. Raises SettingError.
    """
    shared = shared_with_model(run, labelled)
    if len(shared) > MOST_SHARED * len(labelled):
        raise SettingError(
            f"the model of {run} was fitted on {len(shared):,} of the {len(labelled):,} labelled "
            "particles of its sample, so it is right on them more often than elsewhere; draw "
            f"other particles and label them: pi10 validate draw {run} --seed N --overwrite"
        )
    return shared


def _short(particle_id: str) -> bytes:
    return hashlib.sha256(particle_id.encode("utf-8", "surrogatepass")).digest()[:_HASH_BYTES]


def labels_before(run: Path) -> int:
    """Labels that were given before the run began: of other images, if these were replaced."""
    began = str(read_run(run).get("started", ""))
    labels = LabelStore(run, ()).read()
    return sum(label.time < began for label in labels)
