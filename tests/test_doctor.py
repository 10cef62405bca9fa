"""What the doctor finds in sound and in broken installations."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest
import support

from pi10_classifier import doctor
from pi10_classifier.doctor import Check, examine
from pi10_classifier.foundation import versions
from pi10_classifier.model.package import embedded


def found(**environ: str) -> dict[str, Check]:
    return {check.what: check for check in examine(environ)}


@pytest.fixture
def tiny(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "installed", lambda: [package])


@pytest.mark.usefixtures("tiny")
class TestSound:
    def test_nothing_is_broken(self) -> None:
        assert [check for check in found().values() if check.state == "broken"] == []

    def test_names_what_a_classification_needs(self) -> None:
        checks = found()
        assert {"python", "onnxruntime", "pyarrow", "cores", "devices", "model tiny"} <= {*checks}
        assert "cpu" in checks["devices"].finding
        assert "3 classes" in checks["model tiny"].finding


class TestSpeed:
    def test_a_model_is_measured_where_it_is_named(
        self, package: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(doctor, "installed", lambda: [package])
        monkeypatch.setattr(doctor, "installed_runtimes", lambda: ["cpu", "cuda"])
        rounds: list[int] = []
        checks = {
            check.what: check
            for check in examine({}, str(package), lambda done, of: rounds.append(of))
        }
        assert "images/s" in checks["speed, cpu"].finding
        assert checks["speed, cuda"].state == "note"  # and why, in its finding
        assert "--device cpu" in checks["recommended"].finding
        assert rounds == [3, 3, 3]

    def test_an_unknown_model_is_broken(self) -> None:
        checks = {check.what: check for check in examine({}, "/no/model")}
        assert checks["speed of /no/model"].state == "broken"

    def test_none_is_measured_without_a_name(self) -> None:
        assert not any(what.startswith("speed") for what in found())


class TestModels:
    def test_none_is_broken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(doctor, "installed", list)
        assert found()["models"].state == "broken"

    def test_damaged_one_is_broken(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = support.write_package(tmp_path / "damaged")
        (folder / "model.onnx").write_bytes(b"")
        monkeypatch.setattr(doctor, "installed", lambda: [folder])
        check = found()["model damaged"]
        assert check.state == "broken"
        assert "SHA-256" in check.finding

    def test_a_damaged_int8_graph_is_broken(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = Path(shutil.copytree(embedded("fast"), tmp_path / "fast"))
        (folder / "model.int8.onnx").write_bytes(b"short")
        monkeypatch.setattr(doctor, "installed", lambda: [folder])
        checks = {check.what: check for check in examine({}, str(folder))}
        assert checks["model fast"].state == checks[f"speed of {folder}"].state == "broken"
        assert "model.int8.onnx has SHA-256" in checks["model fast"].finding


@pytest.mark.usefixtures("tiny")
class TestSurroundings:
    def test_missing_package_is_broken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(versions.MODULES, "pyarrow", "no_such_module_here")
        check = found()["pyarrow"]
        assert (check.state, "pip install" in check.finding) == ("broken", True)

    @pytest.mark.parametrize("extra", ["report", "train"])
    def test_missing_extra_is_a_note_with_the_remedy(
        self, extra: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
        check = found()[f"extra [{extra}]"]
        assert check.state == "note"
        assert f'[{extra}]"' in check.finding

    def test_old_python_is_a_note(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(doctor.sys, "version_info", (3, 10, 1))
        assert found()["python"].state == "note"

    def test_unwritable_temporary_folder_is_a_note(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(doctor.tempfile, "tempdir", str(tmp_path / "gone"))
        assert found()["temporary folder"].state == "note"

    def test_storage_keys_are_told_never_shown(self) -> None:
        assert found()["s3://"].state == "note"
        keys = {"AWS_ACCESS_KEY_ID": "AKIASECRET", "AWS_SECRET_ACCESS_KEY": "topsecret"}
        check = found(**keys, AWS_ENDPOINT_URL="https://s3.example.org")["s3://"]
        assert check.state == "ok"
        assert "s3.example.org" in check.finding
        assert "SECRET" not in check.finding.upper()
