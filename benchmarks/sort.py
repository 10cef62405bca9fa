"""What `pi10 sort` gets from real crops without labels, and what it takes of a person.

    python -m benchmarks.sort --data ../shared/data --out DIR [--manifest data/manifest.csv]

Crops are drawn from the two sets at random, of the manifest's test part if one is given (`pi10
dataset planktonset1.tar pwssc.tar`): those the embedded models were not trained on. They get
numbers for names; what they are is known to this program alone. `pi10 embed` and `pi10 sort` run as
processes of their own, and a simulated person answers in a browser (Chromium, by playwright), by
what the shown thumbnails are:

- a cluster is of one kind where 70 % of those shown are; those that are not are clicked away;
- a page of nearest others belongs to it where 80 % do, and those that do not are clicked away;
- crops of the sets' group "other" are named `unknown`.

The person takes LOOK seconds for each screen and PRESS for each key or click; what the machine
takes is measured, of `pi10 sort` also its processor time. Called again with the same --out, it goes
on where it ended; `--judge` only says what has come of it so far.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from pi10_classifier.datasets.manifest import read_manifest
from pi10_classifier.embedding.clusters import least_of, seeds
from pi10_classifier.embedding.space import directions
from pi10_classifier.embedding.table import read_particles
from pi10_classifier.labelling.labels import LabelStore

TARS = ("planktonset1.tar", "pwssc.tar")
NAMES = {"other": "unknown"}
ONE_KIND, BELONGS = 0.7, 0.8
LOOK, PRESS = 3.0, 1.0  # seconds of a person
PI10 = (sys.executable, "-m", "pi10_classifier")
WAIT_MS = 1_200_000  # a machine that others use as well may be slow
MACHINE = "machine.jsonl"  # what each session took
MARKS = (5, 10, 20, 30, 45, 60)  # minutes of the person


@dataclass(frozen=True)
class Truth:
    """What a crop is: its name in the page, and the source's own class."""

    label: str
    fine: str


@dataclass
class Work:
    """What the person did: screens looked at, keys and clicks; when clusters were named."""

    looks: int = 0
    presses: int = 0
    named: list[tuple[float, int]] = field(default_factory=list)

    @property
    def person_s(self) -> float:
        return LOOK * self.looks + PRESS * self.presses

    @classmethod
    def of(cls, run: Path) -> Work:
        """By the journal: every answer but one that takes a single crop out ends a screen."""
        work = cls()
        path = run / "validation/sorting.jsonl"
        lines = path.read_text().splitlines()[1:] if path.exists() else []
        for event in map(json.loads, lines):
            if event["kind"] == "round":
                continue
            work.presses += 1
            work.looks += event["kind"] != "out"
            if event["kind"] == "name":
                work.named.append((work.person_s, len(event["rows"])))
        return work


def write_crops(
    data: Path, manifest: Path | None, n: int, seed: int, out: Path
) -> dict[str, Truth]:
    """Write n crops as ``out/NNNNN.ext``; name -> truth."""
    wanted = None
    if manifest:
        samples = read_manifest(manifest.read_text("utf-8"))
        wanted = {(s.source, s.member) for s in samples if s.split == "test"}
    members = []
    for name in TARS:
        with tarfile.open(data / name) as tar:
            members += [(name, entry.name) for entry in tar if entry.isfile()]
    if wanted is not None:
        members = [entry for entry in members if _in(entry, wanted)]
    if len(members) < n:
        raise SystemExit(f"there are {len(members):,} crops, not {n:,}; give another --n")
    chosen = random.Random(seed).sample(sorted(members), n)
    number = {entry: f"{place:05d}" for place, entry in enumerate(chosen)}
    out.mkdir(parents=True)
    truth = {}
    for name in TARS:
        with tarfile.open(data / name) as tar:
            for entry in tar:
                short = number.get((name, entry.name))
                stream = tar.extractfile(entry) if short else None
                if stream is None or short is None:
                    continue
                (out / f"{short}{Path(entry.name).suffix}").write_bytes(stream.read())
                group, fine, _ = entry.name.split("/")
                truth[short] = Truth(NAMES.get(group, group), f"{name}/{fine}")
    return truth


