"""Renew ``worms.csv`` from the WoRMS REST service: ``python -m pi10_classifier.taxonomy.renew``.

Asks for the record of every AphiaID in the table and of every name in ``wanted.txt``, then for
their parents up to the root, so that after it each parent is the one that WoRMS itself gives.
Service: https://www.marinespecies.org/rest/ (AphiaRecordsByAphiaIDs, AphiaRecordsByMatchNames: at
most 50 a question; 204 or a null where nothing is known).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import urllib3

from pi10_classifier.errors import (
    Code,
    InputError,
    OutputError,
    Pi10Error,
    SettingError,
    output_error,
)
from pi10_classifier.foundation.files import write_csv
from pi10_classifier.taxonomy.table import ACCEPTED, COLUMNS, FILE, RANKS, Taxon, TaxonTable

SERVICE = "https://www.marinespecies.org/rest"
WANTED = "wanted.txt"
_AT_ONCE = 50
_TIMEOUT = urllib3.Timeout(connect=10.0, read=60.0)
_RETRIES = urllib3.Retry(3, backoff_factor=1.0, status_forcelist=(429, 502, 503, 504))

Record = Mapping[str, Any]


class Worms:
    """Records of WoRMS over its REST service."""

    def __init__(self, service: str = SERVICE) -> None:
        self.service = service.rstrip("/")
        self._http = urllib3.PoolManager(timeout=_TIMEOUT, retries=_RETRIES)

    def by_ids(self, aphia_ids: Iterable[int]) -> dict[int, Record]:
        """Records by AphiaID; an identifier that WoRMS does not know is left out.

        Raises OutputError where the service does not answer, InputError for an answer that is not
        of the documented form.
        """
        wanted, records = sorted(set(aphia_ids)), {}
        for start in range(0, len(wanted), _AT_ONCE):
            query = [("aphiaids[]", str(key)) for key in wanted[start : start + _AT_ONCE]]
            for answer in self._ask("AphiaRecordsByAphiaIDs", query):
                if answer is not None:
                    record = _record(answer)
                    records[int(record["AphiaID"])] = record
        return records

    def by_names(self, names: Sequence[str]) -> dict[str, Record]:
        """The one record that has exactly a name, an accepted one before others.

        A name that finds none, or several of the same standing, is left out. Raises as ``by_ids``.
        """
        found = {}
        for start in range(0, len(names), _AT_ONCE):
            part = names[start : start + _AT_ONCE]
            query = [("scientificnames[]", name) for name in part]
            query.append(("marine_only", "false"))
            answers = self._ask("AphiaRecordsByMatchNames", query)
            if answers and len(answers) != len(part):
                raise _strange("AphiaRecordsByMatchNames", f"{len(answers)} lists, not {len(part)}")
            for name, matches in zip(part, answers, strict=bool(answers)):
                exact = [
                    record
                    for record in map(_record, matches or ())
                    if record["scientificname"].casefold() == name.casefold()
                ]
                accepted = [record for record in exact if record["status"] == ACCEPTED]
                if len(accepted or exact) == 1:
                    found[name] = (accepted or exact)[0]
        return found

    def _ask(self, question: str, query: Sequence[tuple[str, str]]) -> list[Any]:
        url = f"{self.service}/{question}"
        try:
            reply = self._http.request("GET", url, fields=list(query))
        except urllib3.exceptions.HTTPError as error:
            reason = getattr(error, "reason", error)
            raise OutputError(
                Code.STORAGE_UNAVAILABLE,
                f"{url} does not answer: {reason}; check the network and run again",
            ) from None
        if reply.status == 204:
            return []
        if reply.status != 200:
            raise OutputError(
                Code.STORAGE_UNAVAILABLE, f"{url} answers {reply.status}; run again later"
            )
        try:
            answer = json.loads(reply.data)
        except ValueError:
            raise _strange(question, "no JSON") from None
        if not isinstance(answer, list):
            raise _strange(question, f"{type(answer).__name__}, not a list")
        return answer


def _strange(question: str, what: str) -> InputError:
    return InputError(
        Code.OBJECT_UNREADABLE, f"{question} of WoRMS answers with {what}; has the service changed?"
    )


def _record(answer: object) -> Record:
    if not isinstance(answer, dict):
        raise _strange("a record", type(answer).__name__)
    for key, kind in (("AphiaID", int), ("scientificname", str), ("status", str), ("rank", str)):
        if not isinstance(answer.get(key), kind):
            raise _strange("a record", f"{key} {answer.get(key)!r}")
    return answer


def renewed(
    table: Iterable[Taxon], names: Sequence[str], worms: Worms, aphia_ids: Iterable[int] = ()
) -> tuple[list[tuple[Any, ...]], list[str]]:
    """Rows of a new ``worms.csv`` by AphiaID, and what could not be renewed or found, in words.

    aphia_ids: to add. A taxon that WoRMS no longer knows is kept as it was. Raises as
    ``Worms.by_ids``.
    """
    old = {taxon.aphia_id: taxon for taxon in table}
    more_ids = set(aphia_ids) - set(old)
    records = worms.by_ids({*old, *more_ids})
    notes = [
        f"WoRMS knows no AphiaID {key} ({old[key].name}); kept" for key in old if key not in records
    ]
    notes += [f"WoRMS knows no AphiaID {key}; left out" for key in sorted(more_ids - set(records))]
    by_name = worms.by_names(names)
    notes += [f"no one record is called {name}; left out" for name in names if name not in by_name]
    records |= {int(record["AphiaID"]): record for record in by_name.values()}
    # the accepted record of a name that is not, then all that stands above
    open_ids = {key for record in records.values() for key in _named(record)} - set(records)
    while open_ids:
        more = worms.by_ids(open_ids)
        lost = open_ids - set(more)
        if lost:
            raise _strange("a parent", f"no record for AphiaID {', '.join(map(str, sorted(lost)))}")
        records |= more
        open_ids = {key for record in more.values() for key in _named(record)} - set(records)
    today = f"WoRMS REST {datetime.now(UTC):%Y-%m-%d}"
    rows = [_row(record, old.get(key), today) for key, record in records.items()]
    rows += [
        (*(taxon.aphia_id, taxon.name, taxon.rank, taxon.parent_id, taxon.status),
         *(taxon.accepted_id, taxon.ecotaxa_id, "", 1, "an earlier version of this file"))
        for key, taxon in old.items() if key not in records
    ]  # fmt: skip
    try:
        TaxonTable(Taxon(row[1], row[0], row[2], row[3] or None) for row in rows)
    except ValueError as error:
        raise _strange("a record", str(error)) from None
    return sorted(rows), notes


def _named(record: Record) -> list[int]:
    """The AphiaIDs that a record names: its parent's and its accepted one's."""
    return [
        int(record[key])
        for key in ("parentNameUsageID", "valid_AphiaID")
        if record.get(key) and int(record[key]) != int(record["AphiaID"])
    ]


def _row(record: Record, old: Taxon | None, source: str) -> tuple[Any, ...]:
    key = int(record["AphiaID"])
    if record["rank"] not in RANKS:
        raise _strange("a record", f"the rank {record['rank']!r} for AphiaID {key}")
    valid = int(record.get("valid_AphiaID") or key)
    return (
        *(key, record["scientificname"], record["rank"], record.get("parentNameUsageID") or ""),
        *(record["status"], "" if valid == key else valid),
        *((old.ecotaxa_id or "") if old else "", "WoRMS", 1, source),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a renewed table; 0 where every taxon was renewed, 3 where some were not, else 5."""
    parser = argparse.ArgumentParser(prog="python -m pi10_classifier.taxonomy.renew")
    parser.add_argument("--out", type=Path, default=Path(FILE), help="the table to write")
    parser.add_argument("--names", type=Path, help="names to add, one a line, beside wanted.txt")
    parser.add_argument("--aphia-ids", type=Path, help="AphiaIDs to add, one a line")
    parser.add_argument("--service", default=SERVICE, help="the REST service (%(default)s)")
    given = parser.parse_args(arguments)
    names = files(__package__).joinpath(WANTED).read_text("utf-8").splitlines()
    try:
        if given.names is not None:
            names += given.names.read_text("utf-8").splitlines()
        aphia_ids = [] if given.aphia_ids is None else _aphia_ids(given.aphia_ids)
        table = TaxonTable.load()
        wanted = [name for name in dict.fromkeys(map(str.strip, names)) if name]
        rows, notes = renewed(
            table,
            [name for name in wanted if table.by_name(name) is None],
            Worms(given.service),
            aphia_ids,
        )
        write_csv(given.out, COLUMNS, rows)
    except Pi10Error as error:
        print(error.message, file=sys.stderr)
        return 5
    except OSError as error:
        print(output_error(error, given.out).message, file=sys.stderr)
        return 5
    for note in notes:
        print(note, file=sys.stderr)
    print(f"{given.out}: {len(rows)} taxa")
    return 3 if notes else 0


def _aphia_ids(path: Path) -> list[int]:
    numbers = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        text = line.strip()
        if text and not (text.isascii() and text.isdigit() and len(text) < 11):
            raise SettingError(f"{path}, line {number}: {text!r} is no AphiaID; give a number")
        if text:
            numbers.append(int(text))
    return numbers


if __name__ == "__main__":
    sys.exit(main())
