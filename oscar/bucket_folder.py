"""A folder of a bucket, as FDL files name it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BucketFolder:
    """A bucket and a folder in it, as OSCAR understands an input's or output's path."""

    bucket: str
    folder: str

    @property
    def prefix(self) -> str:
        """What the keys of its objects begin with."""
        return f"{self.folder}/" if self.folder else ""

    def holds(self, other: BucketFolder) -> bool:
        """True where ``other`` is this place or lies in it."""
        return self.bucket == other.bucket and other.prefix.startswith(self.prefix)

    @classmethod
    def of(cls, path: str, service: str) -> BucketFolder:
        """A path without a slash is a folder of the service's own bucket."""
        parts = [part for part in path.split("/") if part]
        if len(parts) < 2:
            return cls(service, parts[0] if parts else "")
        return cls(parts[0], "/".join(parts[1:]))