def _in(entry: tuple[str, str], wanted: set[tuple[str, str]]) -> bool:
    return any((source, entry[1]) in wanted for source in (entry[0], Path(entry[0]).stem))


def purity(clusters: Sequence[Any], kinds: Sequence[str]) -> float:
    """Share of clustered crops that are of their cluster's most common kind."""
    held = sum(Counter(kinds[row] for row in rows).most_common(1)[0][1] for rows in clusters)
    return held / max(1, sum(map(len, clusters)))


def judge_seeds(run: Path, n: int, truth: dict[str, Truth]) -> list[str]:
    """Print clusters, purity and coverage of the first round; the names of all rows."""
    particles = read_particles(run, n)
    names = [place.particle_id.rpartition("/")[2] for place in particles.places]
    began = time.process_time()
    clusters = seeds(directions(particles.features), least_of(len(names)))
    seconds = time.process_time() - began
    held = sum(map(len, clusters))
    print(
        f"first round: {len(clusters)} clusters of {least_of(len(names))} and more, in "
        f"{seconds:.0f} s of processor time; {held / len(names):.1%} of {len(names):,} crops; "
        "purity "
        f"{purity(clusters, [truth[name].label for name in names]):.3f} by group, "
        f"{purity(clusters, [truth[name].fine for name in names]):.3f} by the source's class"
    )
    return names


class Person:
    """Looks at the page as a browser shows it, and answers by keyboard and clicks."""

    def __init__(
        self, tab: Any, names: Sequence[str], truth: dict[str, Truth], keys: dict[str, str]
    ) -> None:
        self._tab, self._names, self._truth, self._keys = tab, names, truth, keys
        self.seconds: list[float] = []  # that the machine took for an answer

    def _shown(self) -> list[tuple[int, str, bool]]:
        """Row, kind and whether it is taken out, of each thumbnail."""
        buttons = self._tab.evaluate(
            "[...document.querySelectorAll('#pictures button')].map(b => [Number(b.dataset.row),"
            " b.getAttribute('aria-pressed') === 'true'])"
        )
        return [(row, self._truth[self._names[row]].label, out) for row, out in buttons]

    def _do(self, action: Any) -> None:
        """Press or click, and wait until the page shows what comes next."""
        before = self._tab.evaluate("view.step")
        began = time.perf_counter()
        action()
        self._tab.wait_for_function(
            "s => !busy && view.step > s && (view.stage !== 'end' || view.finished)",
            arg=before, timeout=WAIT_MS,
        )  # fmt: skip
        self.seconds.append(time.perf_counter() - began)

    def _press(self, key: str) -> None:
        self._do(lambda: self._tab.keyboard.press(key))

    def _take_out(self, kind: str) -> None:
        for row, its, out in self._shown():
            if its != kind and not out:
                button = self._tab.locator(f"#pictures button[data-row='{row}']")
                self._do(button.click)

    def _kind(self) -> tuple[str, float]:
        kinds = Counter(kind for _, kind, _ in self._shown())
        kind, count = kinds.most_common(1)[0]
        return kind, count / kinds.total()

    def go_on(self, run: Path, minutes: float) -> None:
        """Until nothing is left, or so many minutes of the person have gone."""
        kind = ""
        while Work.of(run).person_s < 60 * minutes:
            stage = self._tab.evaluate("view.stage")
            if stage == "end":
                return
            if stage == "seed" or not kind:
                kind, share = self._kind()
                if share < ONE_KIND:
                    self._press("x")
                    continue
            if stage == "grow":
                shown = [its for _, its, _ in self._shown()]
                if shown.count(kind) / len(shown) < BELONGS:
                    self._press("x")
                    continue
            self._take_out(kind)
            self._press("Enter" if stage in ("seed", "grow") else self._keys[kind])


