"""The command ``pi10 watch``: classify new files as they arrive."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import click

from pi10_classifier.cli.terminal.options import (
    CAMERA,
    FOLDER,
    REFERENCE,
    caps_of,
    engine_options,
    note_without_events,
    note_without_report,
    reference_of,
    report_or_note,
)
from pi10_classifier.foundation.output import lossy_output


@click.command()
@click.argument("source")
@click.option(
    "--out",
    required=True,
    type=FOLDER,
    help="Folder to write the results to; an existing run in it is continued.",
)
@engine_options
@CAMERA
@REFERENCE
@click.option("--model-poll", "poll_s", type=float, default=60.0, show_default=True,
              help="Seconds between questions to the registry, with --model models:/NAME@ALIAS; 0"
                   " for none.")  # fmt: skip
@click.option("--settle", "settle_s", type=float, default=2.0, show_default=True,
              help="Seconds that a file must stay unchanged before it is read.")  # fmt: skip
@click.option("--rescan", "rescan_s", type=float, default=60.0, show_default=True,
              help="Seconds between full scans of SOURCE.")  # fmt: skip
@click.option("--summary-url", default="", envvar="PI10_SUMMARY_URL",
              help="URL to post one line per minute to, with the token in PI10_SUMMARY_TOKEN."
                   "  [default: none]")  # fmt: skip
@click.option("--pictures", "pictures_kb", type=int, default=0, show_default=True, metavar="KB",
              envvar="PI10_PICTURES_KB",
              help="Kilobytes of small pictures of particles to send to --summary-url in an hour,"
                   " where no line waits; 0 sends none.")  # fmt: skip
@click.option("--metrics-file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              envvar="PI10_METRICS_FILE",
              help="File *.prom for Prometheus, where node_exporter's textfile collector looks:"
                   " images by class, failures, backlog and drift, each minute.  [default: none]"
              )  # fmt: skip
@click.option("--until-idle", is_flag=True, help="Stop as soon as all files in SOURCE are done.")
@click.option(
    "--report/--no-report",
    default=True,
    show_default=True,
    help="Whether to write report.html at the end (needs the extra [report]).",
)
@click.option("--json", "as_json", is_flag=True,
              help="Print the line of each minute and, at the end, run.json on one line; show no"
                   " status.")  # fmt: skip
@lossy_output()
def watch(source: str, out: Path, model: str, measure: bool, poll_s: float, settle_s: float,
          rescan_s: float, summary_url: str, pictures_kb: int, metrics_file: Path | None,
          until_idle: bool, report: bool, as_json: bool,
          **options: Any) -> None:  # fmt: skip
    """Classify new files in SOURCE as they arrive, e.g. aboard a ship, until stopped.

    SOURCE is a folder, or s3://bucket/prefix on a MinIO server. It may hold images, archives,
    and bins that are still being filled. Events announce new files at once; a full scan every
    --rescan seconds finds files without an event. A file is read once it has stopped changing.
    The results in --out are those of `classify`, with one part per minute and one per archive;
    the tables are written every ten minutes and at the end. After a restart, even after a power
    cut, it continues where it stopped.

    With --model models:/NAME@ALIAS the model changes when the alias moves: the registry is asked
    every --model-poll seconds, and at once on SIGHUP. The new model begins with the next bin. Each
    model has a folder below --out, and no input is classified by two.

    Each minute (UTC) gives one line of JSON of less than 500 bytes: counts by class, failures,
    backlog, and densities of the instrument's complete minutes. The lines are kept on disk and
    posted to --summary-url in order until they are acknowledged.

    \b
    Exit codes:
      0    stopped by SIGTERM or Ctrl-C, after publishing the work in progress
      5    results could not be written (disk full or failing); the next start retries
      130  stopped at once, by a second SIGTERM or Ctrl-C
    With --until-idle, the exit codes are those of `classify`.

    At a terminal, standard error shows a live status line. Elsewhere it gets one line at the
    start and one for each minute with results, failures, or a new cause of delay.

    \b
    Examples:
      pi10 watch /data/incoming --out results
      pi10 watch s3://pi10/in/ --out results --model fast --summary-url https://shore.example/lines
    """
    from pi10_classifier.cli.terminal.console import is_terminal, note_model, show_run
    from pi10_classifier.foundation.signals import on_hangup, stoppable
    from pi10_classifier.inference.settings import Settings
    from pi10_classifier.registry.reference import ModelReference, is_reference
    from pi10_classifier.registry.resolve import find
    from pi10_classifier.watch.following import Watched, follow
    from pi10_classifier.watch.options import WatchOptions
    from pi10_classifier.watch.status import Log, status_line
    from pi10_classifier.watch.watcher import watch as run_watch

    given = {name: value for name, value in options.items() if value is not None}
    given |= reference_of(given.pop("reference", None))
    given |= caps_of(given.pop("max_megapixels", None), given.pop("max_megabytes", None))
    followed = is_reference(model) and bool(ModelReference.parse(model).alias)
    if not followed:
        given["model"] = find(model)
    settings = Settings(measure=measure, **given)
    plan = WatchOptions(settle_s, rescan_s, summary_url, until_idle, pictures_kb, metrics_file)
    run = None

    def emit(line: str) -> None:
        if as_json:
            click.echo(line)

    def report_of(done: Watched) -> None:
        if report:
            report_or_note(done.folder, done.package)

    first = f"watching {source}, results in {out}, model {model}"
    if report:
        note_without_report()
    if not source.startswith("s3://"):
        note_without_events(rescan_s)
    in_log = not is_terminal() and not as_json
    log = Log(first, lambda text: click.echo(text, err=True))
    seen = nullcontext(log) if in_log else status_line(shown=not as_json)
    try:
        with stoppable() as raise_if_cancelled, seen as show:
            shown: dict[str, Any] = {
                "raise_if_cancelled": raise_if_cancelled, "show_status": show, "emit_line": emit,
                "begun": note_model(shown=not as_json),
            }  # fmt: skip
            if followed:
                asked: SimpleQueue[None] = SimpleQueue()
                with on_hangup(asked):
                    last = follow(
                        source, out, settings, plan, model, poll_s=poll_s, asked=asked,
                        ended=report_of, **shown,
                    )  # fmt: skip
                run, out, settings = last.run, last.folder, settings.with_model(last.package)
            else:
                run = run_watch(source, out, settings, plan, **shown)
    except KeyboardInterrupt:
        if run is None:  # a second signal, before all was published
            raise
    page = report_or_note(out, settings.model) if report else None
    if as_json:
        click.echo(json.dumps(json.loads((out / "run.json").read_text("utf-8"))))
    else:
        show_run(run, page, watched=True)
    sys.exit(run.exit_code)
