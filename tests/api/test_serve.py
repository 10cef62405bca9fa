"""`pi10 serve` as an operator meets it: health, figures, logs, refusals, killed workers, end."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import service as services
import support
from deepaas_server import closed_by_server
from service import Reply, Service, serving, until

from pi10_classifier.api.serve import address, address_here
from pi10_classifier.model.package import embedded, read_package

PREDICT = "/v2/models/pi10_classifier/predict/"
IMAGE = ("one.tif", support.particle(1))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("serve"), "--workers", "2") as found:
        yield found


def test_ready_tells_the_model_by_its_hash(service):
    told = service.ask("/health/ready").json
    package, _ = read_package(embedded())
    assert told["status"] == "ready"
    assert told["model"]["sha256"] == package.sha256
    assert service.ask("/health/live").json == {"status": "live"}


def test_images_are_counted_by_what_became_of_them(service):
    before = [service.figure(f'pi10_images_total{{outcome="{x}"}}') for x in ("result", "failure")]
    bad = ("cut.tif", support.particle(2)[:300])
    answer = service.predict(IMAGE, bad)
    assert answer.status == 200
    assert answer.json["totals"] == {"inputs": 2, "results": 1, "failures": 1, "skipped": 0}
    after = [service.figure(f'pi10_images_total{{outcome="{x}"}}') for x in ("result", "failure")]
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 1]
    assert service.figure('pi10_failures_total{code="corrupt_image"}') >= 1
    for stage in ("receive", "worker", "classify"):
        assert service.figure(f'pi10_stage_seconds_count{{stage="{stage}"}}') >= 1
    route = f'method="POST",route="{PREDICT}",status="200"'
    assert service.figure(f"pi10_requests_total{{{route}}}") >= 1
    assert read_package(embedded())[0].sha256 in service.ask("/metrics").body.decode()


def test_images_of_an_answer_that_is_no_json_are_counted_too(service):
    before = service.figure('pi10_images_total{outcome="result"}')
    answer = service.predict(IMAGE, Accept="text/csv")
    assert answer.body.startswith(b"particle_id,")
    assert service.figure('pi10_images_total{outcome="result"}') == before + 1


def test_a_request_keeps_its_own_id_in_answer_and_log(service):
    answer = service.predict(IMAGE, X_Request_ID="cruise-7.1")
    assert answer.headers["X-Request-ID"] == "cruise-7.1"
    (line,) = service.logged("request", request_id="cruise-7.1")
    assert line["status"] == 200
    assert line["totals"]["results"] == 1
    made = service.ask("/health/live", X_Request_ID='bad "id"').headers["X-Request-ID"]
    assert re.fullmatch("[0-9a-f]{32}", made)


def test_logs_hold_neither_queries_nor_file_names(service):
    service.ask(f"{PREDICT}?token=hidden-in-query", b"x", Content_Type="text/plain")
    service.predict(("hidden-name.tif", support.particle(3)))
    text = service.log.read_text("utf-8")
    assert "hidden-in-query" not in text
    assert "hidden-name" not in text
    assert service.lines(), "every line must be an object"


@pytest.mark.parametrize("path", ["/nope", "/v2/models/other/predict/", "/ui/nothing"])
def test_what_is_not_there_is_an_error_with_a_code(service, path):
    answer = service.ask(path)
    assert answer.status == 404
    assert answer.json["error"]["code"] == "not_found"
    assert answer.json["request_id"] == answer.headers["X-Request-ID"]


def test_a_wrong_option_names_its_field(service):
    answer = service.upload(f"{PREDICT}?batch_size=0", IMAGE)
    assert answer.status == 422
    assert "batch_size" in answer.json


def test_the_root_gives_programs_the_versions_and_browsers_the_page(service):
    assert service.ask("/").json["versions"]
    to_page = service.ask("/", Accept="text/html,*/*;q=0.8")
    assert (to_page.status, to_page.headers["Location"]) == (302, "ui/")
    assert service.ask("/ui").headers["Location"] == "ui/"
    assert service.ask("/api").status == 200


def test_the_api_is_described_with_and_without_a_slash(service):
    with_slash, without = service.ask("/api/"), service.ask("/api")
    assert with_slash.status == 200
    assert with_slash.body == without.body


def test_what_cannot_be_read_at_all_is_no_200(service):
    for bad, code in ((support.particle(2)[:300], "corrupt_image"), (b"", "empty_object")):
        answer = service.predict(("bad.tif", bad))
        assert answer.status == 422
        assert answer.json["status"] == "failed"
        assert answer.json["failures"][0]["code"] == code
        (line,) = service.logged("request", request_id=answer.headers["X-Request-ID"])
        assert line["error"] == code


def test_a_killed_worker_is_replaced_and_nobody_waits_for_ever(service):
    # one that dies while it is still being warmed is started again, which is no restart
    until(lambda: service.figure("pi10_workers_ready") == 2, "both are warm")
    restarts = service.figure("pi10_worker_restarts")
    for pid in service.workers()[-2:]:
        os.kill(pid, signal.SIGKILL)
    assert service.predict(IMAGE).json["totals"]["results"] == 1
    until(lambda: service.figure("pi10_worker_restarts") >= restarts + 2, "both are replaced")
    until(lambda: service.figure("pi10_workers_ready") == 2, "both are warm")
    assert service.predict(IMAGE).json["totals"]["results"] == 1


def test_a_worker_killed_amid_its_work_costs_no_answer(service, tmp_path):
    # so many that they outlast the questions asked meanwhile
    large = support.write_tar(tmp_path / "large.tar", support.bin_members(2000)).read_bytes()
    until(lambda: service.figure("pi10_workers_ready") == 2, "both are warm")
    replies: list[Reply] = []
    ask = threading.Thread(target=lambda: replies.append(service.predict(("b.tar", large))))
    ask.start()
    until(lambda: service.figure("pi10_requests_inside") == 1, "it is at work")
    for pid in service.workers()[-2:]:
        os.kill(pid, signal.SIGKILL)
    ask.join(services.PATIENCE_S)
    assert replies[0].status == 200
    assert replies[0].json["totals"]["results"] == 2000


def test_uploads_leave_nothing_behind(service):
    service.predict(IMAGE)
    service.predict(("broken.zip", b"PK\x03\x04 no zip"))
    (home,) = (service.log.parent / "tmp").glob("pi10-serve-*")
    until(lambda: not list(home.glob("pi10-request-*")), "uploads are removed")


def test_everything_answers_below_a_prefix_and_nothing_beside_it(tmp_path):
    with serving(tmp_path, "--base-path", "/marine/pi10/", "--workers", "1") as service:
        assert service.base.endswith("/marine/pi10")
        assert service.predict(IMAGE).json["totals"]["results"] == 1
        assert service.ask("/swagger.json").json["paths"]
        assert service.ask("/metrics").status == 200
        assert service.ask("/ui/").status == 200
        assert service.ask("/", Accept="text/html").headers["Location"] == "ui/"
        assert service.ask("", Accept="text/html").headers["Location"] == "pi10/ui/"
        assert service.ask("/").headers["Location"] == "../pi10"
        service.base = service.base.removesuffix("/marine/pi10")
        assert service.ask("/metrics").status == 404
        assert service.ask("/", Accept="text/html").headers["Location"] == "marine/pi10/ui/"


def test_not_ready_before_the_model_is_warm_and_work_waits_for_it(tmp_path):
    with serving(tmp_path, "--workers", "1", wait=False) as service:
        first = service.ask("/health/ready")
        assert service.ask("/health/live").status == 200
        assert service.predict(IMAGE).json["totals"]["results"] == 1
        # the machine may be quick: what is sure is that the answer fits what the log says
        if first.status == 503:
            assert first.json["reason"] == "no worker is warm yet"
            assert first.headers["Retry-After"]
        assert service.ask("/health/ready").status == 200


def test_a_stopped_worker_is_not_ready_and_is_replaced(tmp_path):
    with serving(tmp_path, "--workers", "1", PI10_MAX_SECONDS="20") as service:
        (pid,) = service.workers()
        os.kill(pid, signal.SIGSTOP)
        until(lambda: not service.ready(), "it says that it is not ready")
        until(lambda: service.figure("pi10_worker_restarts") == 1, "it is replaced")
        until(service.ready, "it is ready again")
        assert service.predict(IMAGE).status == 200


def test_an_endless_head_is_hung_up_on_and_slow_ones_are_heard(tmp_path):
    with serving(tmp_path, "--workers", "1", PI10_MAX_HEADER_SECONDS="2") as service:
        host, _, port = service.base.removeprefix("http://").partition(":")
        head = b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Long: "
        said = closed_by_server(host, int(port), head)
        assert said.startswith(b"HTTP/1.1 408 ")
        # nor is one heard for ever that follows a request on the same connection
        whole = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
        said = closed_by_server(host, int(port), whole + head)
        assert said.startswith(b"HTTP/1.1 200 ")
        assert b"HTTP/1.1 408 " in said
        # a body has its own time, and is no head
        kind, body = services.form(IMAGE)
        held = http.client.HTTPConnection(host, int(port), timeout=services.PATIENCE_S)
        held.putrequest("POST", PREDICT)
        held.putheader("Content-Type", kind)
        held.putheader("Content-Length", str(len(body)))
        held.endheaders(body[:100])
        time.sleep(3)
        held.send(body[100:])
        with held.getresponse() as answer:
            assert answer.status == 200
        time.sleep(3)  # idle between two requests, longer than a head may take
        held.request("GET", "/health/live")
        with held.getresponse() as answer:
            assert answer.status == 200
        held.close()


def test_a_plain_line_says_where_the_page_is(tmp_path):
    command = [sys.executable, "-m", "pi10_classifier", "serve", "--port", "0", "--base-path", "/x"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as process:  # fmt: skip
        try:
            assert process.stdout
            line = process.stdout.readline()
        finally:
            process.terminate()
    assert re.fullmatch(r"pi10 serve: the page is at http://127\.0\.0\.1:\d+/x/ui/ \(.*\)\n", line)


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("127.0.0.1", "http://127.0.0.1:5000/ui/"), ("0.0.0.0", "http://localhost:5000/ui/"),
        ("::", "http://localhost:5000/ui/"), ("::1", "http://[::1]:5000/ui/"),
    ],
)  # fmt: skip
def test_the_address_can_be_opened_here(host, here):
    assert address_here(address(host, 5000, "")) == here


def test_full_is_503_with_a_time_to_come_again(tmp_path):
    with ExitStack() as stack:
        service = stack.enter_context(serving(tmp_path, "--workers", "1", PI10_MAX_WAITING="1"))
        host, _, port = service.base.removeprefix("http://").partition(":")
        kind, body = services.form(IMAGE)
        held = http.client.HTTPConnection(host, int(port), timeout=services.PATIENCE_S)
        stack.callback(held.close)
        held.putrequest("POST", PREDICT)
        held.putheader("Content-Type", kind)
        held.putheader("Content-Length", str(len(body)))
        held.endheaders(body[:100])  # inside, and still sending
        until(lambda: service.figure("pi10_requests_inside") == 1, "it is inside")
        refused = service.predict(IMAGE)
        assert refused.status == 503
        assert refused.json["error"]["code"] == "full"
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        assert service.ask("/ui/runs", kind.encode(), Content_Type=kind).status == 503
        assert service.ask("/health/ready").status == 200
        held.send(body[100:])
        with held.getresponse() as answer:
            assert answer.status == 200
        assert service.predict(IMAGE).status == 200


@pytest.fixture
def hangup_heard():
    """Processes started now hear SIGHUP, even where the tests were started by nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hangup_heard")
