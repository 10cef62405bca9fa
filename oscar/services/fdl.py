"""Reads FDL files, checks them, and adapts them to a cluster's version."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

from pi10_classifier.errors import SettingError
from pi10_classifier.oscar.bucket_folder import BucketFolder

SERVICES = ("pi10-events", "pi10-sync", "pi10-api", "pi10-batch", "pi10-retrain")
_VERSION = re.compile(r"v?(?P<major>[0-9]+)(?:\.(?P<minor>[0-9]+))?.*")
_UNITS = {"": 1, "m": 1e-3, "k": 1e3, "Ki": 2**10, "M": 1e6, "Mi": 2**20,
          "G": 1e9, "Gi": 2**30, "T": 1e12, "Ti": 2**40}  # fmt: skip
# the least memory for the model, its runtime and one chunk of images
_LEAST_MEMORY = 512 * 2**20
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


def folder() -> Path:
    """The folder of the package's own FDL files and scripts."""
    return Path(str(resources.files("pi10_classifier.oscar.services")))


def quantity(text: str) -> float:
    """A Kubernetes quantity as a number: ``250m`` is 0.25, ``1Gi`` is 1073741824."""
    number = text.rstrip("mkKMGTi")
    return float(number) * _UNITS[text[len(number) :]]


@dataclass(frozen=True, slots=True)
class Service:
    """One checked service of an FDL file; ``script`` is the text of its script."""

    cluster: str
    fdl: Mapping[str, Any]
    script: str

    @property
    def name(self) -> str:
        return str(self.fdl["name"])

    @property
    def inputs(self) -> tuple[BucketFolder, ...]:
        return tuple(BucketFolder.of(e["path"], self.name) for e in self.fdl.get("input", ()))

    @property
    def outputs(self) -> tuple[BucketFolder, ...]:
        return tuple(BucketFolder.of(e["path"], self.name) for e in self.fdl.get("output", ()))

    @property
    def mount(self) -> BucketFolder | None:
        """The bucket, or the folder of one, that its jobs see as ``/mnt/<path>``."""
        fdl = self.fdl.get("mount")
        if not fdl:
            return None
        bucket, _, folder = str(fdl["path"]).strip("/").partition("/")
        return BucketFolder(bucket, folder)

    @property
    def variables(self) -> dict[str, str]:
        return dict(self.fdl.get("environment", {}).get("variables", {}))

    def changed(self, **fields: Any) -> Service:
        """The service with some keys replaced; None removes a key. Raises SettingError."""
        fdl = {key: value for key, value in {**self.fdl, **fields}.items() if value is not None}
        return checked(replace(self, fdl=fdl))

    def to_api(self, version: str) -> dict[str, Any]:
        """The JSON for the API of OSCAR ``version``."""
        fdl: dict[str, Any] = deepcopy(dict(self.fdl))
        fdl["script"] = self.script
        fdl["cluster_id"] = self.cluster
        expose = fdl.get("expose", {})
        lists = takes_lists(version)
        for key in ("api_port", "nodePort"):
            if key in expose:
                expose[key] = _ports(expose[key], lists, key, version)
        return fdl


def takes_lists(version: str) -> bool:
    """True if ``api_port`` and ``nodePort`` are lists: from OSCAR 4.1 on.

    Raises SettingError if the version cannot be read.
    """
    match = _VERSION.fullmatch(version.strip())
    if not match:
        raise SettingError(f"OSCAR's version is {version!r}; it must look like 3.6.1 or v4.1.0")
    return (int(match["major"]), int(match["minor"] or 0)) >= (4, 1)


def _ports(fdl: int | list[int], lists: bool, key: str, version: str) -> int | list[int]:
    ports = fdl if isinstance(fdl, list) else [fdl]
    if lists:
        return ports
    if len(ports) > 1:
        raise SettingError(
            f"{key} is {ports}, but OSCAR {version} takes only one port; give one, or update OSCAR "
            "to 4.1"
        )
    return ports[0]


def read_fdl(path: Path) -> list[Service]:
    """The services of an FDL file, with the texts of their scripts. Raises SettingError."""
    import yaml

    try:
        fdl = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"FDL {path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise SettingError(f"FDL {path} is not YAML: {error}") from error
    _validate(fdl, path)
    services = []
    for entry in fdl["functions"]["oscar"]:
        [(cluster, service)] = entry.items()
        script = path.parent / service["script"]
        try:
            text = script.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingError(f"{path}: script {script} cannot be read: {error}") from error
        services.append(checked(Service(cluster, service, text)))
    return services


