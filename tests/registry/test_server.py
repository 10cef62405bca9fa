"""HTTP to a registry that is slow, torn, hostile, or something else altogether."""

import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pi10_classifier.errors import SettingError
from pi10_classifier.registry import server as room
from pi10_classifier.registry.client import ModelVersion, Registry
from pi10_classifier.registry.reference import ModelReference
from pi10_classifier.registry.server import (
    RegistryAwayError,
    RegistryRefusedError,
    RegistryServer,
)

CHAMPION = ModelReference("pi10", alias="champion")


class Hostile:
    """A server whose answer to everything is set by the test; it keeps the requests' headers."""

    def __init__(self):
        self.answer = lambda handler: None
        self.seen = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.seen.append((self.path, dict(self.headers)))
                outer.answer(self)

            def log_message(self, *_):
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def close(self):
        self._http.shutdown()
        self._http.server_close()

    def says(self, status=200, body=b"{}", **headers):
        def answer(handler):
            handler.send_response(status)
            for key, value in {"Content-Length": str(len(body)), **headers}.items():
                handler.send_header(key.replace("_", "-"), value)
            handler.end_headers()
            handler.wfile.write(body)

        self.answer = answer


@pytest.fixture
def hostile():
    server = Hostile()
    yield server
    server.close()


def registry(hostile, **environ):
    return Registry.from_environ({"MLFLOW_TRACKING_URI": hostile.url, **environ})


@pytest.mark.parametrize(
    ("status", "body"),
    [(500, b""), (503, b"<html>"), (429, b""), (200, b"<html>welcome"), (200, b"[]"),
     (200, b'{"model_version": 3}'), (200, b"[" * 200_000)],
)  # fmt: skip
def test_a_server_that_is_no_registry_counts_as_away(hostile, status, body):
    hostile.says(status, body)
    with pytest.raises(RegistryAwayError):
        registry(hostile).version(CHAMPION)


def test_a_refusal_is_told_with_its_reason_and_without_secrets(hostile):
    message = "no pass42word for models at https://ann:pass42word@store/"
    hostile.says(400, json.dumps({"error_code": "X", "message": message}).encode())
    with pytest.raises(RegistryRefusedError) as refused:
        registry(hostile, MLFLOW_TRACKING_TOKEN="pass42word").version(CHAMPION)
    assert refused.value.reason == "X"
    assert "pass42word" not in str(refused.value)
    hostile.says(401)
    with pytest.raises(RegistryRefusedError, match="MLFLOW_TRACKING_USERNAME"):
        registry(hostile).version(CHAMPION)


def test_credentials_go_to_the_registry_alone(hostile):
    target = Hostile()
    try:
        hostile.says(302, Location=f"{target.url}/elsewhere")
        with pytest.raises(RegistryRefusedError, match="redirect"):
            registry(hostile, MLFLOW_TRACKING_TOKEN="t0ken").version(CHAMPION)
    finally:
        target.close()
    assert target.seen == []
    assert hostile.seen[0][1]["Authorization"] == "Bearer t0ken"
    hostile.says(200)
    address = hostile.url.replace("//", "//ann:s%40ft@")
    server = RegistryServer.from_environ(
        {"MLFLOW_REGISTRY_URI": address, "MLFLOW_TRACKING_URI": "x"}
    )
    server.ask("GET", "registered-models/search", {})
    sent = {key.lower(): value for key, value in hostile.seen[-1][1].items()}
    assert sent["authorization"] == "Basic YW5uOnNAZnQ="
    assert "s@ft" not in server.address


def test_one_model_is_not_taken_for_another(hostile):
    hostile.says(200, b'{"model_version": {"name": "other", "version": "1"}}')
    with pytest.raises(RegistryRefusedError, match="'other'"):
        registry(hostile).version(CHAMPION)


@pytest.mark.parametrize("declared", [True, False])
def test_no_more_bytes_than_allowed_are_taken(hostile, declared):
    body = b"x" * 400_000
    hostile.says(200, body, **({} if declared else {"Content_Length": "", "Connection": "close"}))
    into = io.BytesIO()
    with pytest.raises(RegistryRefusedError, match="at most 1,000"):
        RegistryServer(hostile.url, {}).fetch("/file", {}, into, 1000)
    assert into.tell() <= 1000


def test_a_file_that_is_cut_is_away(hostile):
    hostile.says(200, b"x" * 100, Content_Length="1000")
    with pytest.raises(RegistryAwayError):
        RegistryServer(hostile.url, {}).fetch("/file", {}, io.BytesIO(), 10**6)


def test_a_server_that_drips_is_away(hostile, monkeypatch):
    monkeypatch.setattr(room, "ANSWER_S", 0.2)
    stop = threading.Event()

    def answer(handler):
        handler.send_response(200)
        handler.end_headers()
        while not stop.wait(0.05):
            handler.wfile.write(b" ")
            handler.wfile.flush()

    hostile.answer = answer
    try:
        with pytest.raises(RegistryAwayError, match="check the network"):
            registry(hostile).version(CHAMPION)
    finally:
        stop.set()


def test_a_version_asks_for_its_own_file_only(hostile, tmp_path):
    hostile.says(200, b"graph")
    version = ModelVersion("a b", "3", {}, source="file:///etc")
    assert registry(hostile).fetch(version, "model.onnx", tmp_path / "x", 100) == 5
    assert hostile.seen[0][0] == "/model-versions/get-artifact?name=a+b&version=3&path=model.onnx"


@pytest.mark.parametrize(
    "uri", ["http://", "http://host:99999", "file:///m", "databricks", "http://host:0"]
)
def test_an_address_that_is_no_server_is_refused(uri):
    with pytest.raises(SettingError, match="http"):
        RegistryServer(uri, {})
