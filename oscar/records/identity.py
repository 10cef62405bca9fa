"""Identifies a result by the object's content and the model.

No model session is loaded, so tools that only list objects can use it too.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from pi10_classifier.errors import SettingError
from pi10_classifier.inference.settings import Settings
from pi10_classifier.model.package import Package
from pi10_classifier.model.runtime import BF16
from pi10_classifier.results.run_folder import TABLE_VERSION

_MULTIPART = re.compile(r"[0-9a-f]{32}-(?P<parts>[1-9][0-9]{0,4})")
# part sizes in MiB that clients use: minio-py 5, boto3 and the AWS tools 8, mc 16 or 64, ...
_PART_MIB = (5, 8, 10, 15, 16, 20, 25, 32, 50, 64, 100, 128, 256, 512, 1024)
_READ = 2**20
ETAGS = ("content", "opaque")


def model_identity(package: Package, settings: Settings) -> str:
    """SHA-256 (hex) of all that affects results: the model package and how it is used.

    Batch and number of threads are not part of it, because they affect speed only; nor is the
    device, unless it computes in another precision than the graph has.
    """
    value: dict[str, Any] = {
        "tables": TABLE_VERSION,
        "model_sha256": package.sha256,
        "name": f"{package.name} {package.version}",
        "classes": list(package.classes),
        "preprocessing": package.preprocessing.to_dict(),
        "temperature": package.temperature,
        "thresholds": list(package.thresholds),
        "measure": settings.measure,
        "um_per_px": settings.um_per_px,
    }
    if settings.runtime.precision == BF16:  # absent otherwise: the identity of older records
        value["precision"] = BF16
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def etags_from(environ: Mapping[str, str]) -> str:
    """``PI10_ETAG``: content (etags are MD5 sums, as MinIO's are) or opaque (encrypted buckets)."""
    value = environ.get("PI10_ETAG") or ETAGS[0]
    if value not in ETAGS:
        raise SettingError(f"PI10_ETAG is {value!r}; it must be one of {', '.join(ETAGS)}")
    return value


def etag_of(path: Path, claimed: str, etags: str = "content") -> str:
    """The etag of the bytes in ``path``, which may differ from the event's.

    The object may have changed since the event, and only the downloaded bytes count. If the
    claimed etag fits these bytes (as an MD5, or an MD5 of parts), it is returned, else their MD5.
    """
    if etags == "opaque" and claimed:
        return claimed
    with path.open("rb") as stream:
        whole = hashlib.md5(usedforsecurity=False)
        for block in _blocks(stream, 2**62):
            whole.update(block)
        size = stream.tell()
        multipart = _MULTIPART.fullmatch(claimed)
        if multipart:
            parts = int(multipart["parts"])
            for mib in _PART_MIB:
                length = mib * 2**20
                if max(1, -(-size // length)) == parts:
                    stream.seek(0)
                    if _multipart_etag(stream, length, parts) == claimed:
                        return claimed
    return whole.hexdigest()


def _multipart_etag(stream: BinaryIO, length: int, parts: int) -> str:
    digests = b""
    for _ in range(parts):
        part = hashlib.md5(usedforsecurity=False)
        for block in _blocks(stream, length):
            part.update(block)
        digests += part.digest()
    return f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{parts}"


def _blocks(stream: BinaryIO, count: int) -> Iterator[bytes]:
    while count > 0 and (block := stream.read(min(count, _READ))):
        count -= len(block)
        yield block
