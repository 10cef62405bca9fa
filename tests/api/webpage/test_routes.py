"""The page in a real browser, below a path prefix: uploads, results, failures, errors."""

from __future__ import annotations

import io
import json
import shutil
import signal
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import support
from service import PATIENCE_S, Service, serving

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("chromium is not installed", allow_module_level=True)

PATIENCE_MS = 1000 * PATIENCE_S
OVER = "#results:not([hidden]), #problem:not([hidden])"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    home = tmp_path_factory.mktemp("page")
    environ = {"PI10_MAX_UPLOAD_MB": "8"}
    with serving(home, "--base-path", "/deep/pi10", "--workers", "1", **environ) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Any, service: Service) -> Iterator[Any]:
    """The page, just opened; anything the browser complains of fails the test."""
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    tab.set_default_timeout(PATIENCE_MS)
    complaints: list[str] = []
    elsewhere: list[str] = []
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    tab.on("request", lambda request: elsewhere.append(request.url))
    tab.goto(f"{service.base}/ui/")
    # not wait_for_function, whose eval the page's own policy forbids
    tab.locator("#version:not(:empty)").wait_for(state="attached")
    yield tab
    tab.close()
    assert not [text for text in complaints if "the server responded with a status" not in text]
    assert all(url.startswith((service.base, "blob:")) for url in elsewhere), elsewhere


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("files")
    for number in range(5):
        (home / f"sound-{number}.tif").write_bytes(support.particle(number))
    (home / "cut.tif").write_bytes(support.particle(7)[:300])
    (home / "empty.png").write_bytes(b"")
    (home / "<img src=x onerror=alert(1)>.tif").write_bytes(support.particle(8))
    support.write_zip(home / "nothing.zip", {})
    support.write_tar(home / "bin.tar", support.bin_members(130))
    return home


def upload(page: Any, *paths: Path) -> None:
    page.set_input_files("#files", [str(path) for path in paths])
    page.wait_for_selector(OVER)


def tiles(page: Any) -> list[str]:
    return page.locator("#totals dd").all_inner_texts()


def test_images_get_pictures_labels_scores_and_sizes(page, files):
    upload(page, *(files / f"sound-{n}.tif" for n in range(5)))
    assert tiles(page) == ["5", "5", "0", "0"]
    cards = page.locator("#particles li")
    assert cards.count() == 5
    first = cards.first
    assert first.locator(".name").inner_text() in support.CLASSES
    assert "µm" in first.locator(".size").inner_text()
    scores = [float(text) for text in first.locator(".scores dd").all_inner_texts()]
    assert len(scores) == 3
    assert sum(scores) == pytest.approx(1, abs=0.02)
    shown = "img => img.complete && img.naturalWidth > 5"
    assert first.locator("img").evaluate(shown), "a TIFF must be shown as a picture"
    assert page.locator("#failed").is_hidden()


def test_failures_stand_with_file_code_and_message(page, files):
    upload(page, files / "sound-1.tif", files / "cut.tif", files / "empty.png")
    assert tiles(page) == ["3", "1", "2", "0"]
    rows = page.locator("#failures tr").all_inner_texts()
    assert any("cut.tif" in row and "corrupt_image" in row for row in rows), rows
    assert any("empty.png" in row and "0 bytes" in row for row in rows), rows


def test_nothing_but_failures_says_so(page, files):
    upload(page, files / "cut.tif")
    assert "No image could be classified" in page.locator("#none").inner_text()
    assert page.locator("#counted").is_hidden()


def test_an_empty_archive_is_said_to_be_empty(page, files):
    upload(page, files / "nothing.zip")
    assert tiles(page) == ["0", "0", "0", "0"]
    assert "It is empty" in page.locator("#none").inner_text()
    assert page.locator("#what").inner_text().startswith("nothing.zip: 0 inputs")


