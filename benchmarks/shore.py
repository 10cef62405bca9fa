"""`pi10 shore` under load: ``python -m benchmarks.shore rate|year|fleet``.

rate: lines a second that a real receiver takes from many ships at once, each acknowledged on disk.
year: 50 ships x one line a minute for a year are put into a store (by SQL, from one line as
`pi10 watch` makes it); then the pages of random weeks are timed.
fleet: five ships as processes with the watcher's own ledger and link, through a link that is cut
and to a receiver that is killed; then every minute must be in the store once.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
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
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil

from benchmarks.cut_link import CutLink
from pi10_classifier.shore.receiver.lines import minute_text, parse
from pi10_classifier.shore.receiver.store import FILE, Post, Store
from pi10_classifier.watch.ashore.minute_summary import LinkState, compose
from pi10_classifier.watch.ashore.uplink import Uplink
from pi10_classifier.watch.ledger import Entry, Ledger
from pi10_classifier.watch.ledger import minute_text as ledger_minute

CLASSES = ("copepod", "detritus", "noncopepod")
DAY = 1440


def token_of(ship: str) -> str:
    return f"{ship}-0123456789abcdef"


class Receiver:
    """A process of `pi10 shore` on one port."""

    def __init__(self, home: Path, ships: list[str], port: int = 0) -> None:
        tokens = home / "tokens"
        tokens.write_text("".join(f"{ship} {token_of(ship)}\n" for ship in ships), "utf-8")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pi10_classifier", "shore", "--store", str(home / "store"),
             "--tokens", str(tokens), "--port", str(port)],
            stdout=subprocess.PIPE, text=True,
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


def line_of(source: str, seq: int, minute: int) -> str:
    """A line as the watcher makes it, of one sampled minute."""
    fields = {
        "id": source, "seq": seq, "minute": minute_text(minute), "model": "5b9cd020",
        "n": {"copepod": 4772, "detritus": 6896, "noncopepod": 2059}, "failed": 27, "skipped": 1,
        "backlog": 1688, "at": [50.1234, -4.1234, 2], "from": minute_text(minute - 2),
        "minutes": 1, "hits": 12003, "misses": 36009, "weight": 4, "density": {
            "copepod": [16720, 491.8, 478.1, 505.8], "detritus": [24160, 710.6, 694, 727.5],
            "noncopepod": [7212, 212.1, 203.1, 221.4],
        },
    }  # fmt: skip
    return json.dumps(fields, separators=(",", ":"))


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


def rate(home: Path, options: argparse.Namespace) -> None:
    ships = [f"ship{number}" for number in range(options.ships)]
    receiver = Receiver(home, ships)
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
    receiver.stop()
    every = sorted(t for of_ship in times for t in of_ship)
    with sqlite3.connect(home / "store" / FILE) as db:
        (stored,) = db.execute("select count(*) from lines").fetchone()
    assert stored == sum(counts)
    size = (home / "store" / FILE).stat().st_size
    print(
        f"{stored:,} lines from {options.ships} ships in {seconds:.1f} s: "
        f"{stored / seconds:,.0f} lines/s; a POST of 60 lines: median "
        f"{statistics.median(every):.3f} s, 99 % {every[int(0.99 * len(every))]:.3f} s"
    )
    print(
        f"{cpu / stored * 1e6:.0f} us of processor time a line; peak memory {peak:.0f} MB; "
        f"{size / stored:.0f} bytes a line on disk"
    )


def fill(home: Path, ships: int, days: int) -> tuple[int, int]:
    """A store of so many lines; returns the first minute and the one after the last."""
    end = int(time.time()) // 60 // 60 * 60
    start = end - days * DAY
    store = Store(home / "store")
    for number in range(ships):
        line = parse(line_of(f"{number:08x}", 1, start), end)
        store.enter([Post(f"ship{number:02d}", start * 60, [line])])
    db = store._db
    db.execute("pragma synchronous = off")
    minutes, hours = days * DAY, days * 24
    series = "with recursive n(i) as (select 1 union all select i + 1 from n where i < {}) "
    db.execute("begin")
    template = line_of("$$$$$$$$", 987654321, start).replace("987654321", "%SEQ%")
    template = template.replace(minute_text(start), "%NOW%").replace(
        minute_text(start - 2), "%FROM%"
    )
    for number in range(ships):
        (source,) = db.execute(
            "select source from sources where id = ?", (f"{number:08x}",)
        ).fetchone()
        text = template.replace("$$$$$$$$", f"{number:08x}")
        db.execute(
            series.format(minutes - 1)
            + "insert into lines select ?1, i + 1, ?2 + i, ?2 + i - 2, (?2 + i) * 60, "
            "replace(replace(replace(?3, '%SEQ%', i + 1), '%NOW%', "
            "strftime('%Y-%m-%dT%H:%MZ', (?2 + i) * 60, 'unixepoch')), '%FROM%', "
            "strftime('%Y-%m-%dT%H:%MZ', (?2 + i - 2) * 60, 'unixepoch')) from n",
            (source, start, text),
        )
        db.execute(
            "update sources set seq = ?, held = ?, minute = ?, received = ? where source = ?",
            (minutes, minutes, end - 1, (end - 1) * 60, source),
        )
        print(f"\rfilled {number + 1} of {ships} ships", end="", file=sys.stderr, flush=True)
    hour = start // 60
    for table, values in (
        (
            "densities",
            "hour + i, label, 60, raised * 60, variance * 60, largest, litres * 60, "
            "squares * 60, 0",
        ),
        ("images", "hour + i, label, images * 60"),
        (
            "hours",
            "hour + i, 60, failed * 60, skipped * 60, backlog, 0, 60, hits * 60, misses * 60",
        ),
    ):
        db.execute(
            series.format(hours - 1)
            + f"insert or ignore into {table} select ship, {values} from {table}, n "
            "where hour in (?, ?)",
            (hour, hour - 1),
        )
    db.execute(
        series.format(days * 144 - 1)
        + "insert or ignore into track select ship, slot + i, minute + 10 * i, "
        "latitude + (i % 700) * 0.01, longitude + (i % 900) * 0.01 from track, n"
    )
    db.execute("commit")
    db.execute("pragma wal_checkpoint(truncate)")
    store.close()
    print(file=sys.stderr)
    return start, end


def year(home: Path, options: argparse.Namespace) -> None:
    start, end = fill(home, options.ships, options.days)
    with sqlite3.connect(home / "store" / FILE) as db:
        (lines,) = db.execute("select sum(held) from sources").fetchone()
    size = (home / "store" / FILE).stat().st_size
    print(f"{lines:,} lines of {options.ships} ships, {size / 1e9:.1f} GB")
    ships = [f"ship{number:02d}" for number in range(options.ships)]
    receiver = Receiver(home, ships)
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


def fleet(home: Path, options: argparse.Namespace) -> None:
    ships = [f"ship{number}" for number in range(5)]
    receiver = Receiver(home, ships)
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
        receiver = Receiver(home, ships, receiver.port)
    time.sleep(pause)
    relay.cut()
    print(f"link cut for {2 * pause:.0f} s, {options.minutes // 4} of the ships' minutes")
    time.sleep(2 * pause)
    relay.mend()
    for ship in fleet_:
        ship.join()
    states = {voyage["name"]: voyage for voyage in receiver.get("/api/voyages")[0]["voyages"]}
    receiver.stop()
    _compare(home, ships, options.minutes, states)


def _compare(home: Path, ships: list[str], minutes: int, states: dict[str, Any]) -> None:
    """Every line aboard is in the store once, as it was sent, and the sums are theirs."""
    wrong = 0
    with sqlite3.connect(home / "store" / FILE) as db:
        for ship in ships:
            with sqlite3.connect(home / ship / "watch.sqlite") as aboard:
                sent = aboard.execute("select seq, line from lines order by seq").fetchall()
            query = (
                "select l.seq, l.line from lines l join sources using (source) "
                "join ships using (ship) where name = ? order by l.seq"
            )
            stored = db.execute(query, (ship,)).fetchall()
            raised = sum(s.raised for _, text in sent for s in parse(text, 2**40).sums.values())
            (summed,) = db.execute(
                "select sum(raised) from densities join ships using (ship) where name = ?", (ship,)
            ).fetchone()
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
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="pi10-shore-", dir=options.folder))
    try:
        {"rate": rate, "year": year, "fleet": fleet}[options.what](home, options)
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
