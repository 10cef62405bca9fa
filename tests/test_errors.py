"""Failure codes: stable, explained, and told apart by whether to try again."""

from __future__ import annotations

import errno
import pickle

import pytest

from pi10_classifier.errors import (
    Code,
    ExitCode,
    Failure,
    InputError,
    ModelError,
    OutputError,
    Pi10Error,
    SettingError,
    output_error,
)

# in files that users keep: a code may be added, none renamed or dropped
PUBLISHED = {
    "empty_object", "corrupt_image", "unsupported_format", "unsupported_mode", "too_large",
    "decompression_bomb", "multi_page", "object_gone", "object_unreadable", "archive_corrupt",
    "archive_unsafe", "archive_limit", "storage_unavailable", "disk_full", "bad_sidecar",
    "model_mismatch", "bad_setting", "internal",
}  # fmt: skip


def test_published_codes_stay() -> None:
    assert {code.value for code in Code} >= PUBLISHED


@pytest.mark.parametrize("code", Code)
def test_every_code_says_what_is_wrong(code: Code) -> None:
    assert code.meaning.endswith(".")
    assert len(code.meaning) > 20


def test_meanings_differ() -> None:
    assert len({code.meaning for code in Code}) == len(Code)


def test_what_may_succeed_later_is_retryable() -> None:
    assert {code.value for code in Code if code.retryable} == {
        "object_unreadable", "storage_unavailable", "disk_full", "internal",
    }  # fmt: skip
    assert Failure("a.tar", "x", Code.DISK_FULL, "").retryable
    assert not Failure("a.tar", "x", Code.CORRUPT_IMAGE, "").retryable


def test_exit_codes_are_those_of_the_help() -> None:
    assert {code.name: int(code) for code in ExitCode} == {
        "OK": 0, "USAGE": 2, "SOME_FAILED": 3, "NOTHING_READ": 4, "NOT_WRITTEN": 5,
        "INTERRUPTED": 130,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingError("x"), Code.BAD_SETTING),
        (ModelError("x"), Code.MODEL_MISMATCH),
        (InputError(Code.TOO_LARGE, "x"), Code.TOO_LARGE),
    ],
)
def test_one_tree_of_errors(error: Pi10Error, code: Code) -> None:
    assert isinstance(error, Pi10Error)
    assert (error.code, error.message, str(error)) == (code, "x", "x")


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, Code.DISK_FULL),
        (errno.EDQUOT, Code.DISK_FULL),
        (errno.EIO, Code.STORAGE_UNAVAILABLE),
        (errno.EACCES, Code.STORAGE_UNAVAILABLE),
    ],
)
def test_writing_fails_with_a_remedy(number: int, code: Code) -> None:
    error = output_error(OSError(number, "reason"), "part.parquet")
    assert isinstance(error, OutputError)
    assert error.code is code
    assert "part.parquet" in error.message
    assert ("--resume" in error.message) == (code is Code.DISK_FULL)


def test_writing_fails_without_a_number() -> None:
    assert "strange" in output_error(OSError("strange"), "x").message


class _Odd(ModelError):
    """Made from more than its message, as the int8 gate's refusal is."""

    def __init__(self, message: str, figures: dict[str, float]) -> None:
        super().__init__(message)
        self.figures = figures


@pytest.mark.parametrize(
    "error",
    [
        Pi10Error(Code.INTERNAL, "x"),
        InputError(Code.CORRUPT_IMAGE, "torn"),
        SettingError("no such model"),
        OutputError(Code.DISK_FULL, "full"),
        _Odd("refused", {"drop": 0.02}),
    ],
)
def test_an_error_comes_back_whole_from_another_process(error: Pi10Error) -> None:
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert back.__dict__ == error.__dict__
