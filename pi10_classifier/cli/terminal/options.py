"""Options, and their checks, that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from pi10_classifier.errors import Pi10Error
from pi10_classifier.foundation.extras import install_command
from pi10_classifier.inference.settings import BATCH_DEFAULT, HELP
from pi10_classifier.instrument.names import UM_PER_PX
from pi10_classifier.model.runtime import AUTO, DEVICES, runtime_of


class _Folder(click.Path):
    """A path that is not empty; ``Path`` would turn an unset shell variable into ``.``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not str(value).strip():
            self.fail("is empty; name a folder", param, ctx)
        return super().convert(value, param, ctx)


FOLDER = _Folder(path_type=Path)


class Device(click.Choice):  # type: ignore[type-arg]  # generic from click 8.2 on
    """A name for --device; one that cannot be used is answered with what to use instead."""

    def __init__(self) -> None:
        super().__init__(DEVICES)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value not in DEVICES:
            runtime_of(str(value))
        return super().convert(value, param, ctx)


_ENGINE = (
    click.option(
        "--model",
        default="starter",
        show_default=True,
        help="Model package: a folder, the name of an embedded one, or models:/NAME@ALIAS.",
    ),
    click.option(
        "--jobs",
        type=int,
        help="Threads that decode and predict; with OpenVINO or a GPU one more prepares images."
        "  [default: one per core]",
    ),
    click.option("--batch", type=int, help=f"{HELP['batch']}  [default: {BATCH_DEFAULT}]"),
    click.option(
        "--device",
        type=Device(),
        default=AUTO,
        show_default=True,
        help=HELP["device"],
    ),
    click.option("--um-per-px", type=float, help=f"{HELP['um_per_px']}  [default: {UM_PER_PX:g}]"),
    click.option(
        "--max-megapixels", type=int, help="Largest image to accept, megapixels.  [default: 36]"
    ),
    click.option(
        "--max-megabytes", type=int, help="Largest image file to accept, MiB.  [default: 128]"
    ),
    click.option(
        "--measure/--no-measure",
        default=True,
        show_default=True,
        help=HELP["measure"],
    ),
)


REFERENCE = click.option(
    "--reference",
    type=click.Path(exists=True, path_type=Path),
    help="File or package of `pi10 export reference`, to tell drift of camera and sea by."
    "  [default: the model package's, if it has one]",
)
CAMERA = click.option(
    "--camera",
    is_flag=True,
    help="Add the columns of the ground and of sharpness, which a reference is made of.",
)


def reference_of(path: Path | None) -> dict[str, Any]:
    """The field of ``Settings`` for --reference. Raises SettingError."""
    from pi10_classifier.drift.reference import read_reference

    return {"reference": read_reference(path)} if path else {}


def engine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that become ``inference.settings.Settings`` to a command."""
    for option in reversed(_ENGINE):
        command = option(command)
    return command


def caps_of(megapixels: int | None, megabytes: int | None) -> dict[str, Any]:
    """The fields of ``Settings`` for --max-megapixels and --max-megabytes."""
    from pi10_classifier.errors import SettingError
    from pi10_classifier.imaging.decode import CAPS
    from pi10_classifier.sources.base import LIMITS

    for name, value, highest in (("pixels", megapixels, 4000), ("bytes", megabytes, 4000)):
        if value is not None and not 1 <= value <= highest:
            raise SettingError(f"--max-mega{name} is {value}; it must be 1 to {highest}")
    size = CAPS.bytes if megabytes is None else megabytes * 2**20
    pixels = CAPS.pixels if megapixels is None else megapixels * 10**6
    side = max(CAPS.side, pixels // CAPS.side)
    return {
        "caps": replace(CAPS, bytes=size, pixels=pixels, side=side),
        "limits": replace(LIMITS, member_bytes=size),
    }


def note_without_report() -> None:
    """Note before long work that ``report.html`` cannot be written, and how to enable it."""
    missing = [name for name in ("matplotlib", "jinja2") if find_spec(name) is None]
    if missing:
        click.echo(f"note: there will be no report.html (not installed: {', '.join(missing)});"
                   f" run: {install_command('report')}, or give --no-report",
                   err=True)  # fmt: skip


def note_without_events(rescan_s: float) -> None:
    """Note that a folder is scanned again and again where file events are not installed."""
    if find_spec("watchfiles") is None:
        from pi10_classifier.watch.discovery import WITHOUT_EVENTS_S

        click.echo(f"note: no file events (watchfiles is not installed): new files are found by"
                   f" scans, {min(rescan_s, WITHOUT_EVENTS_S):g} s apart or more; for events:"
                   f" {install_command('watch')}", err=True)  # fmt: skip


def report_or_note(out: Path, package: Path | None) -> str | None:
    """Write report.html and return its path; on failure, print a note and return None."""
    from pi10_classifier.report.page import write_report

    try:
        return str(write_report(out, package))
    except Pi10Error as error:
        click.echo(f"note: no report: {error.message}", err=True)
    except Exception as error:  # the tables are complete: a picture less does not undo them
        problem = f"{type(error).__name__}: {error}"
        click.echo(f"note: no report, because of a bug in this program ({problem}); the tables"
                   " are complete. Please report the bug", err=True)  # fmt: skip
    return None
