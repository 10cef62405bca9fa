"""``pi10 serve``."""

from __future__ import annotations

from typing import Any

import click


@click.command()
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
