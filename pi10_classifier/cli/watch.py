"""``pi10 watch``. A face."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from pi10_classifier.cli.terminal.options import (
    FOLDER,
    caps_of,
    engine_options,
    note_without_report,
    report_or_note,
)
from pi10_classifier.foundation.output import lossy_output


@click.command()
@click.argument("source")
@click.option("--out", required=True, type=FOLDER, help="Folder for results; gone on with.")
@engine_options
@click.option("--settle", "settle_s", type=float, default=2.0, show_default=True,
              help="Seconds that a file stays as it is before it is read.")  # fmt: skip
@click.option("--rescan", "rescan_s", type=float, default=60.0, show_default=True,
              help="Seconds from one look at everything to the next.")  # fmt: skip
@click.option("--summary-url", default="", envvar="PI10_SUMMARY_URL",
              help="POST a line a minute there; its token is in PI10_SUMMARY_TOKEN.")  # fmt: skip
@click.option("--until-idle", is_flag=True, help="End once everything that is there is done.")
@click.option("--report/--no-report", default=True, show_default=True,
              help="Write report.html at the end (needs the extra [report]).")  # fmt: skip
@click.option("--json", "as_json", is_flag=True,
              help="Print each minute's line, at the end run.json in one; no status.")  # fmt: skip
@lossy_output()
def watch(source: str, out: Path, model: str, measure: bool, settle_s: float, rescan_s: float,
          summary_url: str, until_idle: bool, report: bool, as_json: bool,
          **options: Any) -> None:  # fmt: skip
    """Classify what appears in SOURCE, as it appears, until stopped: the ship's mode.

    SOURCE is a folder, or s3://bucket/prefix of a MinIO: images, archives, bins being filled.
    Events tell of new files at once; a look at everything, every --rescan seconds, finds what
    events did not tell. Files are read once they have settled. Results go into --out as those
    of classify do, one part a minute and one an archive; the tables are written every ten
    minutes and at the end. Started again, it goes on where it was, after a power cut too.

    \b
    Each minute (UTC) makes one line of JSON below 500 bytes: counts by class, failures,
    backlog, and densities of the instrument's minutes that are complete. Lines are kept on
    disk and posted to --summary-url in order until they are acknowledged.

    \b
    SIGTERM or Ctrl-C: what is in work is finished and published; exit code 0. A second one
    stops at once: 130. 5: the disk refuses what is left (full, or failing); it is done at the
    next start. With --until-idle the exit codes are those of classify.

    \b
    Standard error has a live line at a terminal. Elsewhere it has a line at the start, and one
    for each minute that brought results, failures, or a change of what holds it up.

    \b
    Examples:
      pi10 watch /data/incoming --out results
      pi10 watch s3://pi10/in/ --out results --model fast --summary-url https://shore.example/pi10
    """
    from pi10_classifier.cli.terminal.console import is_terminal, show_run
    from pi10_classifier.foundation.signals import stoppable
    from pi10_classifier.inference.settings import Settings
    from pi10_classifier.model.package import find
    from pi10_classifier.watch.status import Log, status_line
    from pi10_classifier.watch.watcher import Plan
    from pi10_classifier.watch.watcher import watch as run_watch

    given = {name: value for name, value in options.items() if value is not None}
    given |= caps_of(given.pop("max_megapixels", None), given.pop("max_megabytes", None))
    settings = Settings(model=find(model), measure=measure, **given)
    plan = Plan(settle_s, rescan_s, summary_url, until_idle)
    run = None

    def tell(line: str) -> None:
        if as_json:
            click.echo(line)

    first = f"watching {source}, results in {out}, model {model}"
    if report:
        note_without_report()
    in_log = not is_terminal() and not as_json
    log = Log(first, lambda text: click.echo(text, err=True))
    seen = nullcontext(log) if in_log else status_line(shown=not as_json)
    try:
        with stoppable() as check, seen as show:
            run = run_watch(source, out, settings, plan, check=check, show=show, tell=tell)
    except KeyboardInterrupt:
        if run is None:  # a second signal, before all was published
            raise
    page = report_or_note(out, settings.model) if report else None
    if as_json:
        click.echo(json.dumps(json.loads((out / "run.json").read_text("utf-8"))))
    else:
        show_run(run, page, watched=True)
    sys.exit(run.exit_code)
