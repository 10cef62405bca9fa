"""Zip files of pictures and tables, begun anew at EcoTaxa's limits, named when all are whole."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path

from pi10_classifier.errors import output_error

MOST_TABLES = 2000  # EcoTaxa imports no bundle with more
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same objects are the same bytes
_MODE = 0o644 << 16
_UNIX = 3
# beside a picture: its line, compressed, and its name twice in the zip
_BESIDE = 500


@dataclass(slots=True)
class _Bundle:
    temporary: Path
    archive: zipfile.ZipFile
    bytes: int = 0
    open_tables: set[str] = field(default_factory=set)
    tables: int = 0


class Bundles:
    """Bundles in the making. All get their names in ``publish``; before, nothing bears them."""

    def __init__(self, out: Path, most_bytes: int) -> None:
        self.out = out
        self._most_bytes = most_bytes
        self._bundles: list[_Bundle] = []

    def __enter__(self) -> Bundles:
        return self

    def __exit__(self, *_: object) -> None:
        for bundle in self._bundles:
            # closing writes the directory, for which a full disk may have no room
            with suppress(OSError, ValueError):
                bundle.archive.close()
            with suppress(OSError):
                bundle.temporary.unlink(missing_ok=True)

    def add_picture(self, table: str, name: str, png: bytes) -> int:
        """Add a picture of a table's object; returns the number of its bundle."""
        if not self._bundles or self._is_full(table, len(png)):
            self._begin()
        bundle = self._bundles[-1]
        if table not in bundle.open_tables:
            bundle.open_tables.add(table)
            bundle.tables += 1
        bundle.archive.writestr(_entry(name, zipfile.ZIP_STORED), png)
        bundle.bytes += len(png) + _BESIDE
        return len(self._bundles) - 1

    def add_table(self, number: int, table: str, name: str, lines: Iterable[str]) -> None:
        """Add a table to a bundle, and close the bundle where it was the last one."""
        bundle = self._bundles[number]
        info = _entry(name, zipfile.ZIP_DEFLATED)
        # EcoTaxa reads Latin-1 where the mark at the beginning is missing
        with bundle.archive.open(info, "w", force_zip64=True) as stream:
            stream.write(b"\xef\xbb\xbf")
            block: list[str] = []
            for line in lines:
                block.append(line)
                if len(block) == 1000:
                    stream.write("".join(block).encode())
                    block.clear()
            stream.write("".join(block).encode())
        bundle.open_tables.discard(table)
        if not bundle.open_tables and number != len(self._bundles) - 1:
            bundle.archive.close()

    def publish(self) -> list[Path]:
        """Give the bundles their names: ``out``, or numbered where there are several.

        Raises OutputError.
        """
        paths = [self.out]
        if len(self._bundles) > 1:
            paths = [numbered(self.out, place) for place in range(1, len(self._bundles) + 1)]
        try:
            for bundle in self._bundles:
                bundle.archive.close()
                with bundle.temporary.open("rb+") as stream:
                    os.fsync(stream.fileno())
            for bundle, path in zip(self._bundles, paths, strict=True):
                bundle.temporary.replace(path)
        except OSError as error:
            raise output_error(error, self.out) from error
        return paths

    def _is_full(self, table: str, size: int) -> bool:
        bundle = self._bundles[-1]
        if bundle.tables == MOST_TABLES and table not in bundle.open_tables:
            return True
        return bundle.bytes > 0 and bundle.bytes + size + _BESIDE > self._most_bytes

    def _begin(self) -> None:
        number = len(self._bundles) + 1
        if self._bundles and not self._bundles[-1].open_tables:
            self._bundles[-1].archive.close()
        temporary = self.out.with_name(f".{self.out.name[:150]}.{number}.{os.getpid()}.tmp")
        self._bundles.append(_Bundle(temporary, zipfile.ZipFile(temporary, "w")))


def numbered(out: Path, number: int) -> Path:
    """``BUNDLE-2.zip`` of ``BUNDLE.zip``."""
    return out.with_name(f"{out.stem}-{number}{out.suffix}")


def _entry(name: str, compression: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.external_attr = _MODE
    info.create_system = _UNIX
    info.compress_type = compression
    return info


def earlier(out: Path, written: Sequence[Path]) -> list[Path]:
    """Files that bear the name of a bundle of ``out`` but are none of those written."""
    numbers = out.parent.glob(f"{escape(out.stem)}-*{escape(out.suffix)}")
    others = [out, *sorted(path for path in numbers if path.stem[len(out.stem) + 1 :].isdigit())]
    return [path for path in others if path.is_file() and path not in written]