def named(name: str) -> Service:
    """One of the package's own services, or the only service in the FDL file at that path."""
    path = folder() / f"{name}.yaml" if name in SERVICES else Path(name)
    if not path.is_file():
        raise SettingError(f"no service {name!r}: give an FDL file or one of {', '.join(SERVICES)}")
    services = read_fdl(path)
    if len(services) > 1:
        raise SettingError(f"{path} holds {len(services)} services; give a file with one")
    return services[0]


def schema() -> dict[str, Any]:
    """The JSON schema of FDL files."""
    text = (resources.files("pi10_classifier.oscar.services") / "fdl.schema.json").read_text(
        "utf-8"
    )
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def _validate(fdl: Any, where: object) -> None:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    error = best_match(Draft202012Validator(schema()).iter_errors(fdl))
    if error is not None:
        at = "/".join(str(step) for step in error.absolute_path) or "the whole file"
        raise SettingError(f"{where}: {at}: {error.message}")


def checked(service: Service) -> Service:
    """Return the service if it is valid; otherwise raise SettingError with all problems."""
    _validate(
        {"functions": {"oscar": [{service.cluster: dict(service.fdl)}]}},
        f"service {service.fdl.get('name', '?')!r}",
    )
    problems = list(_problems(service))
    if problems:
        raise SettingError(f"service {service.name!r}: {'; '.join(problems)}")
    return service


def _problems(service: Service) -> Iterator[str]:
    fdl = service.fdl
    for place in service.inputs:
        for result in service.outputs:
            if place.holds(result):
                yield (
                    f"output {result.bucket}/{result.folder} is inside input "
                    f"{place.bucket}/{place.folder}, so each result would start the service "
                    "again; give the output its own folder"
                )
    for place in (*service.inputs, *service.outputs):
        if not _BUCKET.fullmatch(place.bucket):
            yield f"bucket {place.bucket!r} is not a bucket name; use 3 to 63 of a-z, 0-9, . and -"
    if service.mount and not _BUCKET.fullmatch(service.mount.bucket):
        yield f"mount {fdl['mount']['path']!r} names no bucket; write bucket or bucket/folder"
    for place in service.inputs:
        if not place.folder:
            yield f"input {place.bucket!r} has no folder; write {place.bucket}/in"
    if service.inputs and not service.outputs:
        yield "it has an input but no output, so its results would be lost; add an output"
    if service.inputs and fdl.get("file_stage_in"):
        yield "file_stage_in is true, which means that inputs are NOT downloaded; set it to false"
    if fdl.get("output") and any(e.get("suffix") or e.get("prefix") for e in fdl["output"]):
        yield "suffix and prefix of an output prevent the upload of records; remove them"
    cpu, memory = fdl.get("cpu", "0.2"), fdl.get("memory", "256Mi")
    if not 0 < quantity(cpu) <= 256:
        yield f"cpu is {cpu!r}; it must be more than 0 and at most 256"
    if quantity(memory) < _LEAST_MEMORY:
        yield f"memory is {memory!r}; the model needs at least 512Mi"
    for total, per_job in (("total_cpu", cpu), ("total_memory", memory)):
        if total in fdl and quantity(fdl[total]) < quantity(per_job):
            yield f"{total} is {fdl[total]!r}, but one job needs {per_job!r}; raise it"
    jobs = service.variables.get("PI10_JOBS", "")
    if jobs.isdigit() and int(jobs) > max(1, quantity(cpu)):
        yield f"PI10_JOBS is {jobs}, but cpu is only {cpu!r}; lower PI10_JOBS or raise cpu"
    for group in ("expose", "synchronous"):
        low, high = (fdl.get(group, {}).get(key, 0) for key in ("min_scale", "max_scale"))
        if high and low > high:
            yield f"{group}.min_scale is {low}, but max_scale is only {high}; lower min_scale"
    if fdl.get("visibility") == "restricted" and not fdl.get("allowed_users"):
        yield "visibility is restricted but allowed_users is empty; name the users"
    if len(service.script.encode()) > 900_000:
        yield (
            f"its script has {len(service.script):,} characters, but a ConfigMap holds only 1 MiB; "
            "shorten it"
        )
    if not service.script.startswith("#!") or "\r" in service.script:
        yield "its script must begin with #! and have Unix line ends, because /bin/sh runs it"
