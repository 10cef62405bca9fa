"""Help of the command ``pi10``: every command, option and exit code is told."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from pi10_command import Pi10

import pi10_classifier
from pi10_classifier import cli
from pi10_classifier.errors import ExitCode

COMMANDS: list[list[str]] = [
    [], ["classify"], ["simulate"], ["models"], ["doctor"], ["export"], ["export", "onnx"],
]  # fmt: skip


def walk(
    command: click.Command, words: tuple[str, ...] = ("pi10",)
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """The command and all commands below it, each with its words."""
    yield words, command
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from walk(below, (*words, name))


EVERY_COMMAND = dict(walk(cli.pi10))


class TestHelp:
    @pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words) or "pi10")
    @pytest.mark.parametrize("flag", ["--help", "-h"])
    def test_teaches(self, pi10: Pi10, words: list[str], flag: str) -> None:
        answer = pi10(*words, flag)
        assert answer.code == 0
        assert answer.out.startswith("Usage: ")
        assert len(answer.out) > 150
        assert "\b" not in answer.out
        assert answer.err == ""

    def test_every_command_is_listed(self, pi10: Pi10) -> None:
        out = pi10("--help").out
        assert all(name in out for name in cli.pi10.commands)
        assert {"classify", "simulate", "models", "doctor", "export"} <= set(cli.pi10.commands)

    @pytest.mark.parametrize("words", EVERY_COMMAND, ids=" ".join)
    def test_every_option_is_explained(self, words: tuple[str, ...]) -> None:
        command = EVERY_COMMAND[words]
        assert command.help
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.help, f"{' '.join(words)} {option.opts[0]} lacks a help text"
                stated = option.show_default or "[default: " in option.help
                needless = option.is_flag or option.required or option.prompt
                assert stated or needless, f"{' '.join(words)} {option.opts[0]} lacks its default"

    def test_every_exit_code_is_told(self, pi10: Pi10) -> None:
        out = pi10("--help").out
        assert all(f"{int(code)} " in out for code in ExitCode)

    def test_version(self, pi10: Pi10) -> None:
        assert pi10_classifier.__version__ in pi10("--version").out


@pytest.mark.parametrize(
    "command",
    [
        [], ["classify"], ["simulate"], ["export", "onnx"], ["export", "int8"], ["evaluate"],
        ["calibrate"], ["adapt"], ["search"], ["compare"], ["track", "sync"],
    ],
)  # fmt: skip
def test_help_keeps_its_layout(command: list[str]) -> None:
    from click.testing import CliRunner

    from pi10_classifier.cli import pi10

    text = CliRunner().invoke(pi10, [*command, "--help"]).output
    assert "\b" not in text
    assert "\\b" not in text
