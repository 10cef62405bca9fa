"""Failure codes, failure records and the exceptions that carry them.

The codes are part of the interface: they appear in ``failures.csv``, in ``run.json`` and in
the answers of the API. They are never renamed.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from enum import IntEnum, StrEnum


class ExitCode(IntEnum):
    """The exit code that the command ``pi10`` returns to the shell."""

    OK = 0
    USAGE = 2
    SOME_FAILED = 3
    NOTHING_READ = 4
    NOT_WRITTEN = 5
    INTERRUPTED = 130


class Code(StrEnum):
    """Why one input has no result, or why a run could not start."""

    EMPTY_OBJECT = "empty_object"
    CORRUPT_IMAGE = "corrupt_image"
    UNSUPPORTED_FORMAT = "unsupported_format"
    UNSUPPORTED_MODE = "unsupported_mode"
    TOO_LARGE = "too_large"
    DECOMPRESSION_BOMB = "decompression_bomb"
    MULTI_PAGE = "multi_page"
    OBJECT_GONE = "object_gone"
    OBJECT_UNREADABLE = "object_unreadable"
    ARCHIVE_CORRUPT = "archive_corrupt"
    ARCHIVE_UNSAFE = "archive_unsafe"
    ARCHIVE_LIMIT = "archive_limit"
    STORAGE_UNAVAILABLE = "storage_unavailable"
    DISK_FULL = "disk_full"
    BAD_SIDECAR = "bad_sidecar"
    MODEL_MISMATCH = "model_mismatch"
    BAD_SETTING = "bad_setting"
    UNKNOWN_LABEL = "unknown_label"
    LABEL_LEFT_OUT = "label_left_out"
    NO_CLASS = "no_class"
    MISLABELLED = "mislabelled"
    REPEATED_NAME = "repeated_name"
    DUPLICATE = "duplicate"
    NO_PROFILE = "no_profile"
    BAD_PROFILE = "bad_profile"
    SET_ASIDE = "set_aside"
    INTERNAL = "internal"

    @property
    def retryable(self) -> bool:
        """True where the same, unchanged input may succeed on a later try."""
        return self in _RETRYABLE

    @property
    def meaning(self) -> str:
        """One sentence: what was wrong, and what to do about it."""
        return _MEANING[self]


_RETRYABLE = frozenset(
    {Code.OBJECT_UNREADABLE, Code.STORAGE_UNAVAILABLE, Code.DISK_FULL, Code.INTERNAL}
)

_MEANING = {
    Code.EMPTY_OBJECT: "The file holds no bytes; fetch it again from its origin.",
    Code.CORRUPT_IMAGE: "The image is cut or damaged; fetch it again from its origin.",
    Code.UNSUPPORTED_FORMAT: "The format is not one that is decoded; convert to TIFF, PNG or JPEG.",
    Code.UNSUPPORTED_MODE: "The pixel type has no documented conversion to 8-bit RGB; convert it.",
    Code.TOO_LARGE: "The file exceeds a size cap; raise the cap if the file is genuine.",
    Code.DECOMPRESSION_BOMB: "The image expands beyond all proportion to its file; not decoded.",
    Code.MULTI_PAGE: "The file has several pages; the first was used (a flag, not a failure).",
    Code.OBJECT_GONE: "The object was deleted before it was read.",
    Code.OBJECT_UNREADABLE: "The file could not be opened; check its permissions and run again.",
    Code.ARCHIVE_CORRUPT: "The archive is cut or damaged; its intact members have results.",
    Code.ARCHIVE_UNSAFE: "The member is a link, a device or encrypted; it was not read.",
    Code.ARCHIVE_LIMIT: "The archive exceeds a cap on members, bytes, ratio or nesting.",
    Code.STORAGE_UNAVAILABLE: "The storage did not answer in time; run again with --resume.",
    Code.DISK_FULL: "The output disk is full; free space and run again with --resume.",
    Code.BAD_SIDECAR: "HitsMisses.txt cannot be read, so densities stay empty; correct the file.",
    Code.MODEL_MISMATCH: "The model package does not match its own description; reinstall it.",
    Code.BAD_SETTING: "An option or setting has an unusable value; correct it.",
    Code.UNKNOWN_LABEL: "The label map names no class for the label; add a line for it, or '-'.",
    Code.LABEL_LEFT_OUT: "The label map leaves images of this label out of training, as asked.",
    Code.NO_CLASS: "People labelled the particle as of no class; a label map can give it one.",
    Code.MISLABELLED: "The same image is labelled with two classes; keep the right one.",
    Code.REPEATED_NAME: "The source holds the file twice; the last complete copy was used.",
    Code.DUPLICATE: "The same bytes have this label twice; only the first was used.",
    Code.NO_PROFILE: "The table of profiles has no row for this particle; add it, or leave it out.",
    Code.BAD_PROFILE: "The particle's profile cannot be used; correct its row of the table.",
    Code.SET_ASIDE: "Each try ended without a record; check the object, then run retry-failed.",
    Code.INTERNAL: "A defect of this program; please report it with the member's name.",
}


@dataclass(frozen=True, slots=True)
class Failure:
    """One input without a result: a row of ``failures.csv``.

    ``source`` is the input or archive. ``member`` is the name inside it; it is empty where the
    source itself failed.
    """

    source: str
    member: str
    code: Code
    message: str

    @property
    def retryable(self) -> bool:
        return self.code.retryable


class Pi10Error(Exception):
    """Base of all expected errors: a code, and a message that tells the user what to do."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle without calling ``__init__``: subclasses take other arguments."""
        return _restore, (type(self), self.args, self.__dict__)


def _restore(kind: type[Pi10Error], args: tuple[object, ...], state: dict[str, object]) -> object:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class InputError(Pi10Error):
    """One input cannot be used; the run records a failure and continues."""


class SettingError(Pi10Error):
    """An option, environment variable or output folder is unusable: exit 2."""

    def __init__(self, message: str) -> None:
        super().__init__(Code.BAD_SETTING, message)


class ModelError(Pi10Error):
    """The model package cannot be trusted or does not fit: exit 2."""

    def __init__(self, message: str) -> None:
        super().__init__(Code.MODEL_MISMATCH, message)


class OutputError(Pi10Error):
    """Results cannot be written; the run stops and can be resumed."""


def output_error(error: OSError, path: object, option: str = "--out") -> OutputError:
    """Translate an OSError met while writing ``path``. option: what named the path, if any did."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(
            Code.DISK_FULL,
            f"no space left while writing {path}; free space, then run again "
            "(classify and train: with --resume)",
        )
    remedy = "check the disk"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        choose = f"choose another {option}, or " if option else ""
        remedy = f"{choose}get write permission for it"
    if error.errno == errno.ENOENT:
        remedy = "its folder is not there: put it back, or create it"
    return OutputError(
        Code.STORAGE_UNAVAILABLE, f"cannot write {path}: {error.strerror or error}; {remedy}"
    )
