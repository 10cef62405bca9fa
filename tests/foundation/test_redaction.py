"""Secrets are struck out wherever they stand; what is none stays as it was."""

import json

import pytest

from pi10_classifier.errors import SettingError
from pi10_classifier.foundation.redaction import redacted, scrub, secrets_of
from pi10_classifier.tracking.sync import destination


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("GET http://anna:geheim99@lab.nl/api failed", "GET http://***@lab.nl/api failed"),
        ("postgresql://anna:ge@heim99@db:5432/mlflow", "postgresql://***@db:5432/mlflow"),
        ("https://geheim99@lab.nl", "https://***@lab.nl"),
        ("/a?run=7&access_token=geheim99&x=1", "/a?run=7&access_token=***&x=1"),
        ("/b?X-Amz-Signature=geheim99", "/b?X-Amz-Signature=***"),
        ("Authorization: Basic geheim99==", "Authorization: ***"),
        ("{'Authorization': 'Bearer geheim99'}", "{'Authorization': '***'}"),
        ('"x-api-key": "geheim99", "a": 1', '"x-api-key": "***", "a": 1'),
        ("sent Bearer geheim99.abc to it", "sent Bearer *** to it"),
        ("MLFLOW_TRACKING_TOKEN=geheim99 pi10 train", "MLFLOW_TRACKING_TOKEN=*** pi10 train"),
    ],
)
def test_what_looks_like_a_secret_needs_no_variable(text, left):
    assert scrub(text, ()) == left
    assert "geheim99" not in scrub({"deep": [text]}, ())["deep"][0]


@pytest.mark.parametrize(
    "text",
    [
        "http://lab.nl:5000/#/experiments/1", "s3://pi10/cruise/2024-06-24/", "anna@lab.nl",
        "sqlite:////home/anna/a@b/mlflow.db", "tokens: 197, key: copepod", "rate=0.001,epochs=10",
        '{"tokenizers": "0.22", "secretstorage": "3.3"}', "basic assumptions, a bearer of eggs",
        "pi10 train crops --set size=128", "seed-1/package/model.onnx?",
    ],
)  # fmt: skip
def test_what_is_none_stays(text):
    assert scrub(text, ()) == text


def test_values_of_the_environment():
    environ = {
        "HTTPS_PROXY": "http://anna:proxy%40word@proxy:3128",
        "MLFLOW_TRACKING_URI": "https://lone-token@lab.nl/?key=query-key",
        "AWS_SECRET_ACCESS_KEY": "aws-secret", "HF_TOKEN": "hf_abc", "DB_PASSWORD": "db-word",
        "TOKENIZERS_PARALLELISM": "false", "AWS_ACCESS_KEY_ID": "AKIA1234", "HOME": "/home/anna",
        "SHORT_TOKEN": "abc", "LESSOPEN": "|://[", "PWD": "/data/copepods",
    }  # fmt: skip
    secrets = secrets_of(environ)
    assert set(secrets) == {
        "proxy%40word", "proxy@word", "lone-token", "query-key", "aws-secret", "hf_abc", "db-word",
    }  # fmt: skip
    assert "word" not in scrub("it said proxy@word and proxy%40word", secrets)
    assert json.dumps(scrub({"argv": ["aws-secret"], "n": 3}, secrets)) == (
        '{"argv": ["***"], "n": 3}'
    )


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://anna:pw@lab.nl:5000/a?key=1#b", "http://lab.nl:5000/a"),
        ("sqlite:////home/a@b/mlflow.db", "sqlite:////home/a@b/mlflow.db"),
        ("anna:geheim99@lab.nl/a", "lab.nl/a"),
        ("databricks", "databricks"),
    ],
)
def test_an_address_is_shown_without_its_user(uri, shown):
    assert redacted(uri) == shown


def test_an_address_without_its_scheme_is_refused_without_its_password():
    with pytest.raises(SettingError, match=r"lab\.nl") as caught:
        destination({"MLFLOW_TRACKING_URI": "anna:geheim99@lab.nl:5000"})
    assert "geheim99" not in str(caught.value)
