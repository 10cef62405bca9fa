"""Renewing the extract, over HTTP, from answers in the form that WoRMS documents.

The classification and the record of Rhincodontidae are as ropensci/worrms recorded them on
2020-05-05; the records of what stands above are made of that classification. The live service was
not asked.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from pi10_classifier.errors import InputError, OutputError
from pi10_classifier.foundation.files import write_csv
from pi10_classifier.taxonomy import renew
from pi10_classifier.taxonomy.renew import Worms, main, renewed
from pi10_classifier.taxonomy.table import COLUMNS, Taxon, TaxonTable, parse

CLASSIFICATION = (
    '{"AphiaID":1,"rank":"Superdomain","scientificname":"Biota","child":{"AphiaID":2,'
    '"rank":"Kingdom","scientificname":"Animalia","child":{"AphiaID":1821,"rank":"Phylum",'
    '"scientificname":"Chordata","child":{"AphiaID":146419,"rank":"Subphylum",'
    '"scientificname":"Vertebrata","child":{"AphiaID":1828,"rank":"Superclass",'
    '"scientificname":"Gnathostomata","child":{"AphiaID":11676,"rank":"Superclass",'
    '"scientificname":"Pisces","child":{"AphiaID":10193,"rank":"Class",'
    '"scientificname":"Elasmobranchii","child":{"AphiaID":368407,"rank":"Subclass",'
    '"scientificname":"Neoselachii","child":{"AphiaID":368408,"rank":"Infraclass",'
    '"scientificname":"Selachii","child":{"AphiaID":368410,"rank":"Superorder",'
    '"scientificname":"Galeomorphi","child":{"AphiaID":10208,"rank":"Order",'
    '"scientificname":"Orectolobiformes","child":{"AphiaID":105706,"rank":"Family",'
    '"scientificname":"Rhincodontidae","child":null}}}}}}}}}}}}'
)
RECORD = json.loads(
    '{"AphiaID":105706,"url":"http:\\/\\/www.marinespecies.org\\/aphia.php?p=taxdetails&id=105706",'
    '"scientificname":"Rhincodontidae","authority":"M\\u00fcller & Henle, 1841",'
    '"status":"accepted","unacceptreason":null,"taxonRankID":140,"rank":"Family",'
    '"valid_AphiaID":105706,"valid_name":"Rhincodontidae","valid_authority":'
    '"M\\u00fcller & Henle, 1841","parentNameUsageID":10208,"kingdom":"Animalia",'
    '"phylum":"Chordata","class":"Elasmobranchii","order":"Orectolobiformes",'
    '"family":"Rhincodontidae","genus":null,"lsid":"urn:lsid:marinespecies.org:taxname:105706",'
    '"isMarine":1,"isBrackish":null,"isFreshwater":null,"isTerrestrial":null,"isExtinct":null,'
    '"match_type":"exact","modified":"2015-04-17T08:48:21.843Z"}'
)


def records() -> dict[int, dict[str, Any]]:
    made: dict[int, dict[str, Any]] = {}
    step, parent = json.loads(CLASSIFICATION), None
    while step:
        key = step["AphiaID"]
        made[key] = RECORD | {
            **{"AphiaID": key, "valid_AphiaID": key, "parentNameUsageID": parent},
            **{name: step[name] for name in ("rank", "scientificname")},
        }
        step, parent = step["child"], key
    assert made[105706] == RECORD
    return made


class Service(ThreadingHTTPServer):
    """Answers as the REST service does; ``broken`` is what it says instead."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.records = records()
        self.broken: tuple[int, bytes] | None = None
        self.asked: list[int] = []
        self.url = f"http://127.0.0.1:{self.server_port}/rest"


