"""The table of one bin: its lines wait on the disk until its minutes are known to the last object.

How many objects of a minute are in the bundle decides its ``acq_sub_part``, and a picture may turn
out to be unreadable, so that no line can be completed before all pictures of the bin are read.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

import numpy as np

from pi10_classifier.errors import SettingError
from pi10_classifier.export.dataset_facts import DatasetFacts
from pi10_classifier.export.ecotaxa.draw import NO_MINUTE
from pi10_classifier.export.ecotaxa.objects import MOST_TEXT, UNNAMED, Line, quoted
from pi10_classifier.export.run_tables import BinTotal, Minute, RunTables
from pi10_classifier.export.ship_readings import Reading
from pi10_classifier.instrument.names import Bin
from pi10_classifier.underway.table import Underway

COLUMNS = (
    "sample_id", "sample_cruise", "sample_ship", "sample_tot_vol", "sample_bin_start",
    "sample_flags", "acq_id", "acq_instrument", "acq_serial", "acq_minute", "acq_hits",
    "acq_misses", "acq_images", "acq_flags", "acq_sub_part", "acq_pixel_size", "process_id",
    "process_software", "process_model", "process_model_sha256",
)  # fmt: skip
# EcoTaxa keeps all of these as text; the types are for other readers
_NUMBERS = (
    "sample_tot_vol", "acq_hits", "acq_misses", "acq_images", "acq_sub_part", "acq_pixel_size",
)  # fmt: skip
TYPES = tuple("[f]" if name in _NUMBERS else "[t]" for name in COLUMNS)
MOST_READINGS = 50  # of the 60 free columns of a sample
INSTRUMENT = "Plankton Imager"  # as EcoTaxa's list of instruments has it, NERC L22 TOOL1844
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Samples:
    """What the cells of samples, acquisitions and processes are made of.

    columns, types: of all cells, with the means of the ship's readings at the end.
    shortened: bin and column of each text that EcoTaxa cannot hold whole.
    """

    def __init__(
        self,
        tables: RunTables,
        facts: DatasetFacts,
        um_per_px: float,
        underway: Underway,
        readings: Sequence[Reading] = (),
    ) -> None:
        self._tables = tables
        self._underway, self._readings = underway, readings
        if len(readings) > MOST_READINGS:
            raise SettingError(
                f"the ship's file has {len(readings)} variables, and EcoTaxa takes "
                f"{MOST_READINGS} more columns of a sample; choose some: pi10 underway … --variable"
            )
        self.columns = (*COLUMNS, *(f"sample_{reading.name.lower()}" for reading in readings))
        self.types = (*TYPES, *("[f]" for _ in readings))
        self._pixel_size = np.format_float_positional(um_per_px / 1000, min_digits=3)  # mm
        self._facts = facts
        self.shortened: set[tuple[str, str]] = set()
        self._process = (
            f"{tables.model_sha256[:12]}.{tables.model}.{tables.model_version}",
            f"pi10-classifier {tables.software}",
            f"{tables.model} {tables.model_version}",
            tables.model_sha256,
        )

    def cells(self, name: str, objects: Counter[int]) -> tuple[dict[int, str], int]:
        """Minute -> the cells of ``columns``, joined; and the minutes without ``acq_sub_part``.

        objects: how many of each minute are in the bundles. A minute without a raising factor has
        no ``acq_sub_part``, so that EcoTaxa makes no density of it; only the others count in
        ``sample_tot_vol``. Raises SettingError for an id that EcoTaxa cannot hold.
        """
        total = self._tables.bins.get(name)
        minutes = _by_minute(total)
        raised = {
            minute: ((row.hits or 0) + (row.misses or 0)) / count
            for minute, count in objects.items()
            if (row := minutes.get(minute)) is not None and row.factor is not None
        }
        litres = sum(minutes[minute].litres or 0.0 for minute in raised)
        facts, named = self._facts, Bin.parse(name)
        sample = (
            name or f"{facts.cruise}.{UNNAMED}",  # a bin is unique over cruises, this is not
            facts.cruise,
            facts.ship,
            f"{litres:.9g}" if litres else "",
            f"{named.start:%Y-%m-%dT%H:%M:%SZ}" if named else "",
            ";".join(total.flags) if total else "",
        )
        means = self._underway.by_bin.get(name, {})
        ship = tuple(
            f"{means[reading.column].mean:.9g}" if reading.column in means else ""
            for reading in self._readings
        )
        cells = {}
        for minute in objects:
            row = minutes.get(minute)
            acquisition = (
                self._acquisition(name, named, minute),
                INSTRUMENT,
                named.instrument if named else "",
                "" if minute == NO_MINUTE else f"{_time(minute):%Y-%m-%dT%H:%MZ}",
                *((_whole(row.hits), _whole(row.misses), str(row.images)) if row else ("", "", "")),
                ";".join(row.flags) if row else "",
                f"{raised[minute]:.12g}" if minute in raised else "",
                self._pixel_size,
            )
            texts = (*sample, *acquisition, *self._process, *ship)
            self.shortened.update(
                (name, column)
                for column, text in zip(self.columns, texts, strict=True)
                if len(text) > MOST_TEXT
            )
            cells[minute] = "\t".join(quoted(" ".join(text[:MOST_TEXT].split())) for text in texts)
        return cells, len(objects) - len(raised)

    def _acquisition(self, name: str, named: Bin | None, minute: int) -> str:
        """Belongs to one sample in all of a project, so it has cruise and bin."""
        end = "unknown"
        if minute != NO_MINUTE:
            time = _time(minute)
            # HHMM alone would repeat where the clock is days off
            in_bin = named and abs(time - named.start) < timedelta(hours=12)
            end = f"{time:%H%M}" if in_bin else f"{time:%Y%m%dT%H%M}"
        text = f"{self._facts.cruise}.{name or UNNAMED}.{end}"
        if len(text) > MOST_TEXT:
            raise SettingError(
                f"acq_id {text!r} has {len(text)} characters, EcoTaxa takes {MOST_TEXT}; give "
                "cruise.id in dataset.toml a shorter name"
            )
        return text


class SampleTable:
    """The lines of one bin, by bundle, and how many objects each minute has."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._spools: dict[int, IO[str]] = {}
        self.objects: Counter[int] = Counter()

    @property
    def bundles(self) -> list[int]:
        return sorted(self._spools)

    def add(self, bundle: int, line: Line) -> None:
        spool = self._spools.get(bundle)
        if spool is None:
            spool = self._spools[bundle] = _spool(self._folder)
        spool.write(f"{line.minute}\t{line.text}\n")
        self.objects[line.minute] += 1

    def lines(self, bundle: int, cells: dict[int, str]) -> Iterator[str]:
        """The whole lines of a bundle. cells: of each minute."""
        spool = self._spools[bundle]
        spool.seek(0)
        ends = {str(minute): f"\t{text}\n" for minute, text in cells.items()}
        for line in spool:
            minute, _, text = line.partition("\t")
            yield text[:-1] + ends[minute]

    def close(self) -> None:
        for spool in self._spools.values():
            spool.close()


def _spool(folder: Path) -> IO[str]:
    """A file without a name: it is gone whatever becomes of the program."""
    return tempfile.TemporaryFile("w+", encoding="utf-8", newline="\n", dir=folder)


def _by_minute(total: BinTotal | None) -> dict[int, Minute]:
    return {
        NO_MINUTE if row.time is None else int((row.time - _EPOCH).total_seconds()) // 60: row
        for row in (total.minutes if total else ())
    }


def _time(minute: int) -> datetime:
    return _EPOCH + timedelta(minutes=minute)


def _whole(value: int | None) -> str:
    return "" if value is None else str(value)
