"""Reads a job's folders and keys from faas-supervisor's configuration.

The configuration is in ``FUNCTION_CONFIG`` (base64), or on a cluster in the file that OSCAR
mounts at ``/oscar/config/function_config.yaml``. Supervisor 1.5.8 reads the same two.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pi10_classifier.errors import Pi10Error, SettingError

if TYPE_CHECKING:
    from pi10_classifier.oscar.bucket import Bucket

MOUNTED = Path("/oscar/config/function_config.yaml")
# short: the supervisor has just read from this storage, so it should answer at once
_DEADLINE_S = "5"


def folders_of(
    environ: Mapping[str, str] = os.environ, mounted: Path = MOUNTED
) -> tuple[Bucket, Bucket]:
    """The job's input and output folder. Raises SettingError if they cannot be read, or are not S3.

    Unlike ``output_of`` for jobs that cannot work without them: their requests are retried for
    ``PI10_S3_DEADLINE`` seconds.
    """
    try:
        config = _config(environ, mounted)
        folders = []
        for kind_of_folder in ("input", "output"):
            place = config[kind_of_folder][0]
            kind, _, name = str(place["storage_provider"]).partition(".")
            if kind not in ("minio", "s3"):
                raise ValueError(f"the {kind_of_folder} is on {kind}, which is not S3")
            provider = config["storage_providers"][kind][name or "default"]
            deadline = environ.get("PI10_S3_DEADLINE") or "60"
            folders.append(_bucket(kind, provider, str(place["path"]), deadline))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise SettingError(
            f"faas-supervisor's configuration names no input and output in S3 ({error!r}); let "
            "OSCAR start this program, or give SOURCE and --out"
        ) from error
    return folders[0], folders[1]


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


def _bucket(
    kind: str, provider: Mapping[str, Any], path: str, deadline_s: str = _DEADLINE_S
) -> Bucket:
    import urllib3

    from pi10_classifier.oscar.bucket import Bucket
    from pi10_classifier.sources.s3_client import S3Client

    config = {
        "AWS_ENDPOINT_URL": str(provider["endpoint"]) if kind == "minio" else "",
        "AWS_ACCESS_KEY_ID": str(provider["access_key"]),
        "AWS_SECRET_ACCESS_KEY": str(provider["secret_key"]),
        # without an endpoint the region selects Amazon's server
        "AWS_REGION": str(provider.get("region") or "us-east-1"),
        "PI10_S3_DEADLINE": deadline_s,
    }
    http = None
    if provider.get("verify") is False:  # the supervisor does not verify it either
        timeout = urllib3.Timeout(connect=float(_DEADLINE_S), read=min(30.0, float(deadline_s)))
        http = urllib3.PoolManager(cert_reqs="CERT_NONE", timeout=timeout, retries=False)
    return Bucket.of(S3Client(config, http, remedy="the job goes on without it"), f"s3://{path}")
