"""What a log says of a watcher: its beginning, and minutes that brought something."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import support
from click.testing import CliRunner

from pi10_classifier.cli.watch import watch
from pi10_classifier.model.session import Model
from pi10_classifier.watch.status import Log
from pi10_classifier.watch.watcher import Status

IDLE = Status(0, 0.0, 0, False, "", "ok", "ok, 0 to send", "")


def line(failed: int = 0) -> str:
    return json.dumps({"minute": "2026-05-04T03:02Z", "n": {}, "failed": failed, "skipped": 0})


def test_a_log_has_a_line_for_each_minute_that_brought_something() -> None:
    said: list[str] = []
    now = 0.0
    log = Log("watching in", said.append, lambda: now)

    def minute(status: Status) -> list[str]:
        nonlocal now
        said.clear()
        for _ in range(60):  # shown each second
            now += 1.0
            log(status)
        return said

    assert minute(IDLE) == ["watching in"]
    assert minute(replace(IDLE, line=line())) == []
    [told] = minute(replace(IDLE, results=1200, backlog=7, line=line(failed=3)))
    assert "UTC: 1,200 more images, 1,200 in all, 3 failed | 7 waiting | link ok, 0 to send" in told
    away = replace(IDLE, results=1200, link="ProtocolError, 1 to send", line=line(failed=3))
    [told] = minute(away)
    assert "0 more images" in told and told.endswith("link ProtocolError, 1 to send")
    # one line more to send is no news
    assert minute(replace(away, link="ProtocolError, 2 to send")) == []
    [told] = minute(replace(away, trouble="no space left on the disk"))
    assert told.endswith("no space left on the disk")


@pytest.mark.parametrize("missing", [False, True], ids=["report", "no matplotlib"])
def test_what_is_said_where_nobody_looks_on(
    missing: bool, package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if missing:
        monkeypatch.setattr("pi10_classifier.cli.terminal.options.find_spec", lambda _: None)
        monkeypatch.setitem(sys.modules, "matplotlib", None)
    source = support.write_folder(tmp_path / "in", support.bin_members(3))
    out = tmp_path / "out"
    words = [source, "--out", out, "--model", package, "--settle", "0", "--until-idle"]
    ended = CliRunner().invoke(watch, [str(word) for word in words])
    assert ended.exit_code == 0, ended.output
    first = f"watching {source}, results in {out}, model {package}"
    assert first in ended.stderr.splitlines()
    assert f"{Model.load(package, 'auto').words}" in ended.stderr.splitlines()
    assert ("no file events (watchfiles is not installed)" in ended.stderr) is missing
    assert ("[watch]" in ended.stderr) is missing
    assert ("there will be no report.html" in ended.stderr) is missing
    assert ('[report]"' in ended.stderr) is missing
    assert (out / "report.html").exists() is not missing
    assert "(watched for " in ended.stdout and "images/s" not in ended.stdout
