"""Talks to a cluster through oscar_python: its version, status and services.

Credentials come from the environment (``OSCAR_ENDPOINT`` with ``OSCAR_USERNAME`` and
``OSCAR_PASSWORD``, or ``OSCAR_TOKEN``, ``OSCAR_REFRESH_TOKEN``, ``OSCAR_OIDC_ACCOUNT`` of
oidc-agent) or, if OSCAR_ENDPOINT is unset, from oscar-cli's own configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from pi10_classifier.errors import SettingError
from pi10_classifier.foundation.extras import install_command
from pi10_classifier.oscar.services.fdl import Service, takes_lists

_FALSE = ("false", "0", "no")


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach a cluster. ``options`` are passed to oscar_python and hold secrets."""

    cluster: str
    endpoint: str
    options: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"Access({self.cluster!r}, {self.endpoint!r})"

    @classmethod
    def find(cls, environ: Mapping[str, str], cluster: str = "") -> Access:
        """Read it from the environment, else from oscar-cli's file. Raises SettingError."""
        if environ.get("OSCAR_ENDPOINT"):
            return cls._from_environ(environ, cluster)
        path = Path(environ.get("OSCAR_CLI_CONFIG") or Path.home() / ".oscar-cli" / "config.yaml")
        if not path.is_file():
            raise SettingError(
                "no cluster is known; set OSCAR_ENDPOINT and its credentials, or add a cluster "
                "with `oscar-cli cluster add`"
            )
        return cls._from_file(path, cluster)

    @classmethod
    def _from_environ(cls, environ: Mapping[str, str], cluster: str) -> Access:
        return _access(
            cluster or environ.get("OSCAR_CLUSTER") or "oscar-cluster",
            environ["OSCAR_ENDPOINT"],
            {
                "user": environ.get("OSCAR_USERNAME"),
                "password": environ.get("OSCAR_PASSWORD"),
                "shortname": environ.get("OSCAR_OIDC_ACCOUNT"),
                "oidc_token": environ.get("OSCAR_TOKEN"),
                "refresh_token": environ.get("OSCAR_REFRESH_TOKEN"),
            },
            (environ.get("OSCAR_SSL_VERIFY") or "true").lower() not in _FALSE,
            "OSCAR_USERNAME and OSCAR_PASSWORD, OSCAR_TOKEN, OSCAR_REFRESH_TOKEN or "
            "OSCAR_OIDC_ACCOUNT must be set",
        )

    @classmethod
    def _from_file(cls, path: Path, cluster: str) -> Access:
        import yaml

        try:
            payload = yaml.safe_load(path.read_text("utf-8")) or {}
            name = cluster or payload.get("default") or next(iter(payload["oscar"]))
            entry = payload["oscar"][name]
            endpoint = str(entry["endpoint"])
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise SettingError(
                f"{path} cannot be read: {type(error).__name__}; correct the file"
            ) from error
        except (LookupError, TypeError, AttributeError, StopIteration):
            raise SettingError(
                f"{path} has no cluster {cluster or '(default)'!r}; "
                "`oscar-cli cluster list` shows the known ones"
            ) from None
        return _access(
            name,
            endpoint,
            {
                "user": entry.get("auth_user"),
                "password": entry.get("auth_password"),
                "shortname": entry.get("oidc_account_name"),
                "oidc_token": entry.get("oidc_token"),
                "refresh_token": entry.get("oidc_refresh_token"),
            },
            bool(entry.get("ssl_verify", True)),
            f"{path} has no credentials for it; `oscar-cli cluster add` writes them",
        )


def _access(
    name: str, endpoint: str, given: Mapping[str, Any], verify: bool, remedy: str
) -> Access:
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise SettingError(
            f"the endpoint of cluster {name!r} must look like https://oscar.example.org, "
            "without a user"
        )
    options = {key: value for key, value in given.items() if value}
    if options.get("user") and not options.get("password"):
        raise SettingError(f"cluster {name!r} has a user but no password; {remedy}")
    kinds = [key for key in ("user", "shortname", "oidc_token", "refresh_token") if key in options]
    if not kinds:
        raise SettingError(f"cluster {name!r} has no credentials; {remedy}")
    base = {"cluster_id": name, "endpoint": endpoint.rstrip("/"), "ssl": str(verify or "")}
    return Access(name, endpoint.rstrip("/"), {**options, **base})


class Cluster:
    """Shows, creates, changes and deletes the services of one cluster."""

    def __init__(self, access: Access) -> None:
        try:
            from oscar_python.client import Client
        except ImportError as error:
            raise SettingError(
                f"{error.name} is not installed; run {install_command('oscar')}"
            ) from error
        self.access = access
        self._client = Client(dict(access.options))

    def version(self) -> str:
        """The cluster's version of OSCAR."""
        payload = self._ask("for its version", self._client.get_cluster_info)
        version = str(payload.get("version", ""))
        takes_lists(version)
        return version

    def status(self) -> dict[str, Any]:
        """The cluster's status, in the API's form."""
        payload: dict[str, Any] = self._ask("for its status", self._client.get_cluster_status)
        return payload

    def services(self) -> list[dict[str, Any]]:
        """The services, in the API's form, which includes their tokens."""
        payload: Any = self._ask("for its services", self._client.list_services)
        return list(payload or [])

    def service(self, name: str) -> dict[str, Any] | None:
        """One service, or None if there is none of that name."""
        return next((payload for payload in self.services() if payload.get("name") == name), None)

    def deploy(self, service: Service) -> str:
        """Create or update the service. Returns ``created`` or ``updated``.

        Raises SettingError with the cluster's own words if it refuses.
        """
        payload = service.to_api(self.version())
        if self.service(service.name) is None:
            self._ask(f"to create {service.name}", lambda: self._client.create_service(payload))
            return "created"
        self._ask(
            f"to update {service.name}", lambda: self._client.update_service(service.name, payload)
        )
        return "updated"

    def delete(self, name: str) -> None:
        """Remove a service; its buckets stay."""
        path = quote(name, safe="")
        self._ask(f"to delete {name}", lambda: self._client.remove_service(path))

    def _ask(self, purpose: str, request: Callable[[], Any]) -> Any:
        import requests

        try:
            answer = request()
            return answer.json() if answer.content else {}
        except requests.HTTPError as error:
            raise SettingError(self._refusal(purpose, error)) from None
        except requests.RequestException as error:
            raise SettingError(
                f"{self.access.endpoint} does not answer when asked {purpose}: "
                f"{type(error).__name__}; check OSCAR_ENDPOINT and the network"
            ) from None
        except ValueError as error:
            raise SettingError(
                f"{self.access.endpoint} does not answer with JSON when asked {purpose} "
                f"({str(error)[:80]}); check that it is an OSCAR endpoint"
            ) from None

    def _refusal(self, purpose: str, error: Any) -> str:
        status, text = error.response.status_code, error.response.text.strip()[:300]
        if status in (401, 403):
            return (
                f"{self.access.endpoint} answers {status} when asked {purpose}; check the "
                "credentials"
            )
        more = ""
        if "bucket" in text.lower() and "exist" in text.lower():
            more = (
                "; OSCAR makes a service's buckets itself: choose another with --bucket, or "
                "delete the old one once it is empty"
            )
        reason = (
            f": {text}"
            if text
            else ", without a reason; check that OSCAR_ENDPOINT is a cluster's address"
        )
        return f"{self.access.endpoint} answers {status} when asked {purpose}{reason}{more}"