def sort(run: Path, n: int, names: list[str], truth: dict[str, Truth], minutes: float) -> None:
    """Start the program, work on its page, end it."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    words = [*PI10, "sort", str(run), "--labeller", "simulated", "--n", str(n), "--no-browser"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            match = re.search(r"http://\S+", line)
            if not match:
                raise SystemExit(f"the page did not start: {line}")
            with sync_playwright() as play:
                browser = play.chromium.launch(
                    executable_path=chromium, args=["--no-sandbox"], timeout=WAIT_MS
                )
                tab = browser.new_page(viewport={"width": 1200, "height": 900})
                tab.set_default_timeout(WAIT_MS)
                tab.goto(match[0])
                # functions, because the page's policy forbids to evaluate other words
                tab.wait_for_function("() => !busy && view && view.stage !== 'end'")
                keys = tab.evaluate("Object.fromEntries(about.labels.map(l => [l.name, l.key]))")
                person = Person(tab, names, truth, keys)
                try:
                    person.go_on(run, minutes)
                finally:
                    its = psutil.Process(process.pid).cpu_times()
                    session = {"answers": len(person.seconds), "seconds": sum(person.seconds),
                               "processor": its.user + its.system}  # fmt: skip
                    with (run.parent / MACHINE).open("a") as stream:
                        stream.write(json.dumps(session) + "\n")
                view = tab.evaluate("view")
                browser.close()
        finally:  # else leaving the block would wait for it
            process.send_signal(signal.SIGINT)
    print(f"the page: round {view['round']}, {view['clusters_named']} clusters named, "
          f"{view['left']:,} crops without a name, finished: {view['finished']}")  # fmt: skip


def judge(run: Path, names: Sequence[str], truth: dict[str, Truth]) -> None:
    """Print what the person did, and what came of it."""
    work = Work.of(run)
    print(
        f"person: {work.looks:,} screens, {work.presses:,} keys and clicks, "
        f"{work.person_s / 60:.0f} minutes at {LOOK:g} s a screen and {PRESS:g} s a press; "
        f"{len(work.named)} clusters named"
    )
    if (path := run.parent / MACHINE).exists():
        sessions = [json.loads(line) for line in path.read_text().splitlines()]
        answers, seconds, processor = (
            sum(its[name] for its in sessions) for name in ("answers", "seconds", "processor")
        )
        print(f"machine: {seconds / 60:.1f} minutes for {answers:,} answers, {processor / 60:.1f} "
              f"minutes of processor time of `pi10 sort`; {os.cpu_count()} cores")  # fmt: skip
    for mark in MARKS:
        if 60 * mark <= work.person_s:
            done = [size for when, size in work.named if when <= 60 * mark]
            print(f"  after {mark} minutes: {len(done)} clusters, {sum(done):,} crops")
    known = {
        label.particle_id.rpartition("/")[2]: label.label for label in LabelStore(run, ()).read()
    }
    right = sum(truth[name].label == label for name, label in known.items())
    print(f"named: {len(known):,} of {len(names):,} crops ({len(known) / len(names):.1%}), "
          f"{right / max(1, len(known)):.3f} of them rightly")  # fmt: skip
    for label in sorted({its.label for its in truth.values()}):
        mine = [name for name in names if truth[name].label == label]
        got = [known[name] for name in mine if name in known]
        given = [name for name, its in known.items() if its == label]
        exact = np.mean([truth[name].label == label for name in given]) if given else float("nan")
        print(f"  {label}: {len(got) / max(1, len(mine)):.1%} of {len(mine):,} named; "
              f"{exact:.3f} of {len(given):,} with this name are it")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--manifest", type=Path)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--n", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--judge", action="store_true", help="no work, only its figures")
    parser.add_argument("--minutes", type=float, default=60, help="of the person, at most")
    given = parser.parse_args()
    crops, run, known = (given.out / name for name in ("crops", "run", "truth.csv"))
    if not known.exists():
        told = write_crops(given.data, given.manifest, given.n, given.seed, crops)
        with known.open("w", newline="") as stream:
            rows = ((name, its.label, its.fine) for name, its in sorted(told.items()))
            csv.writer(stream).writerows(rows)
    with known.open(newline="") as stream:
        truth = {name: Truth(label, fine) for name, label, fine in csv.reader(stream)}
    if not (run / "run.json").exists():
        words = [*PI10, "embed", str(crops), "--out", str(run), "--model", given.model]
        subprocess.run(words, check=True)
    if given.judge:
        places = read_particles(run, given.n).places
        judge(run, [place.particle_id.rpartition("/")[2] for place in places], truth)
        return
    names = judge_seeds(run, given.n, truth)
    sort(run, given.n, names, truth, given.minutes)
    judge(run, names, truth)


if __name__ == "__main__":
    main()
