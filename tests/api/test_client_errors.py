"""What clients are told of errors: their own to mend, and never where things lie on the server."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import support

from pi10_classifier.api.client_errors import message_of, status_of, without_paths
from pi10_classifier.api.predictions import handler as predictions
from pi10_classifier.api.predictions.handler import predict
from pi10_classifier.api.predictions.uploads import Spooled
from pi10_classifier.errors import InputError, ModelError, output_error


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("/opt/models/big: model.json cannot be read", "big: model.json cannot be read"),
        ("cannot write /tmp/a-b/x.parquet: no", "cannot write x.parquet: no"),
        ("'/data/in' is no folder", "'in' is no folder"),
        ("RawImages/pia7.tif: 0 bytes", "RawImages/pia7.tif: 0 bytes"),
        ("see https://example.org/a/b", "see https://example.org/a/b"),
    ],
)
def test_paths_are_cut_to_their_last_part(said: str, told: str) -> None:
    assert without_paths(said) == told
    assert message_of(ModelError(said)) == told


def test_what_cannot_be_written_names_neither_path_nor_option() -> None:
    for number in (errno.ENOSPC, errno.EROFS, errno.EFBIG):
        found = output_error(OSError(number, os.strerror(number)), "/tmp/pi10/run/x.parquet")
        assert "/" not in message_of(found)
        assert "--" not in message_of(found)


def test_a_client_can_mend_what_has_no_other_status() -> None:
    assert status_of("corrupt_image") == status_of("a_code_of_the_future") == 422


@pytest.mark.parametrize("accept", ["application/zip", "text/html", "application/json"])
def test_a_disk_that_is_full_is_507(
    spooled: Callable[..., Spooled], monkeypatch: pytest.MonkeyPatch, package: Path,
    tmp_path: Path, accept: str,
) -> None:  # fmt: skip
    def full(*args: object, **kwargs: object) -> None:
        error = OSError(errno.ENOSPC, "No space left on device", str(tmp_path))
        raise output_error(error, tmp_path / "run")

    monkeypatch.setattr(predictions, "classify_units", full)
    monkeypatch.setattr(predictions, "classify_items", full)
    answer = predict(
        {"PI10_MODELS_DIR": str(package.parent)}, data=spooled(a__tif=support.particle(1)),
        model="tiny", accept=accept,
    )  # fmt: skip
    assert status_of(answer["error"]["code"]) == 507
    assert str(tmp_path) not in str(answer)
    assert "--resume" not in str(answer)


def test_an_input_error_says_what_it_said() -> None:
    from pi10_classifier.errors import Code

    assert message_of(InputError(Code.CORRUPT_IMAGE, "cut after 12 bytes")) == "cut after 12 bytes"
