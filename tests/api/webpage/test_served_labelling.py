"""Labelling in `pi10 serve`: a sample of a page's results, labels on the disk, a corrected run."""

from __future__ import annotations

import csv
import io
import json
import shutil
import threading
import zipfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import support
from service import PATIENCE_S, Reply, Service, serving, until

IMAGES, DRAWN = 60, 30


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def service(home: Path) -> Iterator[Service]:
    with serving(home, "--base-path", "/deep/pi10", "--workers", "1") as found:
        yield found


@pytest.fixture(scope="module")
def bin_tar(home: Path) -> bytes:
    return support.write_tar(home / "bin.tar", support.bin_members(IMAGES)).read_bytes()


def uploaded(service: Service, *files: tuple[str, bytes]) -> str:
    """The id of a run of the page that is over."""
    run: str = service.upload("/ui/runs", *files).json["id"]
    until(lambda: state_of(service, run)["state"] in ("done", "failed"), "it is over")
    return run


def state_of(service: Service, run: str) -> Any:
    return service.ask(f"/ui/runs/{run}").json


def post(service: Service, path: str, body: object, **headers: str) -> Reply:
    given = {"Content_Type": "application/json", **headers}
    return service.ask(f"/ui/runs/{path}", json.dumps(body).encode(), **given)


def worked(service: Service, path: str, body: object) -> Any:
    """The job that a request begins, once it is over."""
    assert post(service, path, body).status == 202
    run = path.split("/")[0]
    until(lambda: state_of(service, run)["job"]["state"] != "working", "the job is over")
    return state_of(service, run)["job"]


@pytest.fixture
def run(service: Service, bin_tar: bytes) -> str:
    """Results of which a sample is drawn."""
    run = uploaded(service, ("bin.tar", bin_tar))
    assert worked(service, f"{run}/label", {"size": DRAWN})["state"] == "done"
    return run


def label(
    service: Service, run: str, orders: range, labeller: str = "Anna", size: int = DRAWN
) -> Reply:
    choices = [{"order": order, "label": support.CLASSES[order % 3]} for order in orders]
    body = {"labeller": labeller, "choices": choices}
    return post(service, f"{run}/label/{size}/labels", body)


def rows_of(reply: Reply) -> list[dict[str, str]]:
    assert reply.status == 200, reply.body
    return list(csv.DictReader(io.StringIO(reply.body.decode())))


def test_labels_correct_the_results_and_are_downloaded(service: Service, run: str) -> None:
    assert worked(service, f"{run}/label", {"size": IMAGES})["state"] == "done"
    page = f"/ui/runs/{run}/label/{IMAGES}/"
    sample = service.ask(f"{page}sample?labeller=Anna").json
    assert len(sample["particles"]) == IMAGES
    assert not any(particle["problem"] for particle in sample["particles"])
    assert service.ask(f"{page}pictures/0").body.startswith(b"\x89PNG")
    assert str(service.log.parent) not in service.ask(f"{page}about").body.decode()

    few = worked(service, f"{run}/correct", {})["result"]  # no label yet
    assert not few["publishable"] and "label" in few["notes"][0]
    assert label(service, run, range(IMAGES), size=IMAGES).status == 200
    files = f"/ui/runs/{run}/files/"
    assert len(rows_of(service.ask(f"{files}labels.csv"))) == IMAGES
    rows = service.ask(f"{page}density?labeller=Anna&stratum=all").json
    assert {row["label"] for row in rows} >= set(support.CLASSES)
    assert service.ask(f"{page}history?labeller=Anna&stratum=all").json

    told = worked(service, f"{run}/correct", {})["result"]
    assert told["publishable"], told
    assert told["labelled"] == IMAGES
    assert service.ask(f"/ui/runs/{run}/page").json["corrected"] == told
    corrected = rows_of(service.ask(f"{files}corrected.csv"))
    assert {row["label"] for row in corrected} >= set(support.CLASSES)
    assert rows_of(service.ask(f"{files}corrected_bins.csv"))
    assert len(rows_of(service.ask(f"{files}sample.csv"))) == IMAGES
    assert "orrected" in service.ask(f"{files}report.html").body.decode()
    with zipfile.ZipFile(io.BytesIO(service.ask(f"{files}results.zip").body)) as archive:
        names = set(archive.namelist())
        assert json.loads(archive.read("run.json"))["classification"]["validated"]
    held = ("corrected.csv", "corrected_bins.csv", "labels.csv", "sample.csv")
    assert {f"validation/{name}" for name in held} <= names
    assert {"counts.csv", "predictions.csv", "report.html"} <= names
    assert any(name.startswith("predictions.parquet/") for name in names)


def test_a_larger_sample_keeps_labels_and_outdates_the_page(service: Service, run: str) -> None:
    assert label(service, run, range(5)).status == 200
    assert post(service, f"{run}/label", {"size": 10}).json["drawn"] == DRAWN  # never fewer
    assert worked(service, f"{run}/label", {"size": 50})["state"] == "done"
    assert state_of(service, run)["drawn"] == 50
    old = label(service, run, range(1))  # whose order may be another particle now
    assert old.status == 409 and "larger sample" in old.json["error"]["message"]
    known = service.ask(f"/ui/runs/{run}/label/50/sample?labeller=Anna").json
    assert len(known["particles"]) == 50 and len(known["labels"]) == 5


