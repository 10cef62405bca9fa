"""The commands ``pi10 oscar deploy``, ``delete`` and ``status``: services on a cluster."""

from __future__ import annotations

import json
import os
from typing import Any

import click

from pi10_classifier.cli.oscar.options import service_of
from pi10_classifier.errors import SettingError

_NEWEST = "4.1.0"
_CLUSTER = (
    "Name of the cluster in oscar-cli's configuration.  [default: OSCAR_CLUSTER, or oscar-cli's"
    " default]"
)


@click.command()
@click.argument("service")
@click.option("--cluster", default="", help=_CLUSTER)
@click.option("--bucket",
              help="Bucket for input and output.  [default: the one in the FDL file]")  # fmt: skip
@click.option("--image", help="Container image.  [default: the one in the FDL file]")
@click.option(
    "--gpu",
    is_flag=True,
    help="Run on a GPU: request one, select the device, and use the CUDA image.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Setting of the FDL file, such as cpu, memory or name, or a PI10_ variable; may be"
    " repeated.  [default: as in the FDL file]",
)
@click.option(
    "--oscar-version", help=f"With --dry-run: version of OSCAR to write for.  [default: {_NEWEST}]"
)
@click.option("--dry-run", is_flag=True, help="Print the JSON that would be sent; send nothing.")
def deploy(service: str, cluster: str, bucket: str | None, image: str | None, gpu: bool,
           settings: tuple[str, ...], oscar_version: str | None,
           dry_run: bool) -> None:  # fmt: skip
    """Create SERVICE on a cluster, or update it.

    SERVICE is pi10-events, pi10-sync, pi10-api, pi10-batch, pi10-retrain or an FDL file. The
    endpoint comes from OSCAR_ENDPOINT, and the credentials from OSCAR_USERNAME and OSCAR_PASSWORD,
    OSCAR_TOKEN, OSCAR_REFRESH_TOKEN or OSCAR_OIDC_ACCOUNT; without OSCAR_ENDPOINT, both come from
    oscar-cli's configuration.

    \b
    Examples:
      pi10 oscar deploy pi10-events --bucket rapid --set cpu=4 --set PI10_JOBS=4
      pi10 oscar deploy pi10-batch --bucket rapid
      pi10 oscar deploy pi10-api --gpu --dry-run --oscar-version 3.6.1
    """
    from pi10_classifier.oscar.services import variants
    from pi10_classifier.oscar.services.cluster import Access, Cluster

    chosen = service_of(service)
    if bucket:
        chosen = variants.in_bucket(chosen, bucket)
    if image:
        chosen = chosen.changed(image=image)
    if settings:
        chosen = variants.with_settings(chosen, settings)
    if gpu:
        chosen = variants.on_gpu(chosen)
    if dry_run:
        name = cluster or os.environ.get("OSCAR_CLUSTER") or chosen.cluster
        payload = variants.on_cluster(chosen, name).to_api(oscar_version or _NEWEST)
        click.echo(json.dumps(payload, indent=2))
        return
    if oscar_version:
        raise SettingError(
            "--oscar-version needs --dry-run; otherwise the cluster's own version is used"
        )
    access = Access.find(os.environ, cluster)
    done = Cluster(access).deploy(variants.on_cluster(chosen, access.cluster))
    click.echo(f"{chosen.name}: {done} on {access.endpoint}")
    for source, target in zip(chosen.inputs, chosen.outputs, strict=False):
        click.echo(f"upload to s3://{source.bucket}/{source.prefix}; results appear in"
                   f" s3://{target.bucket}/{target.prefix}")  # fmt: skip


@click.command()
@click.argument("name")
@click.option("--cluster", default="", help=_CLUSTER)
@click.confirmation_option(prompt="Delete this service? Its buckets stay.")
def delete(name: str, cluster: str) -> None:
    """Delete the service NAME; its buckets and their contents stay."""
    from pi10_classifier.oscar.services.cluster import Access, Cluster

    access = Access.find(os.environ, cluster)
    Cluster(access).delete(name)
    click.echo(f"{name}: deleted on {access.endpoint}")


@click.command()
@click.argument("name", required=False)
@click.option("--cluster", default="", help=_CLUSTER)
@click.option("--token", is_flag=True, help="Print only the token of the service NAME.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print the cluster's answer as JSON, without tokens."
)
def status(name: str | None, cluster: str, token: bool, as_json: bool) -> None:
    """Show all services of a cluster, or the one called NAME."""
    from pi10_classifier.cli.terminal.console import show_table
    from pi10_classifier.oscar.services.cluster import Access, Cluster

    api = Cluster(Access.find(os.environ, cluster))
    services = [service for service in api.services() if not name or service.get("name") == name]
    if name and not services:
        raise SettingError(f"there is no service {name!r} on {api.access.endpoint}")
    if token:
        if not name:
            raise SettingError("--token needs the NAME of a service")
        click.echo(str(services[0].get("token", "")))
        return
    shown = [_without_secrets(service) for service in services]
    if as_json:
        click.echo(json.dumps({"version": api.version(), "services": shown}, indent=2))
        return
    rows = [
        (*(service.get(key, "") for key in ("name", "image", "cpu", "memory")),
         _paths(service, "input"), _paths(service, "output"))
        for service in shown
    ]  # fmt: skip
    show_table(
        f"OSCAR {api.version()}",
        ("service", "image", "cpu", "memory", "input", "output"),
        rows,
    )


def _paths(service: dict[str, Any], kind: str) -> str:
    return ", ".join(str(entry.get("path", "")) for entry in service.get(kind) or ())


def _without_secrets(service: dict[str, Any]) -> dict[str, Any]:
    kept = {k: v for k, v in service.items() if k not in ("token", "storage_providers", "clusters")}
    environment = dict(kept.get("environment") or {})
    environment.pop("secrets", None)
    return {**kept, "environment": environment}
