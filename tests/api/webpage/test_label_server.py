"""The labelling page's server as it runs: labels on the disk first, refusals, kills, a browser."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import support

from pi10_classifier.classify import Settings, classify
from pi10_classifier.labelling.draw import draw

DRAWN = 110


@pytest.fixture(scope="module")
def finished(cruise: Path, package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("label") / "out"
    classify([str(cruise / "2024-06-24")], out, Settings(model=package, jobs=2))
    draw(out, DRAWN)
    return out


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


class Server:
    """``pi10 validate label`` in a process of its own."""

    def __init__(self, run: Path, *words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pi10_classifier", "validate", "label", str(run),
             "--no-browser", *words],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.first_line = self.process.stdout.readline()
        match = re.search(r"http://127\.0\.0\.1:(\d+)(/[\w-]+/)", self.first_line)
        assert match, self.first_line + self.process.stdout.read()
        self.port, self.base = int(match[1]), match[2]
        self.address = match[0]

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        self.process.communicate(timeout=30)
        return self.process.returncode

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        data = body if isinstance(body, str | None) else json.dumps(body)
        sent = {"Content-Type": "application/json", **headers}
        with contextlib.closing(connection):
            connection.request(method, f"{self.base}{path}", data, sent)
            answer = connection.getresponse()
            content = answer.read()
        with contextlib.suppress(ValueError):
            content = json.loads(content)
        return answer.status, content

    def label(self, order: int, label: str, labeller: str = "Anna", **more: str) -> int:
        choices = [{"order": order, "label": label, **more}]
        body = {"labeller": labeller, "choices": choices}
        return self.ask("POST", "labels", body)[0]


@pytest.fixture
def server(run: Path) -> Iterator[Server]:
    server = Server(run)
    yield server
    assert server.end(signal.SIGINT) == 0


def labels_of(run: Path) -> list[dict[str, str]]:
    path = run / "validation/labels.csv"
    return support.csv_of(path) if path.exists() else []


def test_a_label_is_on_the_disk_when_it_is_answered(server: Server, run: Path) -> None:
    status, sample = server.ask("GET", "sample?labeller=Anna")
    assert status == 200 and len(sample["particles"]) == DRAWN
    assert not {"predicted", "label", "score"} & set(sample["particles"][0])  # it would lead
    for order, label in enumerate((*support.CLASSES, "unknown")):
        assert server.label(order, label) == 200
        assert labels_of(run)[-1]["label"] == label
    names = [entry["id"] for entry in sample["particles"]]
    assert [row["particle_id"] for row in labels_of(run)] == names[:4]
    assert server.label(0, "", "Anna") == 200  # taken back
    _, again = server.ask("GET", "sample?labeller=Anna")
    assert len(again["labels"]) == 3 and again["next"] == 0
    _, other = server.ask("GET", "sample?labeller=Ben")
    assert other["labels"] == {}  # what others said stays hidden
    for order in range(5, 100):
        assert server.label(order, support.CLASSES[order % 3]) == 200
    status, rows = server.ask("GET", "density?labeller=Anna&stratum=all")
    assert status == 200 and {row["label"] for row in rows} >= set(support.CLASSES)
    assert all(row["per_litre_low"] <= row["per_litre"] <= row["per_litre_high"] for row in rows)
    status, picture = server.ask("GET", "pictures/0")
    assert status == 200 and picture.startswith(b"\x89PNG")


def test_taxa_are_found_and_kept_beside_the_label(server: Server, run: Path) -> None:
    status, rows = server.ask("GET", "taxa?text=calano")
    assert status == 200 and {"name": "Calanoida", "aphia_id": 1100, "rank": "Order"} in rows
    assert server.label(0, "copepod", taxon="Calanoida") == 200
    assert labels_of(run)[-1]["taxon"] == "Calanoida"


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Origin": "http://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_other_web_pages_cannot_label(server: Server, run: Path, headers: dict[str, str]) -> None:
    body = {"labeller": "x", "choices": [{"order": 0, "label": "copepod"}]}
    assert server.ask("POST", "labels", body, **headers)[0] == 403
    assert labels_of(run) == []


def test_what_cannot_be_read_is_refused_and_nothing_is_stored(server: Server, run: Path) -> None:
    choice = {"order": 0, "label": "copepod"}
    for body in (
        "no json", [], {}, {"labeller": "A"}, {"labeller": 1, "choices": [choice]},
        {"labeller": "A", "choices": [{**choice, "order": DRAWN}]},
        {"labeller": "A", "choices": [{**choice, "label": "whale"}]},
        {"labeller": " ", "choices": [choice]},
        {"labeller": "A", "choices": [choice] * 1001},
    ):  # fmt: skip
        status, answer = server.ask("POST", "labels", body)
        assert status == 422 and answer, body
    assert server.ask("POST", "labels", "order=0", **{"Content-Type": "text/plain"})[0] == 415
    assert server.ask("GET", "sample")[0] == 422
    assert server.ask("GET", "pictures/99999")[0] == 404
    base, server.base = server.base, "/guess/"
    assert server.ask("GET", "")[0] == 404
    server.base = base
    assert labels_of(run) == []


def test_a_body_that_breaks_off_or_is_packed_is_told_without_a_traceback(run: Path) -> None:
    server = Server(run)
    body = {"labeller": "A", "choices": [{"order": 0, "label": "copepod"}]}
    kind = "application/json; charset=of-no-kind"
    assert server.ask("POST", "labels", body, **{"Content-Type": kind})[0] == 422
    packed = "\x1f\x8b\x08 no more"
    assert server.ask("POST", "labels", packed, **{"Content-Encoding": "gzip"})[0] == 422
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as link:
        link.sendall(
            f"POST {server.base}labels HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
            'Content-Type: application/json\r\nContent-Length: 500\r\n\r\n{"labeller"'.encode()
        )
    assert server.ask("GET", "about")[0] == 200
    assert labels_of(run) == []
    server.process.terminate()
    assert "Traceback" not in server.process.communicate(timeout=30)[0]


def test_an_undo_does_not_take_back_what_was_said_meanwhile(server: Server, run: Path) -> None:
    assert server.label(0, "copepod") == 200
    assert server.label(0, "detritus") == 200
    undo = {
        "labeller": "Anna",
        "choices": [{"order": 0, "label": ""}],
        "expected": [{"order": 0, "label": "copepod"}],
    }
    assert server.ask("POST", "labels", undo)[0] == 409
    assert labels_of(run)[-1]["label"] == "detritus"


def test_killed_in_the_middle_every_answered_label_is_there(run: Path) -> None:
    server = Server(run)
    answered: list[int] = []

    def go_on() -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            for order in range(DRAWN):
                if server.label(order, "copepod") == 200:
                    answered.append(order)

    thread = threading.Thread(target=go_on)
    thread.start()
    while len(answered) < 20 and thread.is_alive():
        thread.join(0.01)
    assert server.end(signal.SIGKILL) == -signal.SIGKILL
    thread.join(30)
    assert 20 <= len(answered) <= len(labels_of(run)) <= len(answered) + 1
    server = Server(run)  # the next start goes on where it ended
    _, sample = server.ask("GET", "sample?labeller=Anna")
    assert sample["next"] == len(labels_of(run)) or len(labels_of(run)) == DRAWN
    assert server.end(signal.SIGINT) == 0


def reached(tab: Any, count: int) -> None:
    """Wait until the page says that so many labels are stored."""
    tab.wait_for_function(
        "n => document.getElementById('reached').textContent.startsWith(`${n} of `)", arg=count
    )


@contextlib.contextmanager
def opened(server: Server, width: int) -> Iterator[Any]:
    """The page in a browser; no error of its scripts is overlooked."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("chromium is not installed")
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": width, "height": 800})
        errors: list[str] = []
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.goto(server.address)
        yield tab
        browser.close()
    assert errors == []


