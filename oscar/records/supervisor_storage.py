"""Reads a job's output folder and keys from faas-supervisor's configuration.

The configuration is in ``FUNCTION_CONFIG`` (base64), or on a cluster in the file that OSCAR
mounts at ``/oscar/config/function_config.yaml``. Supervisor 1.5.8 reads the same two.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pi10_classifier.errors import Pi10Error

if TYPE_CHECKING:
    from pi10_classifier.oscar.bucket import Bucket

MOUNTED = Path("/oscar/config/function_config.yaml")
# short: the supervisor has just read from this storage, so it should answer at once
_DEADLINE_S = "5"


def output_of(environ: Mapping[str, str] = os.environ, mounted: Path = MOUNTED) -> Bucket | None:
    """The job's output folder; None if there is no configuration, or if it is not S3."""
    try:
        config = _config(environ, mounted)
        output = config["output"][0]
        kind, _, name = str(output["storage_provider"]).partition(".")
        provider = config["storage_providers"][kind][name or "default"]
        return _bucket(kind, provider, str(output["path"])) if kind in ("minio", "s3") else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, Pi10Error):
        return None


def _config(environ: Mapping[str, str], mounted: Path) -> Any:
    text = environ.get("FUNCTION_CONFIG")
    data = base64.b64decode(text) if text else mounted.read_bytes()
    import yaml  # late: most jobs need no storage of their own

    try:
        return yaml.safe_load(data)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _bucket(kind: str, provider: Mapping[str, Any], path: str) -> Bucket:
    import urllib3

    from pi10_classifier.oscar.bucket import Bucket
    from pi10_classifier.sources.s3_client import S3Client

    config = {
        "AWS_ENDPOINT_URL": str(provider["endpoint"]) if kind == "minio" else "",
        "AWS_ACCESS_KEY_ID": str(provider["access_key"]),
        "AWS_SECRET_ACCESS_KEY": str(provider["secret_key"]),
        # without an endpoint the region selects Amazon's server
        "AWS_REGION": str(provider.get("region") or "us-east-1"),
        "PI10_S3_DEADLINE": _DEADLINE_S,
    }
    http = None
    if provider.get("verify") is False:  # the supervisor does not verify it either
        timeout = urllib3.Timeout(connect=float(_DEADLINE_S), read=float(_DEADLINE_S))
        http = urllib3.PoolManager(cert_reqs="CERT_NONE", timeout=timeout, retries=False)
    return Bucket.of(S3Client(config, http, remedy="the job goes on without it"), f"s3://{path}")
