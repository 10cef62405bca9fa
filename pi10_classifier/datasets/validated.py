"""Uses the labelled particles of a run as labelled images, and records their use in a package.

Their pixels come from ``validation/crops``, or from the sources of the run if they are not there
yet. The member is the particle_id.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pi10_classifier.datasets.records import Entry, Sample, Scan
from pi10_classifier.errors import Code, InputError
from pi10_classifier.labelling.crops import CropCache
from pi10_classifier.labelling.labelled import made_of, read_labelled, run_of, used
from pi10_classifier.labelling.labels import BESIDE
from pi10_classifier.model.package import MADE_OF
from pi10_classifier.results.run_info import classes_of


def origin_of(run: Path) -> str:
    """The name of a run as a source of images."""
    return run.name


def run_entries(source: str, run: Path, wanted: Collection[str] | None = None) -> Iterator[Entry]:
    """The labelled particles of a run, the sample first: all, or those of the wanted ids.

    If labellers differ on a particle, or its pixels cannot be found, its entry has an error.
    Raises SettingError, and OutputError if the pictures cannot be written.
    """
    labelled = read_labelled(run)
    chosen = [
        (particle, label)
        for particle, label in labelled.particles
        if wanted is None or particle.particle_id in wanted
    ]
    cache = CropCache(run)
    problems = cache.fill([particle for particle, _ in chosen])
    for particle, label in chosen:
        data = cache.read(particle)
        name = particle.particle_id
        error = None
        if data is None:
            error = InputError(Code.OBJECT_GONE, problems.get(name, "its picture is gone"))
        yield Entry(source, name, label, particle.bin, "", data, error)
    if wanted is not None:
        return
    for name in labelled.contradicting:
        why = "labellers differ on it; agree, or take one of the labels back"
        yield Entry(source, name, "", error=InputError(Code.MISLABELLED, why))
    for name in labelled.lost:
        why = "it has a label, but is no longer in the sample or among the suggestions"
        yield Entry(source, name, "", error=InputError(Code.OBJECT_GONE, why))


def no_class(run: Path) -> frozenset[str]:
    """The labels that are not classes of the run's model, such as ``artefact``."""
    return frozenset(BESIDE) - set(classes_of(run))


def runs_of(scan: Scan) -> dict[str, Path]:
    """The sources that are runs -> the folder of the run."""
    runs = {name: run_of(path) for name, path in scan.origins.items()}
    return {name: run for name, run in runs.items() if run is not None}


def labels_used(
    scan: Scan, samples: Iterable[Sample], how: str, base: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """The entries for ``model.json``: the labelled particles of runs that a package was fitted on.

    how: trained, adapted or calibrated. base: the description of the package that it is made from,
    whose entries are kept.
    """
    samples = list(samples)
    entries = list((base or {}).get(MADE_OF, ()))
    for source, run in runs_of(scan).items():
        ids = {sample.member for sample in samples if sample.source == source}
        if ids:
            entries.append(used(run, ids, how))
    return entries


def fitted_on(description: Mapping[str, Any], samples: Iterable[Sample]) -> frozenset[str]:
    """The members of these samples that a package was fitted on, according to its description."""
    entries = description.get(MADE_OF)
    return made_of(entries, {sample.member for sample in samples}) if entries else frozenset()
