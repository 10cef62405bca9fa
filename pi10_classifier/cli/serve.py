"""The command ``pi10 serve``: the model as a web service."""

from __future__ import annotations

from typing import Any

import click

from pi10_classifier.cli.terminal.options import Device
from pi10_classifier.model.runtime import AUTO, DEVICE_HELP


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, envvar="PI10_HOST",
              help="Address to listen on; 0.0.0.0 means all addresses.")  # fmt: skip
@click.option("--port", type=int, default=5000, show_default=True, envvar="PI10_PORT",
              help="Port to listen on; 0 means any free port.")  # fmt: skip
@click.option("--base-path", default="", envvar="PI10_BASE_PATH",
              help="Path prefix that a proxy passes on, e.g. /pi10.  [default: none]")  # fmt: skip
@click.option(
    "--workers",
    type=int,
    default=0,
    envvar="PI10_WORKERS",
    help="Number of worker processes.  [default: one per core, at least 2 and at most 4]",
)
@click.option("--grace", type=float, default=30, show_default=True, envvar="PI10_GRACE",
              help="Seconds that running requests get to finish after SIGTERM.")  # fmt: skip
@click.option("--model", default="starter", show_default=True, envvar="PI10_MODEL",
              help="Model of requests that name none: an embedded package, a folder, or"
                   " models:/NAME@ALIAS, which is followed.")  # fmt: skip
@click.option("--device", type=Device(), default=AUTO, show_default=True,
              envvar="PI10_DEVICE", help=DEVICE_HELP)  # fmt: skip
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]),
              default="info", show_default=True, envvar="PI10_LOG_LEVEL",
              help="Lowest level of the JSON log lines on standard error.")  # fmt: skip
def serve(**options: Any) -> None:
    """Serve the model: the DEEPaaS API, a web page, health checks and metrics.

    \b
    ui/             web page: upload images or a bin, see and download the results
    v2/models/...   the API, described at api/ (Swagger) and swagger.json
    health/live     200 while the process runs
    health/ready    200 once the model is verified and warm, 503 while it stops
    metrics         metrics for Prometheus

    With --model models:/NAME@ALIAS the registry at MLFLOW_TRACKING_URI is asked for another
    version every PI10_MODEL_POLL_S seconds (60), and on SIGHUP. Each worker loads the new model
    beside the old one, and then all change at once. While the registry is away, the last version
    is used.

    After SIGTERM or Ctrl-C, running requests may finish. Every option can also be set in the
    environment, e.g. PI10_PORT=8080. The limits are set with PI10_MAX_WAITING,
    PI10_MAX_SECONDS, PI10_MAX_UPLOAD_MB and PI10_MAX_IMAGES. Needs the extra [serve].
    """
    from pi10_classifier.errors import SettingError
    from pi10_classifier.foundation.extras import install_command

    try:
        from pi10_classifier.api.serve import ServeSettings
        from pi10_classifier.api.serve import serve as run_service
    except ImportError as error:
        raise SettingError(
            f"serve needs deepaas ({error}); run: {install_command('serve,report')}"
        ) from error
    run_service(ServeSettings(**options))
