"""The command ``pi10``: exit codes, streams, help, and never a traceback."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import broken_files
import numpy as np
import pytest
import support
from pi10_command import Pi10

from pi10_classifier.errors import ExitCode
from pi10_classifier.results.run_folder import RunFolder

posix = pytest.mark.skipif(os.name != "posix", reason="Windows has no such signals")


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    return support.write_tar(tmp_path / "sound/1450.tar", support.bin_members(6))


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    members = {**support.bin_members(6), support.name_of(77): support.particle(1)[:400]}
    return support.write_tar(tmp_path / "damaged/1450.tar", members)


class TestExitCodes:
    def test_0_all_inputs_have_a_result(self, pi10: Pi10, sound: Path, tmp_path: Path) -> None:
        answer = pi10("classify", sound, "--out", tmp_path / "out")
        assert answer.code == ExitCode.OK
        assert "8 inputs = 6 results + 0 failures + 2 skipped" in answer.out
        assert str(tmp_path / "out") in answer.out
        run = json.loads((tmp_path / "out/run.json").read_text("utf-8"))
        model, ran = run["model"], run["runtime"]
        precision = "int8" if ran["int8"] else ran["precision"]
        name = f"{model['name']} {model['version']}"
        assert answer.err == f"model {name} on {ran['library']}, {precision}\n"

    def test_3_some_failed(self, pi10: Pi10, damaged: Path, tmp_path: Path) -> None:
        answer = pi10("classify", damaged, "--out", tmp_path / "out")
        assert answer.code == ExitCode.SOME_FAILED
        assert "1 x corrupt_image" in answer.out
        assert (tmp_path / "out/failures.csv").is_file()

    @pytest.mark.parametrize("members", [{}, {"Background.tif": b"x"}, {"a.tif": b""}])
    def test_4_nothing_read(self, pi10: Pi10, tmp_path: Path, members: dict[str, bytes]) -> None:
        home = support.write_folder(tmp_path / "in", members)
        assert pi10("classify", home, "--out", tmp_path / "out").code == ExitCode.NOTHING_READ

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["--jobs", "0"], "--jobs is 0"),
            (["--jobs", "many"], "many"),
            (["--batch", "0"], "--batch is 0"),
            (["--um-per-px", "nan"], "--um-per-px is nan"),
            (["--device", "abacus"], "abacus"),
            (["--device", "cpu:bf16"], "use --device openvino:bf16"),
            (["--device", "cpu:int8"], "make one with `pi10 export int8`"),
            (["--resume", "--overwrite"], "exclude each other"),
            (["--frobnicate"], "--frobnicate"),
            (["--model", "no-such-model"], "no-such-model"),
            (["no/such/input.tar"], "does not exist"),
            (["ftp://host/x.tar"], "neither a local path nor an s3:// address"),
            (["x" * 5000], "x"),
        ],
        ids=lambda value: " ".join(value)[:30] if isinstance(value, list) else "",
    )
    def test_2_usage(
        self, pi10: Pi10, sound: Path, tmp_path: Path, words: list[str], said: str
    ) -> None:
        answer = pi10("classify", sound, *words, "--out", tmp_path / "out")
        assert answer.code == ExitCode.USAGE
        assert said in answer.err
        assert answer.out == ""
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(
        "words",
        [["classify"], ["classify", "x"], ["nonsense"], ["export", "nonsense"], ["--nonsense"],
         ["simulate"], ["simulate", ""], ["export", "onnx", "gone", "--out", "x"],
         ["classify", "", "--out", "x"], ["classify", "setup.cfg", "--out", ""]],
        ids=" ".join,
    )  # fmt: skip
    def test_2_incomplete(self, pi10: Pi10, words: list[str]) -> None:
        answer = pi10(*words)
        assert answer.code == ExitCode.USAGE
        assert answer.err
        assert answer.out == ""

    def test_2_broken_model(self, pi10: Pi10, sound: Path, tmp_path: Path) -> None:
        model = support.write_package(tmp_path / "m", classes=["a", "b"])
        answer = pi10("classify", sound, "--out", tmp_path / "out", "--model", model)
        assert answer.code == ExitCode.USAGE
        assert "2 classes" in answer.err

    def test_5_full_disk(
        self, pi10: Pi10, sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr("pi10_classifier.foundation.files.os.fsync", full)
            answer = pi10("classify", sound, "--out", tmp_path / "out", "--json")
        assert answer.code == ExitCode.NOT_WRITTEN
        assert json.loads(answer.out)["error"]["code"] == "disk_full"
        assert "no space left" in answer.err
        assert list((tmp_path / "out").rglob("*.parquet/*")) == []
        assert pi10("classify", sound, "--out", tmp_path / "out", "--resume").code == 0

    def test_130_interrupted(
        self, pi10: Pi10, sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(RunFolder, "is_done", interrupted)
            answer = pi10("classify", sound, "--out", tmp_path / "out", "--json")
        assert answer.code == ExitCode.INTERRUPTED
        assert "--resume" in answer.err
        assert json.loads(answer.out)["error"]["code"] == "interrupted"
        assert pi10("classify", sound, "--out", tmp_path / "out", "--resume").code == 0


class TestJson:
    def test_is_run_json(self, pi10: Pi10, damaged: Path, tmp_path: Path) -> None:
        answer = pi10("classify", damaged, "--out", tmp_path / "out", "--json")
        assert answer.code == ExitCode.SOME_FAILED
        assert json.loads(answer.out)["totals"]["failures"] == 1
        assert answer.out == (tmp_path / "out/run.json").read_text("utf-8")
        assert answer.err == ""

    @pytest.mark.parametrize(
        ("words", "code"),
        [
            (["gone.tar"], "bad_setting"),
            (["--jobs", "0"], "bad_setting"),
            (["--jobs", "many"], "bad_setting"),
            (["--frobnicate"], "bad_setting"),
            (["y" * 5000], "bad_setting"),
        ],
    )
    def test_errors_parse_too(
        self, pi10: Pi10, sound: Path, tmp_path: Path, words: list[str], code: str
    ) -> None:
        answer = pi10("classify", sound, *words, "--out", tmp_path / "out", "--json")
        assert answer.code == ExitCode.USAGE
        error = json.loads(answer.out)["error"]
        assert error["code"] == code
        assert error["message"] in answer.err.replace("\n", " ") or answer.err

    def test_model_error_has_its_code(self, pi10: Pi10, sound: Path, tmp_path: Path) -> None:
        model = support.write_package(tmp_path / "m", format=9)
        answer = pi10("classify", sound, "--out", tmp_path / "o", "--model", model, "--json")
        assert json.loads(answer.out)["error"]["code"] == "model_mismatch"


class TestRuns:
    def test_resume_and_overwrite(self, pi10: Pi10, sound: Path, tmp_path: Path) -> None:
        words = ("classify", sound, "--out", tmp_path / "out")
        assert pi10(*words).code == 0
        assert "--resume" in pi10(*words).err
        assert pi10(*words, "--resume").code == 0
        assert "batch was" in pi10(*words, "--resume", "--batch", "2").err
        assert pi10(*words, "--overwrite", "--batch", "2").code == 0

    def test_labels_are_printed_as_they_are(self, pi10: Pi10, sound: Path, tmp_path: Path) -> None:
        """A class named like the terminal's markup must not restyle or break the table."""
        names = ["[/]", "[red]algae", "copepod"]
        model = support.write_package(tmp_path / "m", classes=names)
        words = ("--model", model, "--no-report")
        answer = pi10("classify", sound, "--out", tmp_path / "out", *words)
        assert answer.code == 0
        assert all(name in answer.out for name in names)

    @pytest.mark.parametrize(
        ("never_seen", "said"),
        [
            ("", None),
            ("Krill. It saw copepods.", "Krill"),
            ("Krill. Of 9 it finds 8.\nJudged in May.", "Krill. Of 9 it finds 8"),
        ],
    )
    def test_what_to_know_before_a_number_is_used(
        self, pi10: Pi10, sound: Path, tmp_path: Path, never_seen: str, said: str | None
    ) -> None:
        model = support.write_package(tmp_path / "m", never_seen=never_seen)
        words = ("--model", model, "--no-report")
        lines = pi10("classify", sound, "--out", tmp_path / "out", *words).out.splitlines()
        notes = [line for line in lines if line.startswith("note: ")]
        assert len(notes) == (2 if said is None else 3)
        if said:
            assert notes[0] == f"note: never seen by this model: {said}"
        assert "leave classification out until a sample is validated" in notes[-2]
        assert "about 300 particles" in notes[-1]

    def test_report_on_a_hostile_bin(self, pi10: Pi10, package: Path, tmp_path: Path) -> None:
        rng = np.random.default_rng(1)
        broken = {f"{n}.tif": data for n, data in broken_files.broken_files(rng).items()}
        path = support.write_tar(tmp_path / "a.tar", {**support.bin_members(10), **broken})
        answer = pi10("classify", path, "--out", tmp_path / "out", "--model", package)
        assert answer.code == ExitCode.SOME_FAILED
        assert (tmp_path / "out/report.html").stat().st_size > 10_000
        assert "report.html" in answer.out
        assert support.litter(tmp_path / "out") == []

    def test_missing_report_extra_is_a_note(
        self, pi10: Pi10, sound: Path, package: Path, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        from pi10_classifier.errors import SettingError

        def missing(*_: object) -> None:
            raise SettingError("the report needs the extra [report]")

        monkeypatch.setattr("pi10_classifier.report.page.write_report", missing)
        answer = pi10("classify", sound, "--out", tmp_path / "out", "--model", package)
        assert answer.code == 0
        noted = "note: no report: the report needs the extra [report]"
        assert answer.err == f"model tiny 1.0 on ONNX Runtime, fp32\n{noted}\n"


class TestOtherCommands:
    def test_simulate_then_classify(self, pi10: Pi10, tmp_path: Path) -> None:
        answer = pi10("simulate", tmp_path / "sim", "--sizes", "9,5", "--partial", "1")
        assert answer.code == 0
        assert all(Path(line).is_file() for line in answer.out.split())
        assert len(answer.out.split()) == 2
        run = pi10("classify", tmp_path / "sim", "--out", tmp_path / "out")
        assert run.code == 0
        assert "14 results + 0 failures" in run.out

    @pytest.mark.parametrize(
        "words",
        [["--sizes", "a,b"], ["--sizes", ""], ["--sizes", "0"], ["--bins", "0"],
         ["--bins", "-1"], ["--images", "0"], ["--partial", "9"], ["--seed", "-1"],
         ["--from", "no/such/folder"]],
        ids=" ".join,
    )  # fmt: skip
    def test_simulate_refuses(self, pi10: Pi10, tmp_path: Path, words: list[str]) -> None:
        answer = pi10("simulate", tmp_path / "sim", *words)
        assert answer.code == ExitCode.USAGE
        assert answer.err
        assert not list(tmp_path.rglob("*.tar"))

    def test_models(self, pi10: Pi10, package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("pi10_classifier.model.package.installed", lambda: [package])
        answer = pi10("models")
        assert answer.code == 0
        assert "copepod, detritus, noncopepod" in answer.out
        (said,) = json.loads(pi10("models", "--json").out)
        assert said["name"] == "tiny"

    def test_models_is_a_plain_line_each(self, pi10: Pi10) -> None:
        lines = pi10("models").out.splitlines()
        assert [line.split(":")[0].split()[0] for line in lines] == ["fast", "starter"]
        for line in lines:
            assert "genuine Pi-10 particles" in line
            assert line.isascii(), "no frame"
        assert "pi10 models list" in pi10("models").err

    def test_models_list_without_a_registry_names_the_other_list(
        self, pi10: Pi10, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("MLFLOW_REGISTRY_URI", "MLFLOW_TRACKING_URI"):
            monkeypatch.delenv(name, raising=False)
        answer = pi10("models", "list")
        assert answer.code == ExitCode.USAGE
        assert answer.err.endswith("; what ships with the program: pi10 models\n")

    def test_models_shows_held_out_figures(
        self, pi10: Pi10, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        figures = {"macro_f1": {"value": 0.8123, "low": 0.79, "high": 0.83}}
        folder = support.write_package(tmp_path / "m", metrics={"sea": figures, "note": "x"})
        monkeypatch.setattr("pi10_classifier.model.package.installed", lambda: [folder])
        assert "32 px, macro-F1 on withheld images: sea 0.81" in pi10("models").out

    def test_models_refuses_a_damaged_one(
        self, pi10: Pi10, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = support.write_package(tmp_path / "m", format=9)
        monkeypatch.setattr("pi10_classifier.model.package.installed", lambda: [folder])
        assert pi10("models").code == ExitCode.USAGE

    def test_doctor(self, pi10: Pi10, package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("pi10_classifier.doctor.installed", lambda: [package])
        assert pi10("doctor").code == 0
        checks = json.loads(pi10("doctor", "--json").out)
        assert {"state", "what", "finding"} == set(checks[0])
        monkeypatch.setattr("pi10_classifier.doctor.installed", list)
        assert pi10("doctor").code == ExitCode.USAGE

    def test_export_without_its_extra(
        self, pi10: Pi10, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "pi10_classifier.training.onnx_export", None)
        answer = pi10("export", "onnx", tmp_path, "--out", tmp_path / "package")
        assert answer.code == ExitCode.USAGE
        assert "[train]" in answer.err
