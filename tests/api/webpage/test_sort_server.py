"""The sorting page's server as it runs: answers on the disk first, refusals, a kill, a browser."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import embedded_run
import pytest
import support
from click.testing import CliRunner

from pi10_classifier.cli import pi10
from pi10_classifier.embedding.embed import embedded_run as features_of
from pi10_classifier.errors import SettingError
from pi10_classifier.results.feature_part import FEATURES


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> embedded_run.EmbeddedRun:
    return embedded_run.build(tmp_path_factory.mktemp("sort"))


@pytest.fixture
def run(made: embedded_run.EmbeddedRun, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made.path, tmp_path / "run"))


class Server:
    """``pi10 sort`` in a process of its own."""

    def __init__(self, run: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pi10_classifier", "sort", str(run), "--labeller", "Anna",
             "--no-browser"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        match = re.search(r"http://127\.0\.0\.1:(\d+)(/[\w-]+/)", line)
        assert match, line + self.process.stdout.read()
        self.port, self.base, self.address = int(match[1]), match[2], match[0]

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        self.process.communicate(timeout=60)
        return self.process.returncode

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        data = body if isinstance(body, str | None) else json.dumps(body)
        sent = {"Content-Type": "application/json", **headers}
        with contextlib.closing(connection):
            connection.request(method, f"{self.base}{path}", data, sent)
            answer = connection.getresponse()
            content = answer.read()
        with contextlib.suppress(ValueError):
            content = json.loads(content)
        return answer.status, content

    def say(self, kind: str, **fields: object) -> Any:
        step = self.ask("GET", "view")[1]["step"]
        status, view = self.ask("POST", "answer", {"kind": kind, "step": step, **fields})
        assert status == 200, view
        return view


@contextlib.contextmanager
def serving(run: Path) -> Iterator[Server]:
    server = Server(run)
    try:
        yield server
    finally:
        assert server.end(signal.SIGINT) == 0


def labels_of(run: Path) -> list[dict[str, str]]:
    path = run / "validation/labels.csv"
    return support.csv_of(path) if path.exists() else []


def test_an_answered_click_survives_a_kill_and_others_cannot_answer(run: Path) -> None:
    server = Server(run)
    view = server.say("round")
    server.say("out", row=view["rows"][0])
    server.say("fits")
    view = server.say("no")
    assert view["stage"] == "name" and view["members"] == 119
    assert server.end(signal.SIGKILL) == -signal.SIGKILL
    server = Server(run)
    assert server.ask("GET", "view")[1] == view
    step = view["step"]
    for body, headers in (
        ({"kind": "name", "step": step, "label": "copepod"}, {"Host": "evil.example"}),
        ({"kind": "name", "step": step, "label": "copepod"}, {"Origin": "http://evil.example"}),
        ({"kind": "name", "step": step, "label": "copepod"}, {"Sec-Fetch-Site": "cross-site"}),
    ):
        assert server.ask("POST", "answer", body, **headers)[0] == 403
    for wrong in ("no json", [], {}, {"kind": 1, "step": step}, {"kind": "name", "step": True},
                  {"kind": "name", "step": step, "label": "whale"}):  # fmt: skip
        assert server.ask("POST", "answer", wrong)[0] == 422, wrong
    assert server.ask("POST", "answer", "kind=undo", **{"Content-Type": "text/plain"})[0] == 415
    old = {"kind": "name", "step": step - 1, "label": "copepod"}
    assert server.ask("POST", "answer", old)[0] == 409
    assert server.ask("GET", "pictures/99999")[0] == 404
    assert server.ask("GET", f"pictures/{view['rows'][0]}")[1].startswith(b"\x89PNG")
    base, server.base = server.base, "/guess/"
    assert server.ask("GET", "view")[0] == 404
    server.base = base
    assert labels_of(run) == []
    server.say("name", label="detritus")
    assert server.end(signal.SIGKILL) == -signal.SIGKILL
    assert len(labels_of(run)) == 119 and {row["how"] for row in labels_of(run)} == {"sorted"}


def test_a_run_that_was_moved_away_keeps_what_was_answered(run: Path) -> None:
    with serving(run) as server:
        server.say("round")
        server.say("fits")
        view = server.say("no")
        run.rename(run.with_name("away"))
        body = {"kind": "name", "step": view["step"], "label": "copepod"}
        status, answer = server.ask("POST", "answer", body)
        assert status == 507
        assert "its folder is not there: put it back" in answer["error"]["message"]
        assert not run.exists()
        run.with_name("away").rename(run)
        assert server.ask("GET", "view")[1] == view
        server.say("name", label="copepod")
    assert len(labels_of(run)) == view["members"]


def test_a_person_sorts_by_keyboard_and_clicks(run: Path, made: embedded_run.EmbeddedRun) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("chromium is not installed")
    with serving(run) as server, sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 390, "height": 800})
        errors: list[str] = []
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.set_default_timeout(60_000)
        tab.goto(server.address)
        pictures = tab.locator("#pictures button")
        tab.locator("#question:has-text('Are these of one kind?')").wait_for()
        assert pictures.count() == 48
        pictures.nth(5).click()
        tab.locator("#pictures button[aria-pressed=true]").wait_for()
        tab.keyboard.press("Enter")
        tab.locator("#question:has-text('Do all of these belong')").wait_for()
        assert pictures.count() == 24
        tab.keyboard.press("x")
        tab.locator("#goes-to:has-text('names all 119')").wait_for()
        tab.keyboard.press("t")
        tab.keyboard.type("calanoida")
        tab.locator("#taxa [aria-selected=true]:has-text('Calanoida')").wait_for()
        tab.keyboard.press("Enter")
        tab.locator("#taxon:has-text('Calanoida')").wait_for(state="attached")
        tab.wait_for_function("() => !busy && !document.querySelector('dialog[open]')")
        tab.keyboard.press("1")
        tab.locator("#reached:has-text('119 of 240 named, 1 cluster')").wait_for()
        assert {(row["label"], row["taxon"]) for row in labels_of(run)} == {
            ("copepod", "Calanoida")
        }
        tab.keyboard.press("z")
        tab.locator("#reached:has-text('0 of 240 named')").wait_for()
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
        tab.click("#labels button[data-label=detritus]")
        tab.locator("#reached:has-text('119 of 240 named')").wait_for()
        for key in ("1", "3", "a"):
            stage = tab.evaluate("view.step")
            tab.keyboard.press(key)
            tab.wait_for_function("s => !busy && view.step > s", arg=stage)
        tab.locator("#end:has-text('Nothing dense is left')").wait_for()
        browser.close()
        assert errors == []
    last = {row["particle_id"]: row["label"] for row in labels_of(run)}
    wrong = [name for name, label in last.items() if label and made.truth[name] != label]
    assert wrong == [] and len([label for label in last.values() if label]) == 239


def test_the_name_is_asked_for_after_all_that_may_refuse(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["sort", str(run), "--no-browser", "--n", "1"]  # ends with a refusal, not with a page
    asked = CliRunner().invoke(pi10, words, input="Anna\n")
    assert "Your name: " in asked.output
    assert isinstance(asked.exception, SettingError) and "--n is 1" in str(asked.exception)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "sklearn", None)
        lacking = CliRunner().invoke(pi10, words, input="Anna\n")
    assert "scikit-learn" in str(lacking.exception) and "Your name" not in lacking.output
    shutil.rmtree(features_of(run) / FEATURES)
    lacking = CliRunner().invoke(pi10, words, input="Anna\n")
    assert "has no features" in str(lacking.exception) and "Your name" not in lacking.output


def test_what_is_no_run_with_features_is_told_before_a_page_opens(run: Path) -> None:
    shutil.rmtree(run / "features.parquet")
    done = subprocess.run(
        [sys.executable, "-m", "pi10_classifier", "sort", str(run), "--labeller", "Anna"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2 and "run: pi10 embed" in done.stderr
