"""Features come out of the pass of ``classify``: the same tables, and one more."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import support
from click.testing import CliRunner

from pi10_classifier.classify import classify
from pi10_classifier.cli import pi10
from pi10_classifier.embedding.embed import WITHIN, device_of, embed, embedded_run, resolve
from pi10_classifier.embedding.tensor import features_tensor
from pi10_classifier.errors import ExitCode, SettingError
from pi10_classifier.imaging.decode import decode
from pi10_classifier.imaging.preprocess import prepare
from pi10_classifier.inference.settings import Settings
from pi10_classifier.model.package import embedded
from pi10_classifier.model.session import Model


def parts(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((run / "features.parquet").iterdir())}


@pytest.fixture(scope="module")
def run(cruise: Path, package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("embed") / "out"
    done = embed([str(cruise)], out, Settings(model=package, jobs=2))
    assert done.exit_code is ExitCode.SOME_FAILED and done.tally.adds_up
    return out


def test_tables_are_those_of_classify_and_features_stand_in_their_order(
    run: Path, uninterrupted: dict[str, str]
) -> None:
    assert support.tables(run) == uninterrupted
    for path in sorted((run / "features.parquet").iterdir()):
        features = pq.read_table(path)
        names = ["particle_id", "source", "member"]
        assert features.column_names == [*names, "features"]
        rows = pq.read_table(run / "predictions.parquet" / path.name, columns=names)
        assert features.select(names).to_pylist() == rows.to_pylist()
        assert str(features.schema.field("features").type).startswith("fixed_size_list<")
        assert features["features"].type.value_type == "halffloat"


def test_they_are_what_the_last_layer_takes(run: Path, cruise: Path, package: Path) -> None:
    model = Model.load(package, features="features")
    spec = model.package.preprocessing
    rows = pq.read_table(run / "features.parquet").to_pylist()
    row = next(row for row in rows if row["member"].endswith("007.tif"))
    rgb = decode((cruise / "loose/007.tif").read_bytes()).rgb
    expected = model.answer(prepare(rgb, spec)[None]).features
    assert expected is not None
    np.testing.assert_allclose(row["features"], expected[0], rtol=1e-3)


def test_threads_and_interruptions_change_no_byte(
    run: Path, cruise: Path, package: Path, tmp_path: Path
) -> None:
    settings = Settings(model=package, jobs=1)
    out = tmp_path / "out"

    def stop(progress: Any) -> None:
        if any((out / "features.parquet").glob("*.parquet")):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed([str(cruise)], out, settings, progress=stop)
    assert len(parts(out)) < len(parts(run)) and not support.litter(out)
    # a part whose features are gone is made again, as if it had never been
    first = next((out / "features.parquet").iterdir())
    first.unlink()
    done = embed([str(cruise)], out, settings, resume=True)
    assert 0 <= done.units_resumed < done.units
    assert parts(out) == parts(run)
    with pytest.raises(SettingError, match="features was 'features', is None"):
        classify([str(cruise)], out, settings, resume=True)
    embed([str(cruise)], out, Settings(model=package, jobs=3), overwrite=True)
    assert parts(out) == parts(run)


def test_features_beyond_float16_cost_their_image_alone(tmp_path: Path) -> None:
    graph = support.tiny_model()
    scale = support.helper.make_node("Exp", ["patches"], ["grown"])
    graph.graph.node.insert(2, scale)
    graph.graph.node[3].input[0] = "grown"  # up to exp(255); dark patches stay small
    package = support.write_package(
        tmp_path / "p", graph,
        preprocessing={"size": 32, "channels": 1, "level": False, "mean": [], "std": []},
    )  # fmt: skip
    dark, light = (np.full((32, 32, 3), value, np.uint8) for value in (5, 60))
    images = {"dark.tif": dark, "light.tif": light}
    support.write_folder(
        tmp_path / "in",
        {name: support.encode_tiff(rgb, support.START, 50.0, -4.0) for name, rgb in images.items()},
    )
    done = embed([str(tmp_path / "in")], tmp_path / "out", Settings(model=package, measure=False))
    assert done.tally.totals["results"] == 1
    failures = support.csv_of(tmp_path / "out/failures.csv")
    assert [(row["member"], row["code"]) for row in failures] == [("light.tif", "internal")]
    assert "65,504" in failures[0]["message"]


def test_the_tensor_is_named_or_searched(package: Path, tmp_path: Path) -> None:
    assert features_tensor(package) == "features"
    named = support.write_package(tmp_path / "named", features={"name": "logits", "size": 3})
    assert features_tensor(named) == "logits"
    assert features_tensor(embedded("starter")).endswith("ReduceMean_output_0")


def test_a_run_stands_for_its_inputs(run: Path, cruise: Path, tmp_path: Path) -> None:
    assert resolve([str(run)], None) == ([str(cruise)], run / WITHIN)
    assert resolve([str(run), "x.tar"], tmp_path / "o") == ([str(cruise), "x.tar"], tmp_path / "o")
    with pytest.raises(SettingError, match="--out is missing"):
        resolve([str(cruise)], None)
    with pytest.raises(SettingError, match="the run itself"):
        resolve([str(run)], run)
    moved = Path(shutil.copytree(run, tmp_path / "moved"))
    record = json.loads((moved / "run.json").read_text())
    record["parameters"]["inputs"] = [str(tmp_path / "gone")]
    (moved / "run.json").write_text(json.dumps(record))
    with pytest.raises(SettingError, match="gone is gone"):
        resolve([str(moved)], None)


def test_a_run_is_embedded_on_its_own_device(
    run: Path, cruise: Path, package: Path, tmp_path: Path
) -> None:
    moved = Path(shutil.copytree(run, tmp_path / "moved"))
    record = json.loads((moved / "run.json").read_text())
    assert device_of([str(moved)]) == record["runtime"]["device"] == "cpu"
    record["runtime"]["device"] = "cpu:int8"
    (moved / "run.json").write_text(json.dumps(record))
    assert device_of([str(cruise), str(moved)]) == "cpu:int8"
    assert device_of([str(cruise)]) is None
    assert device_of([str(run), str(moved)]) is None
    done = CliRunner().invoke(pi10, ["embed", str(moved), "--model", str(package)])
    assert "needs a graph in int8" in str(done.exception)


def test_the_command_writes_into_the_run_and_draws_a_map(
    cruise: Path, package: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    classify([str(cruise / "loose")], out, Settings(model=package))
    with pytest.raises(SettingError, match="run: pi10 embed"):
        embedded_run(out)
    done = CliRunner().invoke(pi10, ["embed", str(out), "--model", str(package), "--map-n", "20"])
    assert done.exit_code == 3, done.output  # one image is broken
    assert embedded_run(out) == out / WITHIN
    assert (out / WITHIN / "map.html").stat().st_size > 10_000
    again = CliRunner().invoke(pi10, ["embed", str(out), "--model", str(package)])
    assert isinstance(again.exception, SettingError)
    assert "already holds a run" in again.exception.message
