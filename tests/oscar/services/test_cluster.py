"""Deploying through the real oscar_python, against a stub of OSCAR's API.

The stub keeps services in memory and answers as the published API does; it is no OSCAR,
and nothing here shows that a cluster runs what was deployed.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pi10_classifier.cli import pi10
from pi10_classifier.errors import SettingError
from pi10_classifier.oscar.services.capacity import Capacity, Need
from pi10_classifier.oscar.services.cluster import Access, Cluster
from pi10_classifier.oscar.services.fdl import SERVICES, named

BASIC = "Basic " + base64.b64encode(b"oscar:Hidden7").decode()


class Stub:
    def __init__(self) -> None:
        self.version = "4.0.2"
        self.services: dict[str, dict[str, Any]] = {}
        self.auth = BASIC
        self.refuse: tuple[int, str] | None = None
        self.url = ""


@pytest.fixture
def stub() -> Iterator[Stub]:
    state = Stub()

    class Handler(BaseHTTPRequestHandler):
        def _do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, said = self._answer(json.loads(body) if body else None)
            data = said.encode() if isinstance(said, str) else json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _answer(self, said: Any) -> tuple[int, Any]:
            if self.headers.get("Authorization") != state.auth:
                return 401, ""
            name = self.path.removeprefix("/system/services").strip("/")
            if self.path == "/system/info":
                return 200, {"version": state.version}
            if self.path == "/system/status":
                return 200, {"cpuFreeTotal": 8000, "cpuMaxFree": 4000,
                             "memoryFreeTotal": 2**34, "memoryMaxFree": 2**33}  # fmt: skip
            if state.refuse and self.command in ("POST", "PUT"):
                return state.refuse
            if self.command in ("POST", "PUT"):
                state.services[said["name"]] = {**said, "token": "c0ffee" * 10}
                return 201, ""
            if self.command == "DELETE":
                return (204, "") if state.services.pop(name, None) else (404, "")
            if name:
                return (200, state.services[name]) if name in state.services else (404, "")
            return 200, list(state.services.values())

        do_GET = do_POST = do_PUT = do_DELETE = _do

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


def environ(stub: Stub, **more: str) -> dict[str, str]:
    return {
        "OSCAR_ENDPOINT": stub.url, "OSCAR_USERNAME": "oscar", "OSCAR_PASSWORD": "Hidden7", **more
    }  # fmt: skip


def command(*args: str, env: dict[str, str] | None = None) -> Any:
    return CliRunner().invoke(pi10, ["oscar", *args], env=env, catch_exceptions=True)


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize(("version", "port"), [("3.6.1", 5000), ("4.0.2", 5000), ("4.1.0", [5000])])
def test_a_dry_run_prints_what_each_version_takes(name: str, version: str, port: Any) -> None:
    done = command("deploy", name, "--dry-run", "--oscar-version", version)
    assert done.exit_code == 0, done.output
    said = json.loads(done.output)
    assert said["name"] == name
    assert said["script"].startswith("#!/bin/sh")
    if "expose" in said:
        assert said["expose"]["api_port"] == port


def test_parameters_reach_the_json() -> None:
    done = command(
        "deploy", "pi10-events", "--dry-run", "--gpu", "--bucket", "rapid", "--set", "cpu=4",
        "--set", "PI10_JOBS=4", "--image", "me/pi10:1.0", "--cluster", "mine",
    )  # fmt: skip
    said = json.loads(done.output)
    assert (said["enable_gpu"], said["image"], said["cpu"]) == (True, "me/pi10:1.0-gpu", "4")
    assert said["environment"]["variables"]["PI10_DEVICE"] == "cuda"
    assert (said["input"][0]["path"], said["cluster_id"]) == ("rapid/in", "mine")


def test_a_service_is_created_then_updated_shown_and_deleted(stub: Stub) -> None:
    env = environ(stub)
    stub.version = "4.1.0"
    assert "created on" in command("deploy", "pi10-api", env=env).output
    assert stub.services["pi10-api"]["expose"]["api_port"] == [5000]
    stub.version = "3.6.1"
    assert "updated on" in command("deploy", "pi10-api", "--set", "cpu=4", env=env).output
    assert stub.services["pi10-api"]["expose"]["api_port"] == 5000
    assert stub.services["pi10-api"]["cpu"] == "4"
    shown = command("status", "--json", env=env).output
    assert json.loads(shown)["services"][0]["name"] == "pi10-api"
    assert "c0ffee" not in shown
    assert command("status", "pi10-api", "--token", env=env).output == "c0ffee" * 10 + "\n"
    assert "pi10-api" in command("status", env=env).output
    assert command("delete", "pi10-api", "--yes", env=env).exit_code == 0
    assert stub.services == {}
    assert isinstance(command("status", "pi10-api", env=env).exception, SettingError)


def test_a_refusal_says_what_the_cluster_said_and_what_to_do(stub: Stub) -> None:
    cluster = Cluster(Access.find(environ(stub)))
    stub.refuse = (500, "the bucket pi10 already exists")
    with pytest.raises(SettingError, match="already exists; OSCAR makes a service's buckets"):
        cluster.deploy(named("pi10-events"))
    stub.refuse = (404, "")
    with pytest.raises(
        SettingError, match="pi10-events, without a reason; check that OSCAR_ENDPOINT is a"
    ):
        cluster.deploy(named("pi10-events"))
    stub.auth = "Bearer other"
    with pytest.raises(SettingError, match="check the credentials") as caught:
        cluster.version()
    assert "Hidden7" not in caught.value.message
    assert "Hidden7" not in repr(cluster.access)


def test_a_token_is_a_bearer(stub: Stub) -> None:
    stub.auth = "Bearer my-token"
    access = Access.find({"OSCAR_ENDPOINT": stub.url, "OSCAR_TOKEN": "my-token"})
    assert Cluster(access).version() == "4.0.2"


def test_a_cluster_that_is_down_or_none(stub: Stub) -> None:
    down = Access.find(environ(stub, OSCAR_ENDPOINT="http://127.0.0.1:9"))
    with pytest.raises(SettingError, match="does not answer"):
        Cluster(down).version()
    stub.version = "hello"
    with pytest.raises(SettingError, match="must look like"):
        Cluster(Access.find(environ(stub))).version()


def test_the_configuration_of_oscar_cli_is_read(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "oscar:\n  a: {endpoint: 'https://a.org/', auth_user: u, auth_password: Hidden7,"
        " ssl_verify: false}\n  b: {endpoint: 'https://b.org', oidc_refresh_token: r}\n"
        "default: b\n",
        "utf-8",
    )
    said = {"OSCAR_CLI_CONFIG": str(path)}
    assert Access.find(said).endpoint == "https://b.org"
    access = Access.find(said, "a")
    assert (access.cluster, access.endpoint) == ("a", "https://a.org")
    assert not access.options["ssl"]
    with pytest.raises(SettingError, match="has no cluster 'c'"):
        Access.find(said, "c")
    path.write_text("oscar: {a: {endpoint: 'https://a.org'}}\n", "utf-8")
    with pytest.raises(SettingError, match="no credentials"):
        Access.find(said)
    path.write_text("- 1", "utf-8")
    with pytest.raises(SettingError, match="has no cluster"):
        Access.find(said)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"OSCAR_CLI_CONFIG": "/nowhere"}, "no cluster is known"),
        ({"OSCAR_ENDPOINT": "oscar.org"}, "must look like"),
        ({"OSCAR_ENDPOINT": "https://u:Hidden7@oscar.org"}, "must look like"),
        ({"OSCAR_ENDPOINT": "https://oscar.org"}, "no credentials"),
        ({"OSCAR_ENDPOINT": "https://oscar.org", "OSCAR_USERNAME": "u"}, "but no password"),
    ],
)
def test_unusable_access_is_named(said: dict[str, str], message: str) -> None:
    with pytest.raises(SettingError, match=message) as caught:
        Access.find(said)
    assert "Hidden7" not in caught.value.message


def test_a_cluster_tells_what_is_free(stub: Stub) -> None:
    environ = {"OSCAR_ENDPOINT": stub.url, "OSCAR_USERNAME": "oscar", "OSCAR_PASSWORD": "Hidden7"}
    free = Capacity.of(Cluster(Access.find(environ)).status())
    assert free == Capacity(8, 2**34, 4, 2**33)
    assert Need.of_service(named("pi10-batch")).workers(free) == 3
    stub.auth = "another"
    with pytest.raises(SettingError, match="answers 401 when asked for its status"):
        Cluster(Access.find(environ)).status()


def test_the_help_of_deploy_names_every_service() -> None:
    said = CliRunner().invoke(pi10, ["oscar", "deploy", "--help"]).stdout
    assert all(name in said for name in SERVICES)
