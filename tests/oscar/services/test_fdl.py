"""The FDL files deploy; what would not, or would harm, is refused before it exists."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from pi10_classifier.errors import SettingError
from pi10_classifier.oscar.bucket_folder import BucketFolder
from pi10_classifier.oscar.services.fdl import (
    SERVICES,
    Service,
    folder,
    named,
    quantity,
    read_fdl,
    schema,
    takes_lists,
)
from pi10_classifier.oscar.services.variants import in_bucket, on_cluster, on_gpu, with_settings


def events(**fields: Any) -> Service:
    return named("pi10-events").changed(**fields)


def storage(path: str, **more: Any) -> list[dict[str, Any]]:
    return [{"storage_provider": "minio.default", "path": path, **more}]


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_is_valid_by_the_schema(name: str) -> None:
    said = yaml.safe_load((folder() / f"{name}.yaml").read_text("utf-8"))
    jsonschema.validate(said, schema(), jsonschema.Draft202012Validator)
    assert named(name).name == name


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize("script", sorted(folder().glob("*.sh")), ids=lambda path: path.name)
def test_scripts_are_posix(script: Path) -> None:
    subprocess.run(["/bin/sh", "-n", script], check=True)
    assert script.read_text("utf-8").startswith("#!/bin/sh\n")


def test_the_cron_job_names_the_service_and_its_places() -> None:
    said = yaml.safe_load((folder() / "reconcile-cronjob.yaml").read_text("utf-8"))
    [container] = said["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    service = named("pi10-events")
    [source], [target] = service.inputs, service.outputs
    assert container["args"] == [
        f"s3://{source.bucket}/{source.prefix}", "--out", f"s3://{target.bucket}/{target.prefix}",
        "--service", service.name, "--scheduled",
    ]  # fmt: skip
    [model] = (e["value"] for e in container["env"] if e["name"] == "PI10_MODEL")
    assert model == service.variables["PI10_MODEL"]
    assert container["image"] == service.fdl["image"]


@pytest.mark.parametrize(
    ("source", "target", "refused"),
    [
        ("pi10/in", "pi10/in", True),
        ("pi10/in", "pi10/in/out", True),
        ("pi10/in", "/pi10//in/out/".strip("/"), True),
        ("pi10/in", "pi10/in-out", False),
        ("pi10/in/cruise", "pi10/in", False),
        ("pi10/in", "other/in/out", False),
        ("inbox", "inbox/out", False),  # folder inbox of bucket pi10-events; bucket inbox
        ("in", "pi10-events/in/out", True),
    ],
)
def test_a_service_that_would_start_itself_is_refused(
    source: str, target: str, refused: bool
) -> None:
    if refused:
        with pytest.raises(SettingError, match="each result would start the service again"):
            events(input=storage(source), output=storage(target))
    else:
        events(input=storage(source), output=storage(target))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "x" * 40}, "too long"),
        ({"name": "Pi10"}, "does not match"),
        ({"image": None}, "'image' is a required property"),
        ({"cpu": 2.0}, "is not of type 'string'"),
        ({"cpu": "two"}, "does not match"),
        ({"cpu": "0"}, "more than 0"),
        ({"memory": "256Mi"}, "at least 512Mi"),
        ({"total_memory": "1Gi"}, "but one job needs '2Gi'"),
        ({"script": ""}, "non-empty"),
        ({"entrypoint": "x"}, "'entrypoint' was unexpected"),
        ({"output": None}, "its results would be lost"),
        ({"file_stage_in": True}, "NOT downloaded"),
        ({"output": storage("pi10/out", suffix=["csv"])}, "prevent the upload of records"),
        ({"input": storage("/pi10/in")}, "does not match"),
        ({"input": storage("PI/in")}, "is not a bucket name"),
        ({"expose": {"api_port": 5000, "min_scale": 1, "max_scale": 2}}, "cpu_threshold"),
        ({"expose": {"api_port": 0, "min_scale": 1, "max_scale": 2, "cpu_threshold": 80}}, "0"),
        ({"synchronous": {"min_scale": 5, "max_scale": 2}}, "but max_scale is only 2"),
        ({"visibility": "restricted"}, "allowed_users is empty"),
        ({"environment": {"variables": {"PI10_JOBS": "8"}}}, "but cpu is only '2.0'"),
        ({"environment": {"variables": {"PI10_JOBS": 8}}}, "is not of type 'string'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_wrong_service_is_refused_with_the_value_met(
    fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingError) as caught:
        events(**fields)
    assert message in caught.value.message


def test_ports_are_what_the_version_wants() -> None:
    api = named("pi10-api")
    assert api.to_api("3.6.1")["expose"]["api_port"] == 5000
    assert api.to_api("v4.0.2")["expose"]["api_port"] == 5000
    assert api.to_api("4.1.0-rc1")["expose"]["api_port"] == [5000]
    two = api.changed(expose={**api.fdl["expose"], "api_port": [5000, 9090]})
    assert two.to_api("5.0.0")["expose"]["api_port"] == [5000, 9090]
    with pytest.raises(SettingError, match="takes only one port"):
        two.to_api("4.0")


@pytest.mark.parametrize("text", ["", "latest", "devel"])
def test_an_unknown_version_is_refused(text: str) -> None:
    with pytest.raises(SettingError, match="must look like"):
        takes_lists(text)


def test_the_api_gets_the_scripts_text_and_cpu_as_text() -> None:
    said = on_cluster(events(), "mine").to_api("3.6")
    assert said["script"] == (folder() / "script.sh").read_text("utf-8")
    assert said["cpu"] == "2.0"
    assert said["cluster_id"] == "mine"


def test_a_gpu_is_a_parameter() -> None:
    cpu = named("pi10-events")
    gpu = on_gpu(cpu)
    assert gpu.fdl["enable_gpu"] is True
    assert gpu.variables == {**cpu.variables, "PI10_DEVICE": "cuda"}
    assert gpu.fdl["image"].endswith(":gpu")
    assert on_gpu(cpu.changed(image="host:5000/pi10")).fdl["image"] == "host:5000/pi10:gpu"
    assert on_gpu(cpu.changed(image="pi10:1.2")).fdl["image"] == "pi10:1.2-gpu"
    changed = {k for k in gpu.fdl if gpu.fdl[k] != cpu.fdl.get(k)}
    assert changed == {"enable_gpu", "image", "environment"}


def test_settings_and_buckets_are_parameters() -> None:
    service = with_settings(events(), ["cpu=8", "PI10_JOBS=8", "name=pi10-cruise"])
    assert (service.name, service.fdl["cpu"], service.variables["PI10_JOBS"]) == (
        "pi10-cruise", "8", "8",
    )  # fmt: skip
    assert in_bucket(service, "rapid").inputs == (BucketFolder("rapid", "in"),)
    for wrong in ("cpu", "=3", "script=/etc/passwd"):
        with pytest.raises(SettingError, match="--set"):
            with_settings(events(), [wrong])
    with pytest.raises(SettingError, match="remove --bucket"):
        in_bucket(named("pi10-sync"), "rapid")


@pytest.mark.parametrize(
    ("text", "value"),
    [("250m", 0.25), ("2.0", 2), ("512Mi", 2**29), ("1Gi", 2**30), ("1G", 1e9), ("1k", 1e3)],
)
def test_quantities(text: str, value: float) -> None:
    assert quantity(text) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 1", "is not of type 'object'"),
        ("a: [", "is not YAML"),
        ("functions: {oscar: []}", "non-empty"),
        ("functions: {oscar: [{c: {name: a, image: b, script: none.sh}}]}", "cannot be read"),
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "fdl.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(SettingError, match=message):
        read_fdl(path)


def test_an_unknown_name_lists_the_services() -> None:
    with pytest.raises(SettingError, match="pi10-events, pi10-sync, pi10-api"):
        named("pi10-evnts")


def test_a_batch_service_mounts_a_bucket_and_has_no_input() -> None:
    service = named("pi10-batch")
    assert (service.mount, service.inputs, service.outputs) == (BucketFolder("pi10", ""), (), ())
    other = in_bucket(service, "rapid")
    assert other.mount == BucketFolder("rapid", "")
    assert other.variables["PI10_BATCH_INDEX"] == "/mnt/rapid/index.txt"
    folder_of_one = service.changed(mount={**service.fdl["mount"], "path": "/pi10/rapid"})
    assert folder_of_one.mount == BucketFolder("pi10", "rapid")
    assert in_bucket(folder_of_one, "b22").fdl["mount"]["path"] == "b22/rapid"
    gpu = on_gpu(service)
    assert gpu.fdl["enable_gpu"] and gpu.variables["PI10_DEVICE"] == "cuda"
    with pytest.raises(SettingError, match="names no bucket"):
        service.changed(mount={**service.fdl["mount"], "path": "/"})
