"""An S3 server that lists and little else: a bucket of so many inputs, nearly all with records.

It serves real ListObjectsV2 pages over HTTP, made as they are asked for, so that a million keys
need no disk; it takes what `reconcile` writes and forgets it, and it is the job endpoint as well.
Signatures are not checked. `benchmarks.reconcile` starts it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from urllib.parse import parse_qs, quote, urlsplit

from pi10_classifier.oscar.records.naming import Ending, ObjectVersion, ResultName

BUCKET = "pi10"
A_FOLDER = 1000
_PAGE = 1000
_WHEN = "2026-01-01T00:00:00.000Z"


class Shelf:
    """The keys: number ``n`` has no record where ``n`` is a multiple of ``lost``, else one."""

    def __init__(self, count: int, lost: int, identity: str) -> None:
        self.count, self.lost, self.identity = count, lost, identity
        self.requests: Counter[str] = Counter()
        self.lock = Lock()

    def version(self, number: int) -> ObjectVersion:
        key = f"in/RAPID 2024/bin-{number // A_FOLDER:05}/pia1.{number:08}+N0001.tif"
        etag = hashlib.md5(b"%d" % number, usedforsecurity=False).hexdigest()
        return ObjectVersion(BUCKET, key, etag, 12_345)

    def record(self, number: int) -> str:
        """The name of its record; empty where it has none."""
        if number % self.lost == 0:
            return ""
        ending = Ending.FAILURE if number % 50 == 1 else Ending.RESULT
        return str(ResultName.of(self.version(number), self.identity, ending))

    def objects(self) -> Iterator[tuple[ObjectVersion, str]]:
        """All inputs, with the names of their records."""
        for number in range(self.count):
            yield self.version(number), self.record(number)

    def page(self, prefix: str, begin: int) -> bytes:
        """Keys from number ``begin`` on, at the most a thousand of them."""
        outputs = prefix.startswith("out/")
        entries = []
        number = begin
        while number < self.count and len(entries) < _PAGE:
            version = self.version(number)
            if not outputs:
                entries.append(_entry(version.key, version.etag, version.size))
            elif name := self.record(number):
                entries.append(_entry(f"out/{name}", version.etag, 900))
            number += 1
        more = number < self.count
        token = f"<NextContinuationToken>{number}</NextContinuationToken>" if more else ""
        return (
            '<?xml version="1.0" encoding="UTF-8"?>'
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>{BUCKET}</Name><Prefix>{quote(prefix)}</Prefix>"
            f"<KeyCount>{len(entries)}</KeyCount><MaxKeys>{_PAGE}</MaxKeys><Delimiter></Delimiter>"
            f"<IsTruncated>{'true' if more else 'false'}</IsTruncated>{token}"
            f"<EncodingType>url</EncodingType>{''.join(entries)}</ListBucketResult>"
        ).encode()


def _entry(key: str, etag: str, size: int) -> str:
    return (
        f"<Contents><Key>{quote(key)}</Key><LastModified>{_WHEN}</LastModified>"
        f"<ETag>&#34;{etag}&#34;</ETag><Size>{size}</Size>"
        "<Owner><ID>02d6</ID><DisplayName>minio</DisplayName></Owner>"
        "<StorageClass>STANDARD</StorageClass></Contents>"
    )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    shelf: Shelf

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path == "/counts":
            self._answer(json.dumps(self.shelf.requests).encode())
            return
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if parts.path.endswith(Ending.FAILURE):  # the few that a report tells by name
            self._count("gets")
            self._answer(b'{"failure": {"code": "corrupt_image"}}')
            return
        if asked.get("list-type") != "2":
            self._answer(b"", status=404)
            return
        self._count("pages")
        begin = int(asked.get("continuation-token", 0))
        self._answer(self.shelf.page(asked.get("prefix", ""), begin))

    def do_PUT(self) -> None:
        self._count("puts")
        self._drain()
        self._answer(b"")

    def do_POST(self) -> None:
        self._count("jobs")
        self._drain()
        self._answer(b"", status=201)

    def do_DELETE(self) -> None:
        self._count("deletes")
        self._answer(b"", status=204)

    def do_HEAD(self) -> None:
        self._answer(b"")

    def _count(self, what: str) -> None:
        with self.shelf.lock:
            self.shelf.requests[what] += 1

    def _drain(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, body: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"d41d8cd98f00b204e9800998ecf8427e"')
        self.send_header("Last-Modified", self.date_time_string())
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: requests are counted."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--lost", type=int, required=True)
    parser.add_argument("--identity", required=True)
    chosen = parser.parse_args()
    shelf = Shelf(chosen.count, chosen.lost, chosen.identity)
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), type("Handler", (_Handler,), {"shelf": shelf, "daemon_threads": True})
    )
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