def test_a_bin_is_shown_in_parts_filtered_and_sorted(page, files):
    upload(page, files / "bin.tar")
    assert tiles(page)[1] == "130"
    assert page.locator("#particles li").count() == 60
    page.click("#more")
    assert page.locator("#particles li").count() == 120
    counts = {}
    for button in page.locator("#classes button").all():
        name, count = button.locator(".name").inner_text(), button.locator(".count").inner_text()
        counts[name] = int(count.split()[0])
    assert sum(counts.values()) == 130
    label = max(counts, key=lambda name: counts[name])
    page.locator("#classes button", has_text=label).first.click()
    assert set(page.locator("#particles .name").all_inner_texts()) == {label}
    page.select_option("#order", "unsurest")
    best = [float(x) for x in page.locator("#particles .score").all_inner_texts()]
    assert best == sorted(best)


def test_the_first_thing_is_individuals_per_litre(page, files, service):
    upload(page, files / "bin.tar")
    rows = page.locator("#densities tr").all()
    assert {row.locator("td").first.inner_text() for row in rows} == set(support.CLASSES)
    for row in rows:
        value, interval, minutes = row.locator("td").all_inner_texts()[1:4]
        low, high = (float(x) for x in interval.replace(",", "").split(" to "))
        assert low <= float(value.replace(",", "")) <= high
        assert minutes == "10"
    assert (
        page.locator("#density").bounding_box()["y"] < page.locator("#totals").bounding_box()["y"]
    )
    note = page.locator("#density-note").inner_text()
    assert "of the water sampled" in note
    assert "classification errors are not in the interval until a sample is validated" in note
    link = page.locator("#links a", has_text="Densities").get_attribute("href")
    assert service.ask(f"/ui/{link}").body.startswith(b"bin,")


def test_images_without_hits_misses_say_why_there_is_no_density(page, files):
    upload(page, files / "sound-1.tif")
    assert page.locator("#density").is_hidden()
    assert "there is no HitsMisses.txt" in page.locator("#density-note").inner_text()


def test_report_and_tables_can_be_had(page, files, service):
    upload(page, files / "sound-1.tif", files / "sound-2.tif", files / "cut.tif")
    links = {a.inner_text(): a.get_attribute("href") for a in page.locator("#links a").all()}
    found = {text: service.ask(f"/ui/{link}") for text, link in links.items()}
    assert found["Predictions (CSV)"].body.count(b"\n") == 3
    table = pq.read_table(io.BytesIO(found["Predictions (Parquet)"].body))
    assert table.num_rows == 2
    assert table["source"].to_pylist() == ["upload", "upload"]
    with zipfile.ZipFile(io.BytesIO(found["Everything (zip)"].body)) as archive:
        names = set(archive.namelist())
        assert b"corrupt_image" in archive.read("failures.csv")
        assert json.loads(archive.read("run.json"))["totals"]["inputs"] == 3
    assert {"report.html", "predictions.csv", "counts.csv"} <= names
    assert any(name.startswith("predictions.parquet/") for name in names)
    report = found["Open the report"]
    assert "sandbox" in report.headers["Content-Security-Policy"]
    with page.context.expect_page() as opened:
        page.click("#links a >> nth=0")
    tab = opened.value
    tab.wait_for_load_state()
    assert "Every input is accounted for" in tab.inner_text("body")
    tab.close()


def test_results_stay_at_their_address(page, files):
    upload(page, files / "sound-1.tif")
    page.reload()
    page.wait_for_selector("#results:not([hidden])")
    assert tiles(page) == ["1", "1", "0", "0"]


def test_an_address_of_no_results_says_so(page, service):
    page.goto(f"{service.base}/ui/#gone")
    page.reload()
    page.wait_for_selector("#problem:not([hidden])")
    assert "kept for an hour" in page.locator("#problem-text").inner_text()


def test_too_large_is_refused_before_it_is_sent(page, tmp_path):
    (tmp_path / "large.tar").write_bytes(bytes(9 * 2**20))
    upload(page, tmp_path / "large.tar")
    assert "at most" in page.locator("#problem-text").inner_text()
    assert "too_large" in page.locator("#problem-code").inner_text()


