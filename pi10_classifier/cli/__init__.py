"""The command ``pi10``: one module per command, each of which parses, calls the core and prints."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import NoReturn

import click

import pi10_classifier
from pi10_classifier.cli.terminal.commands import Commands
from pi10_classifier.errors import Code, ExitCode, OutputError, Pi10Error, output_error
from pi10_classifier.foundation.blas import keep_blas_single
from pi10_classifier.foundation.output import LossyStream, flush_or_drop, open_standard_streams

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(
    context_settings=_CONTEXT,
    epilog="For one command: pi10 classify --help. To check the installation: pi10 doctor.",
)
@click.version_option(pi10_classifier.__version__, prog_name="pi10")
def pi10() -> None:
    """Turn Plankton Imager Pi-10 images into individuals per litre.

    \b
    A first run, without data of your own:
      pi10 simulate demo --bins 2 --images 300
      pi10 classify demo --out results
      (then open results/report.html)

    \b
    Exit codes:
      0    every input has a result
      2    wrong usage or settings
      3    some inputs failed; results are written
      4    nothing could be read
      5    results could not be written (disk full or failing); fix it and run again
      130  interrupted; run again (classify, pretrain, train and search: with
           --resume)
    """


_COMMANDS = {
    "classify": "classify", "simulate": "simulate", "models": "models",
    "doctor": "models.installed",
    "watch": "watch", "serve": "serve", "shore": "shore", "report": "classify",
    "validate": "validate", "sizes": "tables.sizes", "underway": "tables.underway",
    "dataset": "dataset", "pretrain": "training.pretrain", "train": "train", "search": "search",
    "compare": "compare", "table1": "compare", "track": "track", "evaluate": "evaluate",
    "calibrate": "evaluate",
    "adapt": "adapt", "embed": "features.embed", "sort": "features.sort", "export": "export",
    "oscar": "oscar",
}  # fmt: skip
pi10.commands = Commands(
    {name: f"pi10_classifier.cli.{module}:{name}" for name, module in _COMMANDS.items()}
)


def main() -> NoReturn:
    """The console script: turns exceptions into messages and exit codes."""
    signal.signal(signal.SIGTERM, _interrupt)
    open_standard_streams()
    if sys.stderr:
        sys.stderr = LossyStream(sys.stderr)
    try:
        _main()
    finally:
        flush_or_drop()


def _main() -> NoReturn:
    if sys.argv[1:2] in (["classify"], ["watch"]):
        keep_blas_single()
    try:
        code = pi10.main(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else ExitCode.OK)
    except click.ClickException as error:
        error.show()
        _stop(ExitCode.USAGE, Code.BAD_SETTING, error.format_message())
    except (KeyboardInterrupt, click.Abort):
        again = "again with --resume to go on" if _resumes() else "the same command again"
        message = f"interrupted; run {again}"
        click.echo(message, err=True)
        _stop(ExitCode.INTERRUPTED, "interrupted", message)
    except OutputError as error:
        click.echo(f"pi10: {error.message}", err=True)
        _stop(ExitCode.NOT_WRITTEN, error.code, error.message)
    except Pi10Error as error:
        click.echo(f"pi10: {error.message}", err=True)
        _stop(ExitCode.USAGE, error.code, error.message)
    except BrokenPipeError:  # the reader of standard output has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.OK)
    except OSError as error:  # a path that the system cannot open, or a failing disk
        click.echo(f"pi10: {error}", err=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            code_ = output_error(error, error.filename or "the output").code
            _stop(ExitCode.NOT_WRITTEN, code_, str(error))
        _stop(ExitCode.USAGE, Code.BAD_SETTING, str(error))


def _resumes() -> bool:
    """Whether the command that was called has --resume."""
    command: click.Command = pi10
    for word in sys.argv[1:]:
        if isinstance(command, click.Group):
            command = command.commands.get(word, command)
    return any(option.name == "resume" for option in command.params)


def _stop(exit_code: ExitCode, code: str, message: str) -> NoReturn:
    if "--json" in sys.argv:
        with suppress(OSError, ValueError):
            click.echo(json.dumps({"error": {"code": code, "message": message}}))
    sys.exit(exit_code)


def _interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
