"""The API as a client meets it: a real ``deepaas-run`` with one worker."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
import requests
import support
import tars
from deepaas_server import Server, closed_by_server, running

from pi10_classifier.api.predictions.writers import ACCEPTED
from pi10_classifier.classify import RunResult, classify
from pi10_classifier.inference.settings import Settings
from pi10_classifier.model.package import read_package
from pi10_classifier.simulate import simulate_cruise

EXAMPLES = Path(__file__).parents[4] / "shared/data/pi10-examples"
IMAGE = support.particle(1)


def adds_up(answer: dict) -> bool:
    t = answer["totals"]
    same = t["results"] == len(answer["predictions"]) and t["failures"] == len(answer["failures"])
    return same and t["inputs"] == t["results"] + t["failures"] + t["skipped"]


@pytest.fixture(scope="module")
def bin_tar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated bin, and one cut image in it."""
    (path,) = simulate_cruise(tmp_path_factory.mktemp("bin"), bins=1, images=40)
    more = support.write_tar(path.with_name("more.tar"), {support.name_of(900): IMAGE[:500]})
    whole = path.read_bytes().rstrip(b"\0")
    whole += bytes(-len(whole) % 512) + more.read_bytes()
    path.write_bytes(whole)
    return path


@pytest.fixture(scope="module")
def classified(bin_tar: Path, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """What ``pi10 classify`` makes of the same bin."""
    return classify([str(bin_tar)], tmp_path_factory.mktemp("out") / "o", Settings(jobs=2))


class TestJson:
    def test_one_image(self, server: Server) -> None:
        answer = server.predict(("a.tif", IMAGE))
        assert answer.status_code == 200
        told = answer.json()
        assert adds_up(told)
        assert told["totals"] == {"inputs": 1, "results": 1, "failures": 0, "skipped": 0}
        assert told["predictions"][0]["label"] == told["predictions"][0]["top"][0]["label"]
        assert server.leftovers() == []

    def test_a_bin_is_classified_as_the_command_does(
        self, server: Server, bin_tar: Path, classified: RunResult
    ) -> None:
        told = server.predict((bin_tar.name, bin_tar.read_bytes())).json()
        assert adds_up(told)
        assert told["status"] == "some_failed"
        assert told["totals"] == dict(classified.tally.totals)
        labels = dict(classified.tally.labels)
        assert told["results_by_class"] == labels
        assert [f["code"] for f in told["failures"]] == ["corrupt_image"]
        rows = {row["particle_id"]: row for row in support.rows_of(classified.out)}
        for prediction in told["predictions"]:
            row = rows[prediction["particle_id"]]
            assert prediction["score"] == pytest.approx(row["score"], abs=2e-6)
            assert prediction["esd_um"] == pytest.approx(row["esd_um"], rel=1e-5)

    def test_several_images_and_a_zip(self, server: Server, tmp_path: Path) -> None:
        zipped = support.write_zip(
            tmp_path / "x.zip", {"b.tif": support.particle(2), "c.png": b"\x89PNG", "d.txt": b"x"}
        )
        answer = server.predict(("a.tif", IMAGE), ("x.zip", zipped.read_bytes()), ("e.tif", b""))
        told = answer.json()
        assert adds_up(told)
        assert told["totals"] == {"inputs": 5, "results": 2, "failures": 2, "skipped": 1}

    def test_options(self, server: Server) -> None:
        told = server.predict(
            ("a.tif", IMAGE), top_k=1, measurements="false", batch_size=1, model="tiny",
            thresholds=json.dumps(dict.fromkeys(support.CLASSES, 1.0)),
        ).json()  # fmt: skip
        (found,) = told["predictions"]
        assert told["model"]["name"] == "tiny"
        assert len(found["top"]) == 1
        assert found["esd_um"] is None
        assert "below_threshold" in found["flags"]

    @pytest.mark.skipif(not EXAMPLES.is_dir(), reason="the genuine images are not here")
    def test_genuine_images(self, server: Server) -> None:
        files = [(p.name, p.read_bytes()) for p in sorted(EXAMPLES.glob("*.tif*"))]
        told = server.predict(*files).json()
        assert told["totals"]["results"] == len(files)
        assert all(p["bin"] and p["esd_um"] for p in told["predictions"])


class TestAccept:
    def test_anything_is_json(self, server: Server) -> None:
        for accept in ("*/*", "text/plain, */*;q=0.1", None):
            answer = server.predict(("a.tif", IMAGE), accept=accept)
            assert answer.headers["Content-Type"].startswith("application/json")

    def test_the_type_a_browser_likes_best(self, server: Server) -> None:
        accept = "application/xhtml+xml,image/webp,text/csv;q=0.5,text/html;q=0.9,*/*;q=0.1"
        answer = server.predict(("a.tif", IMAGE), accept=accept)
        assert answer.headers["Content-Type"].startswith("text/html")

    def test_tables(self, server: Server, bin_tar: Path, classified: RunResult) -> None:
        upload = (bin_tar.name, bin_tar.read_bytes())
        text = server.predict(upload, accept="text/csv").text
        rows = list(csv.DictReader(io.StringIO(text)))
        parquet = server.predict(upload, accept="application/vnd.apache.parquet").content
        table = pq.read_table(io.BytesIO(parquet))
        whole = pq.read_table(classified.out / "predictions.parquet")
        assert table.schema.equals(whole.schema)
        assert (
            table.drop(["source"])
            .sort_by("particle_id")
            .equals(whole.drop(["source"]).sort_by("particle_id"))
        )
        assert [r["label"] for r in rows] == table["label"].to_pylist()

    def test_report_sheet_and_all(self, server: Server, bin_tar: Path) -> None:
        upload = (bin_tar.name, bin_tar.read_bytes())
        page = server.predict(upload, accept="text/html").text
        assert "<html" in page
        assert "corrupt_image" in page
        assert str(server.temporary) not in page
        sheet = server.predict(upload, accept="image/png").content
        picture = cv2.imdecode(np.frombuffer(sheet, np.uint8), cv2.IMREAD_COLOR)
        assert min(picture.shape[:2]) > 500
        with zipfile.ZipFile(
            io.BytesIO(server.predict(upload, accept="application/zip").content)
        ) as z:
            names = {name.partition("/")[0] for name in z.namelist()}
        assert names == {
            "predictions.parquet", "predictions.csv", "counts.csv", "bins.csv", "failures.csv",
            "run.json", "report.html", "contact_sheet.png",
        }  # fmt: skip
        assert server.leftovers() == []

    def test_nothing_to_draw_is_said_as_json(self, server: Server) -> None:
        for accept in ACCEPTED:
            answer = server.predict(("a.tif", b"none"), accept=accept)
            assert answer.status_code == 422
            assert answer.headers["Content-Type"].startswith("application/json")
            assert answer.json()["error"]["code"] == "unsupported_format"
            assert adds_up(answer.json())


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "field"),
        [
            ({"top_k": 0}, "top_k"), ({"batch_size": 1.5}, "batch_size"),
            ({"batch_size": 1025}, "batch_size"), ({"thresholds": "2"}, "thresholds"),
            ({"thresholds": '{"copepod": "x"}'}, "thresholds"), ({"model": "../tiny"}, "model"),
            ({"model": "/etc"}, "model"), ({"measurements": "perhaps"}, "measurements"),
            ({"um_per_px": "nan"}, "um_per_px"),
        ],
    )  # fmt: skip
    def test_a_wrong_option_is_named(self, server: Server, options: dict, field: str) -> None:
        answer = server.predict(("a.tif", IMAGE), **options)
        assert answer.status_code == 422
        assert list(answer.json()) == [field]
        assert server.leftovers() == []

    def test_a_misspelt_option_is_named_with_those_there_are(self, server: Server) -> None:
        answer = server.predict(("a.tif", IMAGE), topk=1)
        assert answer.status_code == 422
        assert "Unknown option; the options are: " in answer.text
        assert "top_k" in answer.text
        assert server.leftovers() == []

    @pytest.mark.parametrize(
        ("options", "field"),
        [
            ({"top_k": ["1", "2"]}, "top_k"), ({"data": "/etc/passwd"}, "data"),
            ({"accept": "text/csv"}, "accept"),
        ],
    )  # fmt: skip
    def test_an_option_nobody_would_heed_is_named(
        self, server: Server, options: dict, field: str
    ) -> None:
        answer = requests.post(
            f"{server.url}/predict/", files={"data": ("a.tif", IMAGE)}, params=options, timeout=60
        )
        assert answer.status_code == 422
        assert list(answer.json()) == [field]
        assert server.leftovers() == []

    def test_the_type_may_stand_in_the_query_too_where_it_is_the_same(self, server: Server) -> None:
        """As AI4OS's own page sends it."""
        kind = "image/png"
        answer = requests.post(
            f"{server.url}/predict/", files={"data": ("a.tif", IMAGE)}, params={"accept": kind},
            headers={"Accept": kind}, timeout=60,
        )  # fmt: skip
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, kind)

    def test_too_many_files_are_told_the_way_out(self, server: Server) -> None:
        answer = server.predict(*[("a.tif", b"x")] * 1100)
        assert answer.status_code == 413
        assert answer.json()["error"]["code"] == "too_large"
        assert "zip or tar" in answer.json()["error"]["message"]

    @pytest.mark.skipif(not hasattr(psutil, "RLIMIT_FSIZE"), reason="Linux limits other processes")
    def test_an_upload_that_cannot_be_stored(self, server: Server) -> None:
        process = psutil.Process(server.process.pid)
        before = process.rlimit(psutil.RLIMIT_FSIZE)
        process.rlimit(psutil.RLIMIT_FSIZE, (2**22, before[1]))
        try:
            answer = server.predict(("a.tif", bytes(2**23)))
        finally:
            process.rlimit(psutil.RLIMIT_FSIZE, before)
        assert answer.status_code == 507
        assert answer.json()["error"]["code"] == "storage_unavailable"

        def held() -> list[str]:
            found = []
            for fd in Path(f"/proc/{process.pid}/fd").iterdir():
                with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                    found.append(str(fd.readlink()))
            return [name for name in found if name.startswith(f"{server.temporary}/")]

        # the thread that met the full disk lets go of the file a moment after the answer
        until = time.monotonic() + 10
        while held() and time.monotonic() < until:
            time.sleep(0.01)
        assert held() == []
        assert server.leftovers() == []

    @pytest.mark.skipif(not hasattr(psutil, "RLIMIT_FSIZE"), reason="Linux limits other processes")
    def test_an_answer_that_cannot_be_stored(self, server: Server, bin_tar: Path) -> None:
        """The worker can write no more than a few bytes of what is to be zipped."""
        workers = [p for p in server.family() if p.pid != server.process.pid]
        before = [(p, p.rlimit(psutil.RLIMIT_FSIZE)) for p in workers]
        for process, (_, hard) in before:
            process.rlimit(psutil.RLIMIT_FSIZE, (64, hard))
        try:
            answer = server.predict((bin_tar.name, bin_tar.read_bytes()), accept="application/zip")
        finally:
            for process, limit in before:
                process.rlimit(psutil.RLIMIT_FSIZE, limit)
        assert answer.status_code == 507
        assert answer.json()["error"]["code"] == "storage_unavailable"
        assert str(server.temporary) not in answer.text
        assert "--" not in answer.json()["error"]["message"]
        assert server.leftovers() == []

    def test_an_endless_head_is_hung_up_on(self, tmp_path: Path) -> None:
        for server in running(tmp_path / "run", PI10_MAX_HEADER_SECONDS="1"):
            host, _, port = server.root.removeprefix("http://").partition(":")
            head = b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: "
            assert closed_by_server(host, int(port), head).startswith(b"HTTP/1.1 408 ")
            assert server.predict(("a.tif", IMAGE)).status_code == 200

    def test_an_encoded_body_is_refused_before_it_is_inflated(self, server: Server) -> None:
        answer = requests.post(
            f"{server.url}/predict/", data=gzip.compress(bytes(10**7)), timeout=60,
            headers={"Content-Encoding": "gzip", "Content-Type": "multipart/form-data; boundary=x"},
        )  # fmt: skip
        assert answer.status_code == 415
        assert answer.json()["error"]["code"] == "encoded"

    @pytest.mark.parametrize(
        "body",
        [
            b"--x\r\ngarbage",
            b'--x\r\nContent-Disposition: form-data; name="data"; filename="a"\r\n'
            b"Content-Transfer-Encoding: bogus\r\n\r\nabc\r\n--x--\r\n",
        ],
    )
    def test_a_malformed_form_is_the_clients_fault(self, server: Server, body: bytes) -> None:
        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        answer = requests.post(f"{server.url}/predict/", data=body, headers=kind, timeout=60)
        assert answer.status_code == 422, answer.text
        assert server.leftovers() == []

    def test_a_class_the_model_does_not_know(self, server: Server) -> None:
        answer = server.predict(("a.tif", IMAGE), thresholds='{"whale": 0.5}')
        assert answer.status_code == 422
        assert list(answer.json()) == ["thresholds"]
        assert "'whale' is not a class of starter" in answer.json()["thresholds"][0]
        assert server.leftovers() == []

    def test_no_file_and_text_in_its_place(self, server: Server) -> None:
        for send in ({}, {"data": {"data": "/etc/passwd"}}, {"json": {"data": "file:///etc/passwd"}},
                     {"params": {"data": "http://169.254.169.254/"}}):  # fmt: skip
            answer = requests.post(f"{server.url}/predict/", **send, timeout=60)
            assert answer.status_code == 422
            assert list(answer.json()) == ["data"]

    @pytest.mark.parametrize(
        ("data", "code"),
        [
            (b"PK\5\6" + bytes(18), "empty_object"),
            (bytes(1024), "unsupported_format"),
            (tars.header(b"../../etc/passwd", b"0\0", b"2") + tars.END, "archive_unsafe"),
        ],
        ids=["empty-zip", "zeros", "link"],
    )
    def test_hostile_archives(self, server: Server, data: bytes, code: str) -> None:
        told = server.predict(("x", data)).json()
        assert told["status"] == "failed"
        assert told["error"]["code"] == code
        assert adds_up(told)

    def test_too_many_images(self, server: Server) -> None:
        # the smallest of images, for it is their number that counts
        tar = tars.tar_of(*((f"{n}.tif", b"") for n in range(1990)),
                          *((f"{n}.tif", IMAGE) for n in range(1990, 2001)))  # fmt: skip
        told = server.predict(("x.tar", tar)).json()
        assert told["totals"] == {"inputs": 2001, "results": 10, "failures": 1991, "skipped": 0}
        told["failures"] = [f for f in told["failures"] if f["code"] != "empty_object"]
        assert told["failures"][0]["code"] == "archive_limit"

    def test_a_zip_bomb(self, server: Server) -> None:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for n in range(12):
                archive.writestr(f"{n}.tif", bytes(20 * 2**20))
        told = server.predict(("bomb.zip", out.getvalue())).json()
        assert told["error"]["code"] in ("archive_limit", "decompression_bomb")
        assert adds_up(told)

    def test_too_large_is_refused_before_it_is_read(self, server: Server) -> None:
        answer = server.predict(("a.tif", bytes(65 * 2**20)))
        assert answer.status_code == 413
        assert answer.json()["error"]["code"] == "too_large"
        chunked = requests.post(f"{server.url}/predict/", data=iter([b"x"]), timeout=60)
        assert chunked.status_code == 411