def test_dropped_files_are_taken(page, files):
    data = (files / "sound-3.tif").read_bytes()
    transfer = page.evaluate_handle(
        """bytes => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], "dropped.tif"));
            return transfer;
        }""",
        list(data),
    )
    page.dispatch_event("body", "dragenter", {"dataTransfer": transfer})
    assert "over" in (page.get_attribute("body", "class") or "")
    page.dispatch_event("body", "drop", {"dataTransfer": transfer})
    page.wait_for_selector(OVER)
    assert tiles(page) == ["1", "1", "0", "0"]
    assert page.locator("#particles .id").inner_text() == "dropped"


def test_a_hostile_name_is_text(page, files):
    upload(page, files / "<img src=x onerror=alert(1)>.tif")
    assert page.locator("#particles .id").inner_text().startswith("<img src=x")
    assert page.locator("#particles img").count() == 1


def test_keyboard_alone_reaches_and_presses_everything(page, files):
    upload(page, *(files / f"sound-{n}.tif" for n in range(5)))
    page.locator("#choose-files").focus()
    reached = set()
    for _ in range(14):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.textContent.trim().split('\\n')[0]"))
    assert "Choose a folder" in reached
    assert "Open the report" in reached
    button = page.locator("#classes button").first
    button.focus()
    page.keyboard.press("Enter")
    assert button.get_attribute("aria-pressed") == "true"


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_is_wider_than_the_window(page, files, width):
    page.set_viewport_size({"width": width, "height": 800})
    upload(page, files / "sound-1.tif", files / "cut.tif")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_scripts_and_styles_of_others_are_shut_out(service):
    answer = service.ask("/ui/")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    text = answer.body.decode()
    assert "http://" not in text
    assert "https://" not in text
    assert "<script>" not in text
    assert " style=" not in text
    assert 'href="/' not in text, "addresses must hold below any prefix"


def test_the_form_of_another_site_is_refused(service):
    answer = service.upload("/ui/runs", ("a.tif", support.particle(1)), Sec_Fetch_Site="cross-site")
    assert answer.status == 403


@pytest.mark.parametrize(
    "name", ["../upload/0", "..%2Fpage.json", "page.json", "run.json%00", "/etc/passwd"]
)
def test_files_of_a_run_go_by_their_known_names_alone(service, name):
    run = service.upload("/ui/runs", ("a.tif", support.particle(1))).json["id"]
    assert service.ask(f"/ui/runs/{run}/files/{name}").status in (404, 409)


def test_an_upload_of_nothing_or_of_no_form_says_so(service):
    nothing = service.ask("/ui/runs", b"--x--\r\n", Content_Type="multipart/form-data; boundary=x")
    assert (nothing.status, nothing.json["error"]["code"]) == (422, "empty_object")
    name = b'--x\r\nContent-Disposition: form-data; name="d"; filename="\0"\r\n\r\na\r\n--x--\r\n'
    for body in (b"--x\r\ngarbage", b"no border", name):
        broken = service.ask("/ui/runs", body, Content_Type="multipart/form-data; boundary=x")
        assert (broken.status, broken.json["error"]["code"]) == (422, "unsupported_format"), body
    text = service.ask("/ui/runs", b"http://169.254.169.254/", Content_Type="text/plain")
    assert text.status == 422


def test_a_service_that_went_away_is_said(browser, tmp_path, files):
    with serving(tmp_path, "--workers", "1") as service:
        tab = browser.new_page()
        tab.goto(f"{service.base}/ui/")
        service.process.send_signal(signal.SIGTERM)
        service.process.wait(PATIENCE_S)
        tab.set_input_files("#files", str(files / "sound-1.tif"))
        tab.wait_for_selector("#problem:not([hidden])", timeout=PATIENCE_MS)
        assert "did not answer" in tab.inner_text("#problem-text")
        tab.close()
