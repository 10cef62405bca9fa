"""A folder of a bucket, in the notation of FDL files."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BucketFolder:
    """A bucket and a folder in it: OSCAR's reading of the path of an input or output."""

    bucket: str
    folder: str

    @property
    def prefix(self) -> str:
        """The prefix of its objects' keys."""
        return f"{self.folder}/" if self.folder else ""

    def holds(self, other: BucketFolder) -> bool:
        """True if ``other`` is this folder or lies in it."""
        return self.bucket == other.bucket and other.prefix.startswith(self.prefix)

    @classmethod
    def of(cls, path: str, service: str) -> BucketFolder:
        """Read a path; one without a slash is a folder of the service's own bucket."""
        parts = [part for part in path.split("/") if part]
        if len(parts) < 2:
            return cls(service, parts[0] if parts else "")
        return cls(parts[0], "/".join(parts[1:]))