def test_a_hundred_labels_by_keyboard(server: Server, run: Path) -> None:
    with opened(server, 390) as tab:
        tab.wait_for_selector("#name-dialog[open]")
        tab.keyboard.type("Anna")
        tab.keyboard.press("Enter")
        reached(tab, 0)
        for number in range(100):
            tab.keyboard.press("123"[number % 3])
            reached(tab, number + 1)
        assert len(labels_of(run)) == 100
        tab.keyboard.press("t")
        tab.keyboard.type("calanoida")
        tab.wait_for_selector("#taxa [aria-selected=true]:has-text('Calanoida')")
        tab.keyboard.press("Enter")
        tab.wait_for_selector("#taxon-dialog:not([open])", state="attached")
        tab.keyboard.press("1")
        reached(tab, 101)
        assert labels_of(run)[-1]["taxon"] == "Calanoida"
        tab.keyboard.press("z")
        reached(tab, 100)
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
        places = [tab.locator(f"#{name}").bounding_box()["y"] for name in ("back", "undo", "skip")]
        assert len(set(places)) == 1  # in one line


def test_grid_filters_and_what_others_said_otherwise(run: Path) -> None:
    server = Server(run, "--labeller", "Anna")
    try:
        for order in range(6):
            assert server.label(order, "copepod", "Ben") == 200
        with opened(server, 1200) as tab:
            reached(tab, 0)
            tab.keyboard.press("g")
            assert tab.locator("#grid li").count() == 24
            for key in (" ", "ArrowRight", " ", "ArrowRight", " ", "2"):
                tab.keyboard.press("Space" if key == " " else key)
            reached(tab, 3)
            labels = {row["labeller"]: row["label"] for row in labels_of(run)}
            assert labels == {"Ben": "copepod", "Anna": "detritus"}
            tab.keyboard.press("PageDown")
            tab.locator("#place:has-text('25 to 48 of 107')").wait_for()
            tab.select_option("#filter", "class:detritus")
            tab.locator("#place:has-text('1 to 3 of 3')").wait_for()
            tab.select_option("#filter", "differing")
            tab.locator("#grid li:has-text('Ben: copepod')").nth(2).wait_for()
            assert tab.locator("#grid li").count() == 3
            assert "0 of 3 particles alike" in tab.inner_text("#agreement")
            tab.keyboard.press("Enter")  # large; then as the other said
            tab.locator("#given:has-text('detritus; Ben: copepod')").wait_for()
            tab.keyboard.press("1")
            tab.locator("#agreement:has-text('1 of 3 particles alike')").wait_for()
            tab.select_option("#filter", "pictureless")
            tab.locator("#done:has-text('No particle is so')").wait_for()
    finally:
        assert server.end(signal.SIGINT) == 0


def test_the_density_is_of_the_stratum_shown(run: Path) -> None:
    draw(run, 20, by="bin", overwrite=True)
    server = Server(run, "--labeller", "Anna")
    try:
        with opened(server, 1200) as tab:
            reached(tab, 0)
            _, sample = server.ask("GET", "sample?labeller=Anna")
            strata = [particle["stratum"] for particle in sample["particles"]]
            assert len(set(strata)) > 1
            for stratum in strata[:4]:  # strata take turns
                tab.locator(f"#density-note:has-text('Stratum {stratum}.')").wait_for()
                tab.keyboard.press("ArrowRight")
            for stratum in sorted(set(strata)):
                tab.select_option("#stratum", stratum)
                tab.locator(f"#density-note:has-text('Stratum {stratum}.')").wait_for()
    finally:
        assert server.end(signal.SIGINT) == 0