@pytest.mark.parametrize(
    "signals", [[signal.SIGTERM], [signal.SIGHUP, signal.SIGHUP]],
    ids=["SIGTERM", "a closed terminal"],
)  # fmt: skip
def test_a_signal_finishes_what_runs_takes_no_more_and_exits_with_0(tmp_path, signals):
    # so many that they outlast the questions asked meanwhile
    large = support.write_tar(tmp_path / "large.tar", support.bin_members(2000)).read_bytes()
    with serving(tmp_path, "--workers", "1") as service:
        replies: list[Reply] = []
        ask = threading.Thread(target=lambda: replies.append(service.predict(("b.tar", large))))
        ask.start()
        until(lambda: service.figure("pi10_requests_inside") == 1, "it is at work")
        for number in signals:  # a terminal sends its own to the whole group, twice
            for pid in (*service.workers(), service.process.pid):
                os.kill(pid, number)
            until(lambda: service.logged("stopping"), "it has heard")
        ready = service.ask("/health/ready")
        late = service.predict(IMAGE)
        ask.join(services.PATIENCE_S)
        assert (ready.status, ready.json["reason"]) == (503, "stopping")
        assert (late.status, late.json["error"]["code"]) == (503, "stopping")
        assert replies[0].json["totals"]["results"] == 2000
        assert service.process.wait(30) == 0
        assert "Traceback" not in service.log.read_text("utf-8")
    assert not list((tmp_path / "tmp").iterdir()), "its temporary files are gone"


