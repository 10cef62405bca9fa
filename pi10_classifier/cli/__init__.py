"""The command ``pi10``. A face: it parses, calls the core and prints; it holds no science."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import click

import pi10_classifier
from pi10_classifier.cli.dataset import dataset
from pi10_classifier.cli.evaluate import calibrate, evaluate
from pi10_classifier.cli.export import adapt, cascade, int8
from pi10_classifier.cli.options import FOLDER, caps_of, engine_options, report_or_note
from pi10_classifier.cli.oscar.batch import oscar
from pi10_classifier.cli.track import compare, search, track
from pi10_classifier.cli.train import train
from pi10_classifier.cli.watch import watch
from pi10_classifier.errors import Code, ExitCode, OutputError, Pi10Error, output_error
from pi10_classifier.foundation.output import Lossy, let_go, lossy_output, stand_in

if TYPE_CHECKING:
    from pi10_classifier.model.package import Package

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(context_settings=_CONTEXT, epilog="Try `pi10 classify --help`, or `pi10 doctor`.")
@click.version_option(pi10_classifier.__version__, prog_name="pi10")
def pi10() -> None:
    """From Plankton Imager Pi-10 images to individuals per litre.

    \b
    A first run, without any data of your own:
      pi10 simulate demo --bins 2 --images 300
      pi10 classify demo --out results
      (then open results/report.html)

    \b
    Exit codes: 0 all inputs have a result; 2 wrong usage or settings;
    3 some inputs failed, results are written; 4 nothing could be read;
    5 the disk refused results (full, or failing): mend it and run again;
    130 interrupted, run again (classify, train, search: with --resume).
    """


for command in (dataset, train, evaluate, calibrate, adapt, search, compare, track, oscar, watch):
    pi10.add_command(command)


@pi10.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("--out", required=True, type=FOLDER, help="Folder for results.")
@engine_options
@click.option("--report/--no-report", default=True, show_default=True,
              help="Write report.html (needs the extra [report]).")  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on with the run in --out.")
@click.option("--overwrite", is_flag=True, help="Delete the run in --out and begin anew.")
@click.option("--json", "as_json", is_flag=True, help="Print run.json, for machines; no progress.")
@lossy_output()
def classify(inputs: tuple[str, ...], out: Path, model: str, as_json: bool, report: bool,
             resume: bool, overwrite: bool, measure: bool, **options: Any) -> None:  # fmt: skip
    """Classify particles, measure them and compute their abundance.

    INPUT is a TIFF, PNG or JPEG, a folder tree, a tar or zip, or s3://bucket/prefix; folders
    and buckets may hold archives (one ten-minute bin each). Archives are streamed, never
    extracted. S3 takes its endpoint and keys from AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and
    AWS_SECRET_ACCESS_KEY.

    \b
    Written into the folder --out:
      predictions.parquet/  one row a particle: class, scores, sizes in µm, time, place
      counts.csv            per minute and class: count, raised count, individuals per litre
      bins.csv              the same per ten-minute bin
      failures.csv          every input without a result, and why
      run.json              totals, parameters, versions
      report.html           figures and pictures of it all

    \b
    Examples:
      pi10 classify 2024-06-24/1450.tar --out results
      pi10 classify /data/cruise --out results --resume
      pi10 classify s3://pi10/cruise/2024-06-24/ --out results
    """
    from pi10_classifier.classify import Progress, Settings
    from pi10_classifier.classify import classify as run_classify
    from pi10_classifier.cli.console import is_terminal, progress_of, show_run
    from pi10_classifier.errors import SettingError
    from pi10_classifier.foundation.signals import stoppable
    from pi10_classifier.model.package import find

    if resume and overwrite:
        raise SettingError("--resume and --overwrite exclude each other; give one")
    given = {name: value for name, value in options.items() if value is not None}
    given |= caps_of(given.pop("max_megapixels", None), given.pop("max_megabytes", None))
    settings = Settings(model=find(model), measure=measure, **given)
    watched = is_terminal() and not as_json
    with stoppable() as check, progress_of(inputs, shown=watched) as show:

        def progress(reached: Progress) -> None:
            check()
            show(reached)

        run = run_classify(
            inputs, out, settings, resume=resume, overwrite=overwrite, progress=progress
        )
    page = report_or_note(out, settings.model) if report else None
    if as_json:
        click.echo((out / "run.json").read_text("utf-8"), nl=False)
    else:
        show_run(run, page)
    sys.exit(run.exit_code)


@pi10.command()
@click.argument("out", type=FOLDER)
@click.option("--bins", type=int, default=3, show_default=True, help="Ten-minute bins.")
@click.option("--images", type=int, default=500, show_default=True, help="Images a bin.")
@click.option("--sizes", help="Images of each bin in turn, e.g. 50000,200,300.")
@click.option("--partial", type=int, default=0, show_default=True,
              help="How many of the bins start late.")  # fmt: skip
@click.option("--seed", type=int, default=7, show_default=True, help="Same seed, same bytes.")
@click.option("--folders", is_flag=True, help="Write folders, not tars.")
@click.option("--from", "crops", type=click.Path(exists=True, path_type=Path),
              help="Wrap real crops: a folder or a tar of images.")  # fmt: skip
def simulate(out: Path, crops: Path | None, sizes: str | None, **options: Any) -> None:
    """Write bins as the Pi-10 would, for demos and tests.

    Particles are drawn; --from wraps your own images into bins instead.

    \b
    Examples:
      pi10 simulate demo --bins 3 --partial 1
      pi10 simulate bench --sizes 50000 --from crops/
    """
    from pi10_classifier.errors import SettingError
    from pi10_classifier.simulate import simulate_cruise

    if sizes is not None:
        try:
            options["sizes"] = [int(part) for part in sizes.split(",")]
        except ValueError:
            raise SettingError(f"--sizes is {sizes!r}; give whole numbers, e.g. 500,300") from None
    written = simulate_cruise(out, crops=crops, **options)
    for path in written:
        click.echo(path)


@pi10.command()
@click.option("--json", "as_json", is_flag=True, help="Print the whole descriptions.")
def models(as_json: bool) -> None:
    """List the embedded models, a line each; --json has all their figures."""
    from pi10_classifier.model.package import installed, read_package

    packages = [read_package(folder)[0] for folder in installed()]
    if as_json:
        click.echo(json.dumps([package.description for package in packages], indent=2))
        return
    for package in packages:
        said = package.description.get("summary") or _summary(package)
        click.echo(f"{package.name} {package.version}: {', '.join(package.classes)}; {said}")


def _summary(package: Package) -> str:
    """Of a package that brings none: its input, and its figures on withheld images."""
    figures = [
        f"{source} {found['macro_f1']['value']:.2f}"
        for source, found in package.description.get("metrics", {}).items()
        if isinstance(found, dict) and "macro_f1" in found
    ]
    told = f"macro-F1 on withheld images: {', '.join(figures)}" if figures else "never judged"
    return f"{package.preprocessing.size} px, {told}"


@pi10.command()
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(as_json: bool) -> None:
    """Check this installation: packages, models, devices, settings."""
    from dataclasses import asdict

    from pi10_classifier.cli.console import show_table
    from pi10_classifier.doctor import examine

    checks = list(examine())
    if as_json:
        click.echo(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        show_table("", ("", "what", "finding"), [(c.state, c.what, c.finding) for c in checks])
    sys.exit(ExitCode.USAGE if any(check.state == "broken" for check in checks) else ExitCode.OK)


@pi10.command()
@click.option("--host", default="127.0.0.1", show_default=True, envvar="PI10_HOST",
              help="Address to listen on; 0.0.0.0 for all.")  # fmt: skip
@click.option("--port", type=int, default=5000, show_default=True, envvar="PI10_PORT",
              help="Port to listen on; 0 for any free one.")  # fmt: skip
@click.option("--base-path", default="", envvar="PI10_BASE_PATH",
              help="Path prefix that a proxy passes on, as /pi10.")  # fmt: skip
@click.option("--workers", type=int, default=0, envvar="PI10_WORKERS",
              help="Processes that predict.  [default: one a core, 2 to 4]")  # fmt: skip
@click.option("--grace", type=float, default=30, show_default=True, envvar="PI10_GRACE",
              help="Seconds for what runs, after SIGTERM.")  # fmt: skip
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]),
              default="info", show_default=True, envvar="PI10_LOG_LEVEL",
              help="Least level of the JSON lines on standard error.")  # fmt: skip
def serve(**options: Any) -> None:
    """Serve the model: DEEPaaS API, a page for people, health and metrics.

    \b
    ui/             drop images or a bin, look at the results, download them
    v2/models/...   the API; its description at api/ (Swagger) and swagger.json
    health/live     200 while the process turns
    health/ready    200 once the model is verified and warm, 503 while it stops
    metrics         figures for Prometheus

    SIGTERM and Ctrl-C let what runs finish. Every option can be set by the environment, as
    PI10_PORT=8080; caps by PI10_MAX_WAITING, PI10_MAX_SECONDS, PI10_MAX_UPLOAD_MB and
    PI10_MAX_IMAGES. Needs the extra [serve].
    """
    from pi10_classifier.errors import SettingError

    try:
        from pi10_classifier.api.serve import ServeSettings
        from pi10_classifier.api.serve import serve as run_service
    except ImportError as error:
        raise SettingError(
            f'serve needs deepaas ({error}); pip install "pi10-classifier[serve,report]"'
        ) from error
    run_service(ServeSettings(**options))


@pi10.group()
def export() -> None:
    """Turn results and trainings into what other programs take."""


export.add_command(int8)
export.add_command(cascade)


@export.command()
@click.argument("checkpoint", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", required=True, type=FOLDER, help="Package folder.")
def onnx(checkpoint: Path, out: Path) -> None:
    """Export a training's CHECKPOINT folder to a model package that `classify --model` takes.

    Refuses where ONNX Runtime's scores differ from the network's. Needs the extra [train].
    """
    from pi10_classifier.errors import SettingError

    try:
        from pi10_classifier.training.onnx_export import export_package
    except ImportError as error:
        raise SettingError(
            f'export needs torch ({error}); pip install "pi10-classifier[train]"'
        ) from error
    export_package(checkpoint, out)
    click.echo(out)


def main() -> NoReturn:
    """The console script: exit codes and messages instead of tracebacks."""
    signal.signal(signal.SIGTERM, _interrupt)
    stand_in()
    if sys.stderr:
        sys.stderr = Lossy(sys.stderr)
    try:
        _main()
    finally:
        let_go()


def _main() -> NoReturn:
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
    except BrokenPipeError:  # whoever read standard output has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.OK)
    except OSError as error:  # a path that the system refuses to look at, or a failing disk
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


if __name__ == "__main__":
    main()
