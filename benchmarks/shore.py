"""`pi10 shore` under load: ``python -m benchmarks.shore rate|year|fleet``.

rate: lines a second that a real receiver takes from many ships at once, each acknowledged on disk.
year: 50 ships x one line a minute for a year are put into a store (by SQL, from one line as
`pi10 watch` makes it); then the pages of random weeks are timed.
fleet: five ships as processes with the watcher's own ledger and link, through a link that is cut
and to a receiver that is killed; then every minute must be in the store once.

With --postgresql the store is in a PostgreSQL server, which is started for it (fsync on).
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil

from benchmarks.cut_link import CutLink
from benchmarks.shore_place import DAY, Place, fill, line_of, postgresql_server
from pi10_classifier.shore.receiver.lines import minute_text, parse
from pi10_classifier.watch.ashore.minute_summary import LinkState, compose
from pi10_classifier.watch.ashore.uplink import Uplink
from pi10_classifier.watch.ledger import Entry, Ledger
from pi10_classifier.watch.ledger import minute_text as ledger_minute

CLASSES = ("copepod", "detritus", "noncopepod")


def token_of(ship: str) -> str:
    return f"{ship}-0123456789abcdef"


class Receiver:
    """A process of `pi10 shore` on one port."""

    def __init__(self, place: Place, ships: list[str], port: int = 0) -> None:
        home = place.home
        tokens = home / "tokens"
        tokens.write_text("".join(f"{ship} {token_of(ship)}\n" for ship in ships), "utf-8")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pi10_classifier", "shore", *place.words,
             "--tokens", str(tokens), "--port", str(port)],
            stdout=subprocess.PIPE, text=True, env={**os.environ, **place.environ},
        )  # fmt: skip
        assert self.process.stdout
        address = re.search(r":(\d+)/", self.process.stdout.readline())
        assert address
        self.port = int(address[1])

    def get(self, path: str) -> tuple[Any, float]:
        began = time.perf_counter()
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        link.request("GET", path)
        answer = link.getresponse()
        body = answer.read()
        assert answer.status == 200, body
        link.close()
        return json.loads(body), time.perf_counter() - began

    @property
    def peak_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text("utf-8")
        found = re.search(r"VmHWM:\s+(\d+)", status)
        return int(found[1]) / 1024 if found else psutil.Process(self.process.pid).memory_info()[0]

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def send_for(port: int, number: int, seconds: float, results: Any) -> None:
    """One ship that sends sixty lines after sixty lines."""
    ship, source = f"ship{number}", f"{number:08x}"
    now = int(time.time()) // 60
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    head = {"Authorization": f"Bearer {token_of(ship)}"}
    seq, times = 0, []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        first = now - 400_000 + seq
        lines = [line_of(source, seq + n + 1, first + n) for n in range(60)]
        began = time.perf_counter()
        link.request("POST", "/lines", "".join(f"{line}\n" for line in lines), head)
        answer = json.loads(link.getresponse().read())
        times.append(time.perf_counter() - began)
        assert answer["accepted"] == 60, answer
        seq += 60
    results.put((seq, times))


def rate(place: Place, options: argparse.Namespace) -> None:
    ships = [f"ship{number}" for number in range(options.ships)]
    receiver = Receiver(place, ships)
    results: Any = multiprocessing.Queue()
    senders = [
        multiprocessing.Process(
            target=send_for, args=(receiver.port, number, options.seconds, results)
        )
        for number in range(options.ships)
    ]
    began = time.perf_counter()
    for sender in senders:
        sender.start()
    counts, times = zip(*(results.get() for _ in senders), strict=True)
    seconds = time.perf_counter() - began
    for sender in senders:
        sender.join()
    peak, cpu = receiver.peak_mb, sum(psutil.Process(receiver.process.pid).cpu_times()[:2])
    server_cpu = place.server_seconds
    receiver.stop()
    every = sorted(t for of_ship in times for t in of_ship)
    ((stored,),) = place.rows("select count(*) from lines")
    assert stored == sum(counts)
    print(
        f"{stored:,} lines from {options.ships} ships in {seconds:.1f} s: "
        f"{stored / seconds:,.0f} lines/s; a POST of 60 lines: median "
        f"{statistics.median(every):.3f} s, 99 % {every[int(0.99 * len(every))]:.3f} s"
    )
    print(
        f"{cpu / stored * 1e6:.0f} us of processor time a line; peak memory {peak:.0f} MB; "
        f"{place.size / stored:.0f} bytes a line on disk"
    )
    if place.server:
        print(f"{server_cpu / stored * 1e6:.0f} us of the server's processor time a line")


def year(place: Place, options: argparse.Namespace) -> None:
    start, end = fill(place, options.ships, options.days)
    ((lines,),) = place.rows("select count(*) from lines")
    print(f"{lines:,} lines of {options.ships} ships, {place.size / 1e9:.1f} GB")
    ships = [f"ship{number:02d}" for number in range(options.ships)]
    receiver = Receiver(place, ships)
    chance = random.Random(7)
    weeks, overviews, days = [], [], []
    for _ in range(options.tries):
        overviews.append(receiver.get("/api/voyages")[1])
        since = chance.randrange(start // DAY + 1, end // DAY - 7) * DAY
        span = f"from={minute_text(since)[:10]}&to={minute_text(since + 7 * DAY)[:10]}"
        series, seconds = receiver.get(f"/api/voyages/{chance.choice(ships)}/series?{span}")
        assert len(series["time"]) == 168
        assert all(density["minutes"] == 7 * DAY for density in series["overall"].values())
        weeks.append(seconds)
        minute = f"from={minute_text(since)[:10]}&to={minute_text(since + DAY)[:10]}"
        series, seconds = receiver.get(f"/api/voyages/{chance.choice(ships)}/series?{minute}")
        assert series["step"] == "minute"
        days.append(seconds)
    for name, times in (
        ("all ships' states", overviews),
        ("a week", weeks),
        ("a day by minutes", days),
    ):
        print(f"{name}: median {statistics.median(times):.3f} s, slowest {max(times):.3f} s")
    _, seconds = receiver.get(f"/days/{minute_text(end - 5 * DAY)[:10]}.json")
    print(
        f"the summary of a day of all ships: {seconds:.2f} s; peak memory {receiver.peak_mb:.0f} MB"
    )
    receiver.stop()


def sail(home: str, number: int, port: int, minutes: int, seconds: float) -> None:
    """A ship: the watcher's ledger and link; its minutes pass in ``seconds`` in all."""
    folder = Path(home) / f"ship{number}"
    folder.mkdir()
    ledger = Ledger(folder / "watch.sqlite")
    link = Uplink(
        f"http://127.0.0.1:{port}/lines", ledger, {"PI10_SUMMARY_TOKEN": token_of(f"ship{number}")}
    )
    link.start()
    start = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=minutes)
    start -= timedelta(minutes=start.minute % 10)
    chance = random.Random(number)
    for minute in range(minutes):
        when = start + timedelta(minutes=minute)
        begin = when - timedelta(minutes=when.minute % 10)
        bin_id = f"pia{number + 1}.{begin:%Y-%m-%d.%H%M}"
        counts = {
            (bin_id, ledger_minute(when), label): chance.randrange(1, 50) for label in CLASSES
        }
        hits = sum(counts.values())
        rows = ((hits, 3 * hits),) * (when.minute % 10 + 1)
        fix = (f"{when:%Y-%m-%dT%H:%M}:30Z", 50 + number + minute / 1000, -4.0)
        entry = Entry(
            ledger.next_part(), f"part{minute}", [(f"{minute}", "1", "r")], 0, 0, counts,
            {bin_id: {bin_id}}, {bin_id: rows}, fix=fix,
        )  # fmt: skip
        ledger.enter(entry, lambda: None)
        compose(ledger, when, "ab" * 32, CLASSES, LinkState(0, False, ""), lambda *_: True)
        link.wake()
        time.sleep(seconds / minutes)
    until = time.monotonic() + 300
    while link.waiting and time.monotonic() < until:
        time.sleep(0.2)
    link.close(30)
    ledger.close()


