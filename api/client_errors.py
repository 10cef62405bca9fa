"""Turns exceptions into HTTP statuses and messages without server paths."""

from __future__ import annotations

import errno
import re
from http import HTTPStatus

from pi10_classifier.errors import Code, OutputError, Pi10Error, output_error

# all other codes are errors that the client can correct: 422
STATUS = {
    Code.DISK_FULL: HTTPStatus.INSUFFICIENT_STORAGE,
    Code.STORAGE_UNAVAILABLE: HTTPStatus.INSUFFICIENT_STORAGE,
    Code.MODEL_MISMATCH: HTTPStatus.SERVICE_UNAVAILABLE,
    Code.INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
}
FULL = "the service's disk is full; try again later, send less at once, or tell the operator"
UNWRITABLE = "the service cannot write to its disk; try again later, or tell the operator"
_PATH = re.compile(r"(?<![\w./:])/(?:[^\s/:;,'\"]+/)*([^\s/:;,'\"]+)/?")


def status_of(code: str) -> int:
    """The HTTP status of an answer whose only content is an error with this code."""
    return STATUS.get(Code(code), HTTPStatus.UNPROCESSABLE_ENTITY) if code in set(Code) else 422


def message_of(error: Pi10Error) -> str:
    """An error's message for a client. Of write errors, a client learns no details."""
    if isinstance(error, OutputError):
        return FULL if error.code == Code.DISK_FULL else UNWRITABLE
    return without_paths(error.message)


def without_paths(text: str) -> str:
    """``text`` with each absolute path in it cut down to its last part."""
    return _PATH.sub(r"\1", text)


def unstored(error: OSError) -> OutputError:
    """Turn an OSError into the error for a client whose upload or answer was not written."""
    problem = output_error(error, "the upload")
    return OutputError(problem.code, message_of(problem))


def is_full(error: OSError) -> bool:
    """Whether the cause is a full disk, a quota or a file size limit."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
