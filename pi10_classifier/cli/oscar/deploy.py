"""``pi10 oscar deploy``, ``delete`` and ``status``: services on a cluster. A face."""

from __future__ import annotations

import json
import os
from typing import Any

import click

from pi10_classifier.cli.oscar.options import service_of
from pi10_classifier.errors import SettingError

_NEWEST = "4.1.0"


@click.command()
@click.argument("service")
@click.option("--cluster", default="", help="Of oscar-cli's configuration, or a name for it.")
@click.option("--bucket", help="Input and output in this bucket, in place of the file's.")
@click.option("--image", help="The container image.")
@click.option("--gpu", is_flag=True, help="On a GPU: the resource, the device, the CUDA image.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE",
              help="cpu, memory, name, … or a PI10_ variable; may be repeated.")  # fmt: skip
@click.option("--oscar-version", help="Fit to this version; asked of the cluster otherwise.")
@click.option("--dry-run", is_flag=True, help="Print the JSON that would be sent; send nothing.")
def deploy(service: str, cluster: str, bucket: str | None, image: str | None, gpu: bool,
           settings: tuple[str, ...], oscar_version: str | None,
           dry_run: bool) -> None:  # fmt: skip
    """Create SERVICE on a cluster, or bring it up to date.

    SERVICE is pi10-events, pi10-sync, pi10-api, pi10-batch or an FDL file. The endpoint and
    credentials come from OSCAR_ENDPOINT with OSCAR_USERNAME and OSCAR_PASSWORD, OSCAR_TOKEN,
    OSCAR_REFRESH_TOKEN or OSCAR_OIDC_ACCOUNT, else from oscar-cli's configuration.

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
        said = variants.on_cluster(chosen, name).to_api(oscar_version or _NEWEST)
        click.echo(json.dumps(said, indent=2))
        return
    if oscar_version:
        raise SettingError("--oscar-version goes with --dry-run; a cluster tells its own")
    access = Access.find(os.environ, cluster)
    done = Cluster(access).deploy(variants.on_cluster(chosen, access.cluster))
    click.echo(f"{chosen.name}: {done} on {access.endpoint}")
    for source, target in zip(chosen.inputs, chosen.outputs, strict=False):
        click.echo(f"drop into s3://{source.bucket}/{source.prefix}; "
                   f"results in s3://{target.bucket}/{target.prefix}")  # fmt: skip


@click.command()
@click.argument("name")
@click.option("--cluster", default="", help="Of oscar-cli's configuration.")
@click.confirmation_option(prompt="Delete this service? Its buckets stay.")
def delete(name: str, cluster: str) -> None:
    """Delete the service NAME; its buckets and what is in them stay."""
    from pi10_classifier.oscar.services.cluster import Access, Cluster

    access = Access.find(os.environ, cluster)
    Cluster(access).delete(name)
    click.echo(f"{name}: deleted on {access.endpoint}")


@click.command()
@click.argument("name", required=False)
@click.option("--cluster", default="", help="Of oscar-cli's configuration.")
@click.option("--token", is_flag=True, help="Print the service's token, and nothing else.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print what the cluster says, without tokens."
)
def status(name: str | None, cluster: str, token: bool, as_json: bool) -> None:
    """Show the services of a cluster, or the one called NAME."""
    from pi10_classifier.cli.terminal.console import show_table
    from pi10_classifier.oscar.services.cluster import Access, Cluster

    found = Cluster(Access.find(os.environ, cluster))
    services = [said for said in found.services() if not name or said.get("name") == name]
    if name and not services:
        raise SettingError(f"there is no service {name!r} on {found.access.endpoint}")
    if token:
        if not name:
            raise SettingError("--token needs the NAME of a service")
        click.echo(str(services[0].get("token", "")))
        return
    shown = [_without_secrets(said) for said in services]
    if as_json:
        click.echo(json.dumps({"version": found.version(), "services": shown}, indent=2))
        return
    rows = [
        (said.get("name", ""), said.get("image", ""), said.get("cpu", ""), said.get("memory", ""),
         _paths(said, "input"), _paths(said, "output"))
        for said in shown
    ]  # fmt: skip
    show_table(
        f"OSCAR {found.version()}", ("service", "image", "cpu", "memory", "input", "output"), rows
    )


def _paths(said: dict[str, Any], kind: str) -> str:
    return ", ".join(str(entry.get("path", "")) for entry in said.get(kind) or ())


def _without_secrets(said: dict[str, Any]) -> dict[str, Any]:
    kept = {k: v for k, v in said.items() if k not in ("token", "storage_providers", "clusters")}
    environment = dict(kept.get("environment") or {})
    environment.pop("secrets", None)
    return {**kept, "environment": environment}
