"""``pi10 export ecotaxa``: the particles of a run, or a draw of each minute, for EcoTaxa.

Rules read in EcoTaxa's own importer (ecotaxa_back, py/BO/TSVFile.py and Bundle.py). Its default
formulas make of a bundle what ``bins.csv`` has: individuals per cubic metre = the sum over
acquisitions of count x ``acq_sub_part``, divided by ``sample_tot_vol`` / 1000.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from pi10_classifier.errors import SettingError, output_error
from pi10_classifier.export.dataset_facts import DatasetFacts
from pi10_classifier.export.ecotaxa.annotations import Annotations
from pi10_classifier.export.ecotaxa.bundles import Bundles
from pi10_classifier.export.ecotaxa.draw import Chosen, choose, read_part
from pi10_classifier.export.ecotaxa.listing import LEFT_OUT, REPEATED, SHORTENED, Listing
from pi10_classifier.export.ecotaxa.objects import UNNAMED, Layout, Line, Lines
from pi10_classifier.export.ecotaxa.pictures import Part, Reading, read_pictures
from pi10_classifier.export.ecotaxa.samples import COLUMNS, Samples, SampleTable
from pi10_classifier.export.left_out import left_out_path
from pi10_classifier.export.run_tables import read_tables
from pi10_classifier.export.ship_readings import readings_of
from pi10_classifier.export.taxa import Taxon
from pi10_classifier.results.run_folder import PREDICTIONS
from pi10_classifier.underway.table import read_underway

MOST_BYTES = 500 * 10**6
_REPORT_EVERY = 250
# fields of a sample that EcoTaxa has of its own
_OF_SAMPLES = ("latitude", "longitude", "lat", "long", "orig_id", "dataportal_descriptor")

Progress = Callable[[int, int], None]
"""Particles done and wanted in all."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    validated: objects with a label of a person; contradicting: labelled particles on which people
    differ, exported as predicted. without_density: minutes without ``acq_sub_part``; gone_bins:
    bins of which no picture could be read. by_name: categories without an EcoTaxa id.
    without_score: classes for whose scores there was no room. left_out, altered: outcome -> count.
    notes: of what the ship measured.
    """

    paths: tuple[Path, ...]
    list_path: Path
    samples: int
    acquisitions: int
    objects: int
    validated: int
    contradicting: int
    without_density: int
    gone_bins: int
    by_name: tuple[str, ...]
    without_score: tuple[str, ...]
    left_out: dict[str, int]
    altered: dict[str, int]
    notes: tuple[str, ...] = ()


def write_bundles(
    run: Path,
    out: Path,
    facts: DatasetFacts,
    taxa: Mapping[str, Taxon],
    *,
    per_minute: int | None = None,
    seed: int = 0,
    most_bytes: int = MOST_BYTES,
    threads: int | None = None,
    moved: Mapping[str, str] | None = None,
    progress: Progress = lambda done, wanted: None,
) -> Exported:
    """Write the bundles, and beside them the list of what is not in them.

    per_minute: at most so many particles of each minute, drawn at random by ``seed``. most_bytes:
    of one bundle. moved: beginnings of sources -> where they lie now. Raises SettingError where
    the run cannot be used or no picture can be read, OutputError where the disk fails; then
    nothing is written.
    """
    if out.suffix.lower() != ".zip" or out.stem.endswith("Images"):
        raise SettingError(
            f"--out {out} must end in .zip, but not in Images.zip, which EcoTaxa takes for a "
            "bundle of a UVP6"
        )
    tables = read_tables(run)
    reading = Reading.of(run, threads or os.cpu_count() or 1, moved or {})
    chosen = choose(run, per_minute, seed)
    underway = read_underway(run)
    taken = {name.removeprefix("sample_") for name in COLUMNS if name.startswith("sample_")}
    readings, notes = readings_of(underway, facts.readings, {*taken, *_OF_SAMPLES})
    list_path = left_out_path(out)
    temporary = list_path.with_name(f".{list_path.name[:150]}.{os.getpid()}.tmp")
    try:
        with Listing(list_path, temporary) as listing, Bundles(out, most_bytes) as bundles:
            export = _Export(
                run, chosen, Layout.of(tables.classes), bundles, listing,
                Annotations(run, tables.classes, taxa, facts),
                Samples(tables, facts, reading.um_per_px, underway, readings), facts,
            )  # fmt: skip
            export.write(reading, progress)
            if not export.objects:
                raise SettingError(f"no picture of {run} can be read; {listing.first}")
            paths = bundles.publish()
            listing.publish()
    except OSError as error:
        raise output_error(error, out) from error
    return replace(export.result(paths), notes=notes)


class _Export:
    def __init__(
        self,
        run: Path,
        chosen: Chosen,
        layout: Layout,
        bundles: Bundles,
        listing: Listing,
        annotations: Annotations,
        samples: Samples,
        facts: DatasetFacts,
    ) -> None:
        self._run = run
        self._chosen = chosen
        self._layout = layout
        self._bundles = bundles
        self._listing = listing
        self._annotations = annotations
        self._samples = samples
        self._facts = facts
        self._header = "".join(
            "\t".join(cells) + "\n"
            for cells in (
                (*layout.names, *samples.columns),
                (*layout.types, *samples.types),
            )
        )
        self._pending = Counter(chosen.of_bin)
        self._tables: dict[str, SampleTable] = {}
        self._written: set[int] = set()  # of the ids that repeat
        self.objects = 0
        self._counts: Counter[str] = Counter()

    def write(self, reading: Reading, progress: Progress) -> None:
        done = 0
        wanted = self._chosen.particles
        for stem, rows in self._chosen.rows.items():
            path = self._run / PREDICTIONS / f"{stem}.parquet"
            table = read_part(path, self._layout.read)
            if len(rows) < table.num_rows:
                table = table.take(rows)
            lines = Lines(table, self._layout, self._annotations, self._facts, reading.um_per_px)
            places = [table[name] for name in ("particle_id", "source", "member")]
            for picture in read_pictures(Part.read(self._run, stem), table, reading):
                line = lines[picture.row]
                outcome, reason = picture.outcome, picture.problem
                if not outcome and self._is_repeated(places[0][picture.row].as_py()):
                    outcome, reason = REPEATED, "a particle of this id is in the bundle already"
                notes = [(outcome, reason)] if outcome else list(line.notes)
                if notes:
                    key, source, member = (column[picture.row].as_py() for column in places)
                    for kind, text in notes:
                        self._listing.add(kind, key, source, member, text)
                if not outcome:
                    self._add(line, picture.png)
                self._settle(line.bin)
                done += 1
                if done % _REPORT_EVERY == 0 or done == wanted:
                    progress(done, wanted)
        for name, column in sorted(self._samples.shortened):
            self._listing.add(SHORTENED, "", "", "", f"{column} of the bin {name}")

    def result(self, paths: list[Path]) -> Exported:
        counts = self._listing.counts
        return Exported(
            paths=tuple(paths),
            list_path=self._listing.path,
            samples=self._counts["samples"],
            acquisitions=self._counts["acquisitions"],
            objects=self.objects,
            validated=self._counts["validated"],
            contradicting=len(self._annotations.contradicting),
            without_density=self._counts["without_density"],
            gone_bins=self._counts["gone_bins"],
            by_name=tuple(sorted(self._annotations.by_name)),
            without_score=self._layout.without_score,
            left_out={kind: counts[kind] for kind in counts if kind in LEFT_OUT},
            altered={kind: counts[kind] for kind in counts if kind not in LEFT_OUT},
        )

    def _is_repeated(self, particle_id: str) -> bool:
        """True for an id that is in the bundle already; else it is noted."""
        key = hash(particle_id)
        if key not in self._chosen.repeated:
            return False
        if key in self._written:
            return True
        self._written.add(key)
        return False

    def _add(self, line: Line, png: bytes) -> None:
        table = self._tables.get(line.bin)
        if table is None:
            table = self._tables[line.bin] = SampleTable(self._bundles.out.parent)
        table.add(self._bundles.add_picture(line.bin, line.picture, png), line)
        self.objects += 1
        self._counts["validated"] += line.is_validated

    def _settle(self, name: str) -> None:
        """One particle of a bin is done with; after its last, the bin's table is written."""
        self._pending[name] -= 1
        if self._pending[name]:
            return
        table = self._tables.pop(name, None)
        if table is None:
            self._counts["gone_bins"] += 1
            return
        cells, without_density = self._samples.cells(name, table.objects)
        stem = f"ecotaxa_{name or f'{self._facts.cruise}.{UNNAMED}'}"
        for place, number in enumerate(table.bundles):
            # a name is there once in all bundles: EcoTaxa can skip tables that it has
            file = f"{stem}.tsv" if place == 0 else f"{stem}_{place + 1}.tsv"
            lines = chain([self._header], table.lines(number, cells))
            self._bundles.add_table(number, name, file, lines)
        table.close()
        self._counts["samples"] += 1
        self._counts["acquisitions"] += len(table.objects)
        self._counts["without_density"] += without_density