def fleet(place: Place, options: argparse.Namespace) -> None:
    home = place.home
    ships = [f"ship{number}" for number in range(5)]
    receiver = Receiver(place, ships)
    relay = CutLink(receiver.port)
    fleet_ = [
        multiprocessing.Process(
            target=sail, args=(str(home), n, relay.port, options.minutes, options.seconds)
        )
        for n in range(5)
    ]
    for ship in fleet_:
        ship.start()
    pause = options.seconds / 8
    for kill in range(3):
        time.sleep(pause)
        receiver.process.kill()
        receiver.process.wait()
        print(f"receiver killed (-9), time {kill + 1}")
        time.sleep(pause / 4)
        receiver = Receiver(place, ships, receiver.port)
    time.sleep(pause)
    relay.cut()
    print(f"link cut for {2 * pause:.0f} s, {options.minutes // 4} of the ships' minutes")
    time.sleep(2 * pause)
    relay.mend()
    for ship in fleet_:
        ship.join()
    states = {voyage["name"]: voyage for voyage in receiver.get("/api/voyages")[0]["voyages"]}
    receiver.stop()
    _compare(place, ships, options.minutes, states)


def _compare(place: Place, ships: list[str], minutes: int, states: dict[str, Any]) -> None:
    """Every line aboard is in the store once, as it was sent, and the sums are theirs."""
    wrong = 0
    for ship in ships:
        with closing(sqlite3.connect(place.home / ship / "watch.sqlite")) as aboard:
            sent = aboard.execute("select seq, line from lines order by seq").fetchall()
        stored = place.rows(
            "select l.seq, l.line from lines l join sources using (source) "
            f"join ships using (ship) where name = '{ship}' order by l.seq"
        )
        raised = sum(s.raised for _, text in sent for s in parse(text, 2**40).sums.values())
        ((summed,),) = place.rows(
            f"select sum(raised) from densities join ships using (ship) where name = '{ship}'"
        )
        same = sent == stored and len(sent) == minutes and abs(raised - summed) < 1e-6 * raised
        wrong += not same or states[ship]["missing"] > 0
        print(f"{ship}: {len(sent)} minutes aboard, {len(stored)} ashore, "
              f"{'equal' if sent == stored else 'DIFFERENT'}; raised counts {raised:,.0f} and "
              f"{summed:,.0f}; awaited {states[ship]['missing']}")  # fmt: skip
    print("every minute once" if not wrong else f"{wrong} ships differ")
    sys.exit(bool(wrong))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["rate", "year", "fleet"])
    parser.add_argument("--ships", type=int, default=50)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--minutes", type=int, default=600, help="of each ship of the fleet")
    parser.add_argument("--tries", type=int, default=20)
    parser.add_argument("--folder", type=Path, help="where the store is made (default: temporary)")
    parser.add_argument("--postgresql", action="store_true",
                        help="the store is in a PostgreSQL server, started for it")  # fmt: skip
    options = parser.parse_args()
    programs = postgresql_server.programs() if options.postgresql else None
    if options.postgresql and programs is None:
        sys.exit("no PostgreSQL server is installed (Debian: postgresql)")
    home = Path(tempfile.mkdtemp(prefix="pi10-shore-", dir=options.folder))
    run = {"rate": rate, "year": year, "fleet": fleet}[options.what]
    try:
        if programs:
            with postgresql_server.serve(programs, durable=True) as server:
                server.create("shore")
                run(Place(home, server), options)
        else:
            run(Place(home), options)
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
