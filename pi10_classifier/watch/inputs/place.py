"""Which kind of place is watched: a folder or a bucket."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pi10_classifier.errors import SettingError
from pi10_classifier.inference.settings import Settings
from pi10_classifier.watch.inputs.base import WatchedInput
from pi10_classifier.watch.inputs.folder import FolderPlace


def place_of(source: str, settings: Settings, environ: Mapping[str, str]) -> WatchedInput:
    """The bucket or folder to watch. Raises SettingError where ``source`` is neither."""
    if source.startswith("s3://"):
        # imported late: the S3 client's import takes longer than classifying a first image
        from pi10_classifier.watch.inputs.bucket import BucketPlace

        return BucketPlace(source, settings.limits, environ)
    if "://" in source or not source.strip():
        raise SettingError(f"{source!r} cannot be watched; name a folder, or s3://bucket/prefix")
    return FolderPlace(Path(source), settings.limits)