class Handler(BaseHTTPRequestHandler):
    server: Service

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        if self.server.broken is not None:
            return self.say(*self.server.broken)
        if url.path == "/rest/AphiaRecordsByAphiaIDs":
            keys = [int(key) for key in query["aphiaids[]"]]
            self.server.asked.append(len(keys))
            found = [self.server.records.get(key) for key in keys]
            if not any(found):
                return self.say(204, b"")
            return self.say(200, json.dumps(found).encode())
        assert url.path == "/rest/AphiaRecordsByMatchNames"
        assert query["marine_only"] == ["false"]
        matches = [
            [
                record
                for record in self.server.records.values()
                if record["scientificname"].casefold().startswith(name[:6].casefold())
            ]
            for name in query["scientificnames[]"]
        ]
        return self.say(200, json.dumps(matches).encode())

    def say(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


CHORDATA = Taxon("Chordata", 1821, "Phylum", 2, ecotaxa_id=7)


def test_a_taxon_and_a_name_bring_all_that_stands_above(service: Service, tmp_path: Path) -> None:
    rows, notes = renewed([CHORDATA], ["rhincodontidae"], Worms(service.url))
    assert notes == []
    write_csv(tmp_path / "new.csv", COLUMNS, rows)
    table = TaxonTable(
        taxon for taxon, _ in parse((tmp_path / "new.csv").read_text("utf-8"), "new.csv")
    )
    recorded, step = [], json.loads(CLASSIFICATION)
    while step:
        recorded.append((step["AphiaID"], step["scientificname"], step["rank"]))
        step = step["child"]
    assert [(step.aphia_id, step.name, step.rank) for step in table.lineage(105706)] == recorded
    assert len(table) == len(recorded) and table[1821].ecotaxa_id == 7


def test_a_replaced_taxon_brings_the_accepted_one(service: Service) -> None:
    service.records[900001] = RECORD | {
        **{"AphiaID": 900001, "scientificname": "Oldname", "rank": "Genus"},
        **{"status": "unaccepted", "valid_AphiaID": 105706},
    }
    rows, _ = renewed([Taxon("Oldname", 900001, "Genus", 2)], [], Worms(service.url))
    by_id = {row[0]: row for row in rows}
    assert by_id[900001][4:6] == ("unaccepted", 105706) and by_id[105706][1] == "Rhincodontidae"


def test_what_is_not_known_is_said(service: Service) -> None:
    table = [CHORDATA, Taxon("Gone", 900002, "Genus", 1821, 3)]
    service.records[900003] = RECORD | {"AphiaID": 900003, "valid_AphiaID": 900003}
    rows, notes = renewed(table, ["Rhincodontidae", "Nowhere"], Worms(service.url))
    assert notes == [
        "WoRMS knows no AphiaID 900002 (Gone); kept",
        "no one record is called Rhincodontidae; left out",
        "no one record is called Nowhere; left out",
    ]
    assert rows[-1][:7] == (900002, "Gone", "Genus", 1821, "accepted", None, 3)


def test_identifiers_are_added(
    service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted, out = tmp_path / "unknown_aphia_ids.txt", tmp_path / "worms.csv"
    wanted.write_text("105706\n\n900009\n", "utf-8")
    arguments = ["--service", service.url, "--out", str(out), "--aphia-ids", str(wanted)]
    assert main(arguments) == 3
    assert "WoRMS knows no AphiaID 900009; left out" in capsys.readouterr().err
    assert TaxonTable.load(out).is_below(105706, 1821)
    wanted.write_text("Rhincodontidae\n", "utf-8")
    assert main(arguments) == 5
    assert "line 1: 'Rhincodontidae' is no AphiaID" in capsys.readouterr().err


def test_parents_that_run_in_a_circle_are_refused(service: Service) -> None:
    service.records[2]["parentNameUsageID"] = 1821
    with pytest.raises(InputError, match="stands above itself through parent_id"):
        renewed([CHORDATA], [], Worms(service.url))


def test_at_most_fifty_at_once(service: Service) -> None:
    assert list(Worms(service.url).by_ids(range(1, 121))) == [1, 2]
    assert service.asked == [50, 50, 20]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html>", "answers with no JSON"),
        (b'{"AphiaID": 1}', "answers with dict, not a list"),
        (b"[1]", "a record of WoRMS answers with int"),
        (b'[{"AphiaID": "1"}]', "AphiaID '1'"),
    ],
)
def test_an_answer_of_another_form_is_refused(service: Service, body: bytes, said: str) -> None:
    service.broken = (200, body)
    with pytest.raises(InputError) as caught:
        Worms(service.url).by_ids([1])
    assert said in caught.value.message


def test_no_answer_writes_nothing(
    service: Service,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service.broken = (500, b"")
    assert main(["--service", service.url, "--out", str(tmp_path / "new.csv")]) == 5
    assert "answers 500; run again later" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutputError, match="does not answer"):
        monkeypatch.setattr(renew, "_RETRIES", False)
        Worms("http://127.0.0.1:9/rest").by_ids([1])


def test_names_to_look_up_are_not_in_the_table_yet() -> None:
    names = files("pi10_classifier.taxonomy").joinpath(renew.WANTED).read_text("utf-8").split("\n")
    table = TaxonTable.load()
    assert names == [*sorted(set(names) - {""}), ""]
    assert [name for name in names if table.by_name(name)] == []


def test_the_whole_table_is_written(
    service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The shipped table: what the service knows is renewed, the rest is kept and listed."""
    out = tmp_path / "worms.csv"
    (tmp_path / "names.txt").write_text("Rhincodontidae\n\n", "utf-8")
    arguments = [
        "--service",
        service.url,
        "--out",
        str(out),
        "--names",
        str(tmp_path / "names.txt"),
    ]
    assert main(arguments) == 3
    shown = capsys.readouterr()
    old, new = TaxonTable.load(), TaxonTable.load(out)
    known = {1, 2, 1821}
    assert f"{len(old) + 9} taxa" in shown.out
    assert shown.err.count("; kept") == len(old) - len(known)
    assert "no one record is called Oikopleura; left out" in shown.err
    assert {taxon.aphia_id for taxon in old} < {taxon.aphia_id for taxon in new}
    with out.open(encoding="utf-8") as stream:
        sources = {int(row["aphia_id"]): row["source"] for row in csv.DictReader(stream)}
    assert sources[1080] == "an earlier version of this file"
    assert sources[1821].startswith("WoRMS REST 20")