class TestManyAtOnce:
    def test_each_gets_its_own_answer(self, server: Server) -> None:
        """Also while bodies are slow: DEEPaaS's parser alone would mix up their forms."""
        images = {f"{n:03}.tif": support.particle(n) for n in range(24)}

        def ask(name: str) -> tuple[str, str, int]:
            top = 1 + int(name[:3]) % 3
            # the option in the form, behind a body of some size
            answer = requests.post(
                f"{server.url}/predict/", data={"top_k": top, "um_per_px": 10},
                files=[("data", (name, images[name] + bytes(2**18)))],
                timeout=240,
            )  # fmt: skip
            (found,) = answer.json()["predictions"]
            return name, found["member"], len(found["top"]) - top

        with ThreadPoolExecutor(12) as clients:
            for asked, answered, difference in clients.map(ask, images):
                assert (asked, difference) == (answered, 0)
        assert server.leftovers() == []


def test_the_api_is_described_with_and_without_a_slash(server: Server) -> None:
    pages = [requests.get(f"{server.root}{path}", timeout=60) for path in ("/api", "/api/")]
    assert [page.status_code for page in pages] == [200, 200]
    assert pages[0].text == pages[1].text


def test_other_names_of_two_kinds(server: Server) -> None:
    """For AI4OS's page, which takes no text/ types; those are answered all the same."""
    table = server.predict(("a.tif", IMAGE), accept="application/csv")
    assert table.headers["Content-Type"].startswith("application/csv")
    assert table.text == server.predict(("a.tif", IMAGE), accept="text/csv").text
    page = server.predict(("a.tif", IMAGE), accept="application/html")
    assert page.text.startswith("<!")


def test_metadata(server: Server) -> None:
    told = requests.get(f"{server.url}/", timeout=60).json()
    assert {"name", "version", "author", "license", "description"} <= set(told)
    models = {model["id"]: model for model in told["models"]}
    assert {"starter", "fast", "tiny"} == set(models)
    package, _ = read_package(server.home.parent / "models/tiny")
    assert models["tiny"]["sha256"] == package.sha256
    assert models["tiny"]["classes"] == list(support.CLASSES)
    assert models["starter"]["metrics"]
    assert told["limits"]["max_images"] == 2000
    assert told["datasets"] == ["labelled.zip"]
