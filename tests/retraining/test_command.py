"""`pi10 oscar retrain` and the script of the service."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import s3_server
from click.testing import CliRunner
from labelled_shapes import sorted_shapes, tar_of

from pi10_classifier.cli import pi10
from pi10_classifier.errors import SettingError
from pi10_classifier.oscar.bucket import Bucket
from pi10_classifier.oscar.records.supervisor_storage import folders_of
from pi10_classifier.oscar.services.fdl import folder, named
from pi10_classifier.oscar.services.variants import in_bucket, on_gpu, with_settings
from pi10_classifier.sources.s3_client import S3Client


def config(url: str, bucket: str) -> str:
    """faas-supervisor's configuration of a job of the service."""
    fdl = in_bucket(named("pi10-retrain"), bucket).fdl
    provider = {"endpoint": url, "verify": False, "access_key": s3_server.ACCESS_KEY,
                "secret_key": s3_server.SECRET_KEY, "region": "us-east-1"}  # fmt: skip
    fields = {
        "input": list(fdl["input"]), "output": list(fdl["output"]),
        "storage_providers": {"minio": {"default": provider}},
    }  # fmt: skip
    return base64.b64encode(json.dumps(fields).encode()).decode()


def test_the_script_of_the_service_answers_a_delivery(
    s3: s3_server.Server, package: Path, tmp_path: Path
) -> None:
    s3.client.make_bucket(bucket_name="retrain-script")
    store = S3Client(s3.environ())
    Bucket.of(store, "s3://retrain-script/in/").put("a.tar", tar_of(sorted_shapes(2)))
    environ = {
        "PATH": os.environ["PATH"], "HOME": str(tmp_path), "TMPDIR": str(tmp_path),
        "PI10_PYTHON": sys.executable, "PI10_MODEL": str(package), "PI10_RETRAIN_SETTLE_S": "0",
        "FUNCTION_CONFIG": config(s3.url, "retrain-script"),
    }  # fmt: skip
    done = subprocess.run(
        ["/bin/sh", str(folder() / "retrain.sh")], env=environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("waiting: each class of the model needs 60")
    out = Bucket.of(store, "s3://retrain-script/out/")
    [answer] = [json.loads(out.get(x.name)) for x in out.outputs("answers/")]
    assert (answer["key"], answer["status"]) == ("in/a.tar", "accepted")
    assert not list(tmp_path.glob("pi10-retrain-*")), "the job's folder is left behind"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["s3://b11/in/", "--out", "s3://b11/in/out/"], "lies in"),
        (["s3://b11/in/", "--out", "b11"], "not an address"),
        (["--event"], "names no input and output in S3"),
    ],
)
def test_wrong_folders_are_refused(
    words: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FUNCTION_CONFIG", raising=False)
    for name, value in (("ENDPOINT_URL", "http://127.0.0.1:9"), ("ACCESS_KEY_ID", "a"),
                        ("SECRET_ACCESS_KEY", "b")):  # fmt: skip
        monkeypatch.setenv(f"AWS_{name}", value)
    done = CliRunner().invoke(pi10, ["oscar", "retrain", *words])
    assert isinstance(done.exception, SettingError)
    assert said in done.exception.message


def test_a_store_that_is_not_s3_is_refused() -> None:
    fields = {"input": [{"storage_provider": "webdav.x", "path": "a/in"}], "output": []}
    environ = {"FUNCTION_CONFIG": base64.b64encode(json.dumps(fields).encode()).decode()}
    with pytest.raises(SettingError, match="webdav, which is not S3"):
        folders_of(environ)


def test_the_services_name_the_image_that_can_do_their_work() -> None:
    tags = {name: str(named(name).fdl["image"]).rpartition(":")[2] for name in
            ("pi10-api", "pi10-retrain", "pi10-events", "pi10-sync", "pi10-batch")}  # fmt: skip
    assert {name for name, tag in tags.items() if tag == "train"} == {"pi10-api", "pi10-retrain"}
    assert {on_gpu(named(name)).fdl["image"] for name in tags} == {"ai4oshub/pi10-classifier:gpu"}


def test_mlflow_is_set_on_the_service_but_for_its_secrets() -> None:
    service = with_settings(named("pi10-retrain"), ["MLFLOW_TRACKING_URI=https://m.example"])
    assert service.variables["MLFLOW_TRACKING_URI"] == "https://m.example"
    with pytest.raises(SettingError, match="MLFLOW_TRACKING_TOKEN: this key is unknown"):
        with_settings(named("pi10-retrain"), ["MLFLOW_TRACKING_TOKEN=x"])