def test_grace_ends(tmp_path):
    with serving(tmp_path, "--workers", "1", "--grace", "0.2") as service:
        host, _, port = service.base.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port))) as held:
            held.sendall(
                f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n"
                "Content-Type: multipart/form-data; boundary=x\r\n\r\n".encode()
            )
            until(lambda: service.figure("pi10_requests_inside") == 1, "it is inside")
            service.process.send_signal(signal.SIGTERM)
            assert service.process.wait(60) == 0
        assert service.logged("stopped amid work", inside=1)


def test_workers_do_not_outlive_a_service_that_is_killed(tmp_path):
    with serving(tmp_path, "--workers", "1") as service:
        (pid,) = service.workers()
        service.process.kill()
        service.process.wait(30)

        def gone() -> bool:
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return True
            return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"

        until(gone, "the worker has ended")


@pytest.mark.parametrize(
    ("options", "environ", "said"),
    [
        (["--base-path", "pi10"], {}, "--base-path is 'pi10'; it must begin with /"),
        (["--base-path", "/a/../b"], {}, "--base-path is '/a/../b'"),
        (["--port", "70000"], {}, "--port is 70000; it must be 0 to 65535"),
        (["--workers", "-1"], {}, "--workers is -1"),
        (["--port", "0"], {"PI10_MAX_WAITING": "many"}, "PI10_MAX_WAITING is 'many'"),
    ],
)
def test_a_bad_setting_stops_the_program_at_its_start(options, environ, said):
    command = [sys.executable, "-m", "pi10_classifier", "serve", *options]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environ},
        timeout=services.PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_said(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        command = [sys.executable, "-m", "pi10_classifier", "serve", "--port"]
        done = subprocess.run(
            [*command, str(taken.getsockname()[1])], capture_output=True, text=True,
            timeout=services.PATIENCE_S, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert "choose another --host or --port" in done.stderr


def test_an_idle_service_costs_next_to_nothing(service):
    def seconds() -> float:
        parts = Path(f"/proc/{service.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")

    before = seconds()
    time.sleep(2)
    assert seconds() - before < 1  # a loop that never rests takes 2
