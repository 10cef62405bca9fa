"""The command ``pi10`` in this process."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pi10_command import Answer, Pi10

from pi10_classifier import cli


@pytest.fixture
def pi10(
    package: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Pi10:
    """Run the command in this process; ``classify`` with the tiny model and no report."""
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)

    def run(*words: object) -> Answer:
        argv = ["pi10", *map(str, words)]
        if words[:1] == ("classify",) and "--model" not in words:
            argv += ["--model", str(package), "--no-report"]
        monkeypatch.setattr(sys, "argv", argv)
        with pytest.raises(SystemExit) as caught:
            cli.main()
        streams = capsys.readouterr()
        assert "Traceback" not in streams.out + streams.err
        return Answer(int(caught.value.code or 0), streams.out, streams.err)

    return run
