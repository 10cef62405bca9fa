"""Commands are imported when they are called, and are found as if they had been imported."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from pi10_classifier.cli import pi10
from pi10_classifier.cli.terminal.commands import Commands


def test_each_command_has_the_name_that_it_is_found_by() -> None:
    assert all(command.name == name for name, command in pi10.commands.items())
    assert len(list(pi10.commands.values())) == len(pi10.commands) == len(list(pi10.commands))


def test_an_unknown_command_is_told() -> None:
    assert pi10.commands.get("clasify") is None
    with pytest.raises(KeyError):
        pi10.commands["clasify"]
    with pytest.raises(click.UsageError, match="No such command 'clasify'"):
        pi10.main(["clasify"], standalone_mode=False)


def test_a_command_is_imported_once() -> None:
    commands = Commands({"classify": "pi10_classifier.cli.classify:classify"})
    assert commands["classify"] is commands["classify"] is pi10.commands["classify"]


def test_classify_imports_nothing_of_other_commands() -> None:
    script = (
        "import sys\nfrom pi10_classifier.cli import pi10\npi10.commands['classify']\n"
        "rooms = ('training', 'search', 'simulate', 'datasets', 'watch', 'shore', 'labelling')\n"
        "print([name for name in sys.modules if name.split('.')[1:2] and"
        " name.split('.')[0] == 'pi10_classifier' and name.split('.')[1] in rooms])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]"
