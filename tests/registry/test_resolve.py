"""A registered model on a real MLflow server: fetched, verified, cached, used while it is away."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import support

from pi10_classifier.errors import ModelError, SettingError
from pi10_classifier.model.package import embedded, package_digest, read_package
from pi10_classifier.model.runtime import INT8
from pi10_classifier.registry.client import DIGEST_TAG, Registry
from pi10_classifier.registry.register import register
from pi10_classifier.registry.resolve import find, pinned, resolve
from pi10_classifier.registry.server import RegistryAwayError, RegistryRefusedError

pytestmark = pytest.mark.slow


def test_a_package_comes_back_as_it_was(registry, environ, name, package, other, server):
    from mlflow.models import Model

    first = register(registry, name, package, why="the first", by="ann")
    assert (first.version, first.tags["pi10.registered_by"]) == ("1", "ann")
    assert register(registry, name, package).version == "1", "the same bytes are one version"
    assert register(registry, name, other).version == "2"
    assert registry.with_alias(name, "candidate").version == "2"
    assert registry.with_alias(name, "champion") is None

    resolved = resolve(f"models:/{name}@candidate", environ)
    assert (resolved.version, resolved.away) == ("2", "")
    assert package_digest(resolved.folder) == package_digest(other) == resolved.digest
    assert read_package(resolved.folder)[0].version == "2.0"
    assert package_digest(find(f"models:/{name}/1", environ)) == package_digest(package)
    assert pinned(f"models:/{name}@candidate", environ) == f"models:/{name}/2"
    assert pinned("starter", environ) == "starter"
    assert [(v.version, v.aliases) for v in registry.versions(name)] == [
        ("2", ("candidate",)), ("1", ()),
    ]  # fmt: skip
    described = Model.load(str(server.stored(first, "MLmodel")))
    assert described.flavors["onnx"]["data"] == "model.onnx"
    assert described.run_id == first.run_id
    with pytest.raises(RegistryRefusedError, match=f"no models:/{name}/7; `pi10 models show"):
        find(f"models:/{name}/7", environ)
    with pytest.raises(RegistryRefusedError, match=f"no models:/{name}@champion; `pi10 models"):
        find(f"models:/{name}@champion", environ)


def test_without_the_server_the_last_version_is_used_and_said(
    relay, registry, environ, name, package, other, caplog
):
    """The relay stands for a registry that goes away and comes back at the same address."""
    ours = {**environ, "MLFLOW_TRACKING_URI": relay.url}
    reference = f"models:/{name}@candidate"
    register(registry, name, package)
    relay.away = True
    with pytest.raises(RegistryAwayError, match="not in the cache"):
        find(reference, ours)
    relay.away = False
    since = resolve(reference, ours).since
    relay.away = True
    assert package_digest(find(reference, ours)) == package_digest(package)
    [said] = [record.getMessage() for record in caplog.records]
    assert "does not answer" in said
    assert f"version 1 ({package_digest(package)[:8]})" in said
    assert since in said
    find(f"models:/{name}/1", ours)
    assert len(caplog.records) == 1, "a version's number means the same bytes for ever"
    register(registry, name, other)
    assert resolve(reference, ours).version == "1"
    relay.away = False
    assert resolve(reference, ours).version == "2"


def test_a_damaged_cache_is_fetched_again(registry, environ, name, package):
    register(registry, name, package)
    reference = f"models:/{name}@candidate"
    folder = find(reference, environ)
    (folder / "model.onnx").write_bytes(b"torn")
    assert package_digest(find(reference, environ)) == package_digest(package)
    notes = list((Path(environ["PI10_MODEL_CACHE"]) / "asked").glob("*.json"))
    for note in notes:
        note.write_text("{")
    assert package_digest(find(reference, environ)) == package_digest(package)
    assert all(json.loads(note.read_text())["version"] == "1" for note in notes)


def test_the_graph_in_int8_comes_along(registry, environ, name):
    """A service that asks for `--device auto` runs it."""
    version = register(registry, name, embedded())
    folder = find(f"models:/{name}/1", environ)
    graph = folder / "model.int8.onnx"
    read, _ = read_package(folder, INT8)
    assert (read.precision, read.sha256) == (INT8, read_package(embedded(), INT8)[0].sha256)
    for spoil in (graph.unlink, lambda: graph.write_bytes(b"torn")):
        spoil()
        find(f"models:/{name}/1", environ)
        assert graph.read_bytes() == (embedded() / graph.name).read_bytes()
    fields = json.loads((folder / "model.json").read_text("utf-8"))
    assert version.tags["pi10.model_sha256"] == fields["files"]["model.onnx"]["sha256"]


def test_a_graph_that_an_earlier_build_did_not_send_is_sent_later(registry, environ, name, server):
    version = register(registry, name, embedded())
    server.stored(version, "model.int8.onnx").unlink()
    with pytest.raises(ModelError, match=r"has no model\.int8\.onnx.*with the same package"):
        find(f"models:/{name}/1", environ)
    assert register(registry, name, embedded()).version == "1"
    graph = find(f"models:/{name}/1", environ) / "model.int8.onnx"
    assert graph.read_bytes() == (embedded() / graph.name).read_bytes()


def test_a_cached_model_without_its_other_graph_still_works_at_sea(relay, registry, environ, name):
    """As an earlier build cached it; the registry would give the rest, were it there."""
    ours = {**environ, "MLFLOW_TRACKING_URI": relay.url}
    reference = f"models:/{name}@candidate"
    register(registry, name, embedded())
    graph = find(reference, ours) / "model.int8.onnx"
    relay.away = True
    graph.write_bytes(b"torn")
    with pytest.raises(RegistryAwayError, match="not in the cache"):
        find(reference, ours)
    graph.unlink()
    assert read_package(find(reference, ours))[0].version == read_package(embedded())[0].version
    relay.away = False
    assert (find(reference, ours) / graph.name).exists()


def test_a_damaged_graph_in_int8_is_not_registered(registry, name, tmp_path):
    folder = shutil.copytree(embedded(), tmp_path / "damaged")
    (folder / "model.int8.onnx").write_bytes(b"torn")
    with pytest.raises(ModelError, match=r"model\.int8\.onnx has SHA-256"):
        register(registry, name, folder)


def test_a_version_whose_bytes_changed_is_refused(registry, environ, name, package, other, server):
    version = register(registry, name, package)
    graph = server.stored(version, "model.onnx")
    whole = graph.read_bytes()
    graph.write_bytes(whole + b"\0")
    with pytest.raises(ModelError, match="was registered with"):
        find(f"models:/{name}/1", environ)
    graph.write_bytes(whole)
    find(f"models:/{name}/1", environ)
    for file in ("model.onnx", "model.json"):
        server.stored(version, file).write_bytes((other / file).read_bytes())
    registry.tag_version(version, DIGEST_TAG, package_digest(other))
    with pytest.raises(ModelError, match="a version never changes"):
        find(f"models:/{name}@candidate", environ)
    assert not list(Path(environ["PI10_MODEL_CACHE"]).glob("packages/.*.tmp"))


def test_a_candidate_that_fails_verification_is_not_cached(
    registry, environ, name, package, server, tmp_path
):
    version = register(registry, name, package)
    fields = json.loads((package / "model.json").read_text())
    fields["files"]["model.onnx"]["sha256"] = "0" * 64
    server.stored(version, "model.json").write_text(json.dumps(fields))
    registry.tag_version(version, DIGEST_TAG, "nonsense")  # so only the package itself can tell
    registry.tag_version(version, "pi10.event", "")
    with pytest.raises(ModelError, match=r"version 1 cannot be used: its package: model\.onnx has"):
        find(f"models:/{name}@candidate", environ)
    server.stored(version, "model.json").unlink()
    with pytest.raises(ModelError, match=r"no model\.json"):
        find(f"models:/{name}@candidate", environ)
    bad = support.write_package(tmp_path / "bad", classes=["copepod"])
    with pytest.raises(ModelError, match="classes"):
        register(registry, name, bad)
    assert len(registry.versions(name)) == 1


def test_a_service_goes_on_with_the_last_sound_version(
    registry, environ, name, package, other, server
):
    reference = f"models:/{name}@candidate"
    register(registry, name, package)
    sound = resolve(reference, environ)
    version = register(registry, name, other)
    with server.stored(version, "model.json").open("a") as stream:
        stream.write(" ")
    kept = resolve(reference, environ, keep=True)
    assert (kept.version, kept.folder) == ("1", sound.folder)
    assert "but it was registered with" in kept.away
    with pytest.raises(ModelError, match="was registered with"):
        find(reference, environ)  # a run is of the version that it names, or of none
    ours = {**environ, "PI10_MODEL_CACHE": environ["PI10_MODEL_CACHE"] + "2"}
    with pytest.raises(ModelError, match="was registered with"):
        resolve(reference, ours, keep=True)


def test_a_version_of_a_training_is_verified_by_its_tag(
    registry, environ, name, package, server, tmp_path
):
    """It has no tag of the digest alone; the tag of the event ends with the same digest."""
    version = register(registry, name, package)
    registry.tag_version(version, DIGEST_TAG, "")
    registry.tag_version(version, "pi10.event", f"{'f' * 32}/{package_digest(package)}")
    assert find(f"models:/{name}/1", environ)
    with server.stored(version, "model.onnx").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(ModelError, match="was registered with"):
        find(
            f"models:/{name}/1", {**environ, "PI10_MODEL_CACHE": environ["PI10_MODEL_CACHE"] + "2"}
        )


def test_no_registry_is_named():
    with pytest.raises(SettingError, match="set MLFLOW_TRACKING_URI"):
        find("models:/pi10@champion", {})
    with pytest.raises(SettingError, match="not http"):
        find("models:/pi10@champion", {"MLFLOW_TRACKING_URI": "sqlite:///m.db"})
    with pytest.raises(SettingError) as refused:
        Registry.from_environ({"MLFLOW_TRACKING_URI": "ftp://ann:secret@host"})
    assert "secret" not in str(refused.value)


def test_inference_needs_neither_torch_nor_mlflow(package):
    code = (
        "import sys\nfrom pi10_classifier.registry.resolve import find\n"
        f"from pi10_classifier.model.session import Model\nModel.load(find({str(package)!r}))\n"
        "print(sorted({'torch', 'mlflow', 'deepaas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
