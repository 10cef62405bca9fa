"""Log lines: JSON, with the request's id, without the environment's secrets."""

from __future__ import annotations

import io
import json
import logging

import pytest
from aiohttp.http_exceptions import LineTooLong

from pi10_classifier.api.request_stats import CURRENT, RequestStats, request_id
from pi10_classifier.api.server import logs

SECRET = "s3cr3t-token"


@pytest.fixture
def log():
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    stream = io.StringIO()
    logs.configure("info", stream, {"MLFLOW_TRACKING_TOKEN": SECRET})
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers[:] = before
    root.setLevel(level)


def test_a_line_has_time_level_logger_message_and_extras(log):
    logging.getLogger("pi10.test").warning("hello %s", "you", extra={"images": 3})
    (line,) = log()
    assert line["time"].endswith("Z")
    del line["time"]
    assert line == {
        "level": "warning", "logger": "pi10.test", "message": "hello you", "images": 3,
    }  # fmt: skip


def test_lines_of_a_request_carry_its_id(log):
    token = CURRENT.set(RequestStats("abc-1"))
    logging.getLogger("pi10.test").info("inside")
    CURRENT.reset(token)
    logging.getLogger("pi10.test").info("outside")
    inside, outside = log()
    assert inside["request_id"] == "abc-1"
    assert "request_id" not in outside


def test_secrets_are_struck_out_of_messages_extras_and_tracebacks(log):
    logger = logging.getLogger("pi10.test")
    logger.info("token %s", SECRET, extra={"header": f"Bearer {SECRET}"})
    try:
        raise RuntimeError(SECRET)
    except RuntimeError:
        logger.exception("failed")
    assert SECRET not in json.dumps(log())
    assert "RuntimeError" in log()[1]["exception"]


def test_what_came_and_was_no_http_is_not_quoted(log):
    try:
        raise LineTooLong(b"/predict/?thresholds=0.7", "8190")
    except LineTooLong:
        logging.getLogger("aiohttp.server").exception("Error handling request")
    assert log()[0]["exception"] == "LineTooLong"
    assert "thresholds" not in json.dumps(log())


def test_a_line_break_forges_no_second_line(log):
    logging.getLogger("pi10.test").info('a\n{"level": "error"}')
    assert len(log()) == 1


@pytest.mark.parametrize("given", ["abc", "a.b_c-1:2/3+4=@", "x" * 128])
def test_a_plain_id_is_taken_over(given):
    assert request_id(given) == given


@pytest.mark.parametrize("given", [None, "", "x" * 129, "a b", 'a"b', "a\nb", "-a", "é"])
def test_another_is_replaced(given):
    made = request_id(given)
    assert made != given
    assert len(made) == 32
