"""Labels of particles that are in a run, but neither in its sample nor suggested.

A bundle of ``pi10 export ecotaxa`` holds particles of the whole run. Those that come back with a
label are kept as suggestions, so that their pixels can be found: models can be made of them, and
no estimate uses them, for people validate what they choose to.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from pi10_classifier.errors import SettingError
from pi10_classifier.foundation.files import write_records
from pi10_classifier.labelling.formats.given import picture_stem
from pi10_classifier.labelling.labels import LabelStore
from pi10_classifier.labelling.sample import FOLDER
from pi10_classifier.labelling.suggestions import SUGGESTIONS, Suggestion, read_suggestions
from pi10_classifier.results.run_folder import PREDICTIONS
from pi10_classifier.results.stored_rows import rows_at

IMPORTED = "imported"
_IDENTITY = ("particle_id", "label", "source", "member", "bin", "datetime")
_DIGEST = re.compile(r".*-[0-9a-f]{16}", re.ASCII)  # ends the name of a picture that is no id


def particles_of(run: Path, keys: Iterable[str]) -> list[Suggestion]:
    """The particles of a run by particle_id or name of the picture; of a repeated id the first.

    Raises SettingError where a part cannot be read.
    """
    wanted = set(keys)
    stems = {key.casefold() for key in wanted if _DIGEST.fullmatch(key.casefold())}
    parts = {path.stem: path for path in sorted((run / PREDICTIONS).glob("*.parquet"))}
    places: dict[str, tuple[str, int]] = {}
    for part, path in parts.items() if wanted else ():
        for row, name in enumerate(_ids(path)):
            if name in wanted or (stems and picture_stem(name).casefold() in stems):
                places.setdefault(name, (part, row))
    lines = rows_at(parts, places.values(), _IDENTITY)
    entries: list[Suggestion] = []
    for place in places.values():
        line = lines[place]
        when = line["datetime"]
        entries.append(
            Suggestion(
                order=len(entries), particle_id=line["particle_id"], why=IMPORTED, value=0.0,
                predicted=line["label"], source=line["source"], member=line["member"],
                bin=line["bin"] or "", datetime=f"{when:%Y-%m-%dT%H:%M:%SZ}" if when else "",
                part=place[0], row=place[1],
            )
        )  # fmt: skip
    return entries


def keep_labelled(run: Path, entries: Sequence[Suggestion], store: LabelStore) -> int:
    """Add those of ``entries`` that have a label to the suggestions; returns how many have one.

    Raises OutputError.
    """
    labelled = {label.particle_id for label in store.read()}
    kept = [entry for entry in entries if entry.particle_id in labelled]
    if kept:
        entries = [*read_suggestions(run), *kept]
        write_records(run / FOLDER / SUGGESTIONS, Suggestion, entries, option="")
    return len(kept)


def _ids(path: Path) -> Collection[str]:
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            ids: list[str] = file.read(columns=["particle_id"])["particle_id"].to_pylist()
    except (OSError, ValueError, KeyError) as error:
        raise SettingError(
            f"{path} cannot be read ({error}); make it again: pi10 classify … --resume"
        ) from error
    return ids