def test_what_cannot_be_drawn_or_labelled_is_told(service: Service, run: str) -> None:
    lone = uploaded(service, ("a.tif", support.particle(1)))
    job = worked(service, f"{lone}/label", {"size": 5})
    assert job["state"] == "failed" and "HitsMisses.txt" in job["error"]["message"]
    assert service.log.parent.name not in job["error"]["message"]
    assert post(service, f"{lone}/correct", {}).status == 422  # nothing drawn
    assert label(service, lone, range(1)).status == 409
    for size in (0, 5001, 1.5, "9", True, None):
        assert post(service, f"{run}/label", {"size": size}).status == 422, size
    assert post(service, f"{run}/label", []).status == 422
    assert label(service, "guessed", range(1)).status == 404
    assert service.ask(f"/ui/runs/{lone}/files/labels.csv").json["error"]["code"] == "not_found"
    large = {"labeller": "A", "choices": [{"order": 0, "label": "x" * 2**20}]}
    assert post(service, f"{run}/label/{DRAWN}/labels", large).status == 413
    for path, body in ((f"{run}/label", {"size": 40}), (f"{run}/correct", {}),
                       (f"{run}/label/{DRAWN}/labels", {})):  # fmt: skip
        assert post(service, path, body, Sec_Fetch_Site="cross-site").status == 403
        assert post(service, path, body, Content_Type="text/plain").status in (202, 415)


def test_names_that_begin_alike_and_files_that_went(service: Service, home: Path) -> None:
    """Sources of an upload are names, of which one may be the beginning of another."""
    archives = []
    for place, name in enumerate(("a", "a.tar", "a.tar/b.tar")):
        members = support.bin_members(6, support.START + timedelta(minutes=10 * place), place)
        path = support.write_tar(home / f"{place}.tar", members)
        archives.append((name, path.read_bytes()))
    run = uploaded(service, *archives)
    assert worked(service, f"{run}/label", {"size": 18})["state"] == "done"
    sample = service.ask(f"/ui/runs/{run}/label/18/sample?labeller=A").json["particles"]
    assert len({particle["id"] for particle in sample}) == 18
    assert [particle["problem"] for particle in sample] == [None] * 18

    run = uploaded(service, archives[0])
    uploads = (home / "tmp").rglob("runs/*/upload")
    shutil.rmtree(max(uploads, key=lambda path: path.stat().st_mtime_ns))
    assert worked(service, f"{run}/label", {"size": 5})["state"] == "done"
    sample = service.ask(f"/ui/runs/{run}/label/5/sample?labeller=A").json["particles"]
    assert all("upload it again" in particle["problem"] for particle in sample)


def test_two_browsers_at_once_and_results_that_are_dropped(service: Service, run: str) -> None:
    answers: list[Reply] = []
    threads = [
        threading.Thread(target=lambda who=who: answers.append(label(service, run, range(20), who)))
        for who in ("Anna", "Ben", "Anna")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert [answer.status for answer in answers] == [200, 200, 200]
    rows = rows_of(service.ask(f"/ui/runs/{run}/files/labels.csv"))
    assert len({(row["labeller"], row["particle_id"]) for row in rows}) == 40
    joined = [post(service, f"{run}/label", {"size": size}).status for size in (40, 50)]
    assert joined == [202, 202]  # the second joins the first
    assert service.ask(f"/ui/runs/{run}", method="DELETE").status == 204
    gone = label(service, run, range(1))
    assert gone.status == 404 and "kept for an hour" in gone.json["error"]["message"]
    until(lambda: service.figure("pi10_requests_inside") == 0, "the work is over")
    assert not service.logged("page run failed")


def test_from_results_to_labels_and_back_in_a_browser(service: Service, home: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("chromium is not installed")
    support.write_tar(home / "bin.tar", support.bin_members(IMAGES))
    complaints: list[str] = []
    elsewhere: list[str] = []
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 390, "height": 844})
        tab.set_default_timeout(1000 * PATIENCE_S)
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("request", lambda request: elsewhere.append(request.url))
        tab.goto(f"{service.base}/ui/")
        tab.set_input_files("#files", str(home / "bin.tar"))
        tab.fill("#sample-size", "24")
        tab.click("#draw")
        tab.wait_for_url("**/label/24/")
        tab.keyboard.type("Anna")
        tab.keyboard.press("Enter")
        for number in range(24):
            tab.locator(f"#reached:has-text('{number} of 24')").wait_for()
            tab.keyboard.press("123"[number % 3])
        tab.locator("#done:has-text('correct the densities')").wait_for()
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
        tab.click("#correct")
        tab.click("#corrected a")
        tab.locator("#corrected-rows tr").first.wait_for()
        assert "hold from 60 on" in tab.inner_text("#corrected-note")
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
        run = tab.url.rpartition("#")[2]
        tab.click("#label-go")
        tab.wait_for_selector("#name-dialog[open]")
        tab.locator("#name").fill("Anna")
        tab.keyboard.press("Enter")
        tab.locator("#reached:has-text('24 of 24')").wait_for()
        assert service.ask(f"/ui/runs/{run}", method="DELETE").status == 204
        tab.select_option("#filter", "all")
        tab.locator("#problem-text:has-text('kept for an hour')").wait_for()
        with tab.expect_download() as saved:  # what the window holds is not lost
            tab.click("#rescue")
        rows = support.csv_of(Path(saved.value.path()))
        assert {row["labeller"] for row in rows} == {"Anna"} and len(rows) == 24
        browser.close()
    assert complaints == []
    assert all(url.startswith((service.base, "blob:")) for url in elsewhere), elsewhere
