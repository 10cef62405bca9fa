"""Checkpoints: killed and resumed, failing disks, other people's pickles."""

import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra 'train'")
pytest.importorskip("transformers", reason="training needs the extra 'train'")

from toy_networks import Tiny, recipe, shades

from pi10_classifier.errors import Code, OutputError, SettingError
from pi10_classifier.training.loop import loop, memory
from pi10_classifier.training.networks.registry import build

OPTIONS = {"epochs": 4, "deterministic": True, "mixup": 0.2, "ema": 0.9, "rate": 0.01}
TIMES = {"seconds", "images_per_second", "waiting"}


class Killed(BaseException):
    """Ends a training as a signal would."""


def killer(step):
    steps = iter(range(1, 10_000))

    def check():
        if next(steps) == step:
            raise Killed

    return check


def run(folder, network=None, options=None, **more):
    network = network or Tiny(dropout=0.3)
    lines = []
    history = loop.train(
        network, *shades(), options or recipe(**OPTIONS), more.pop("keep", lambda *_: None),
        lines.append, folder=folder, **more,
    )  # fmt: skip
    return [{k: v for k, v in r.items() if k not in TIMES} for r in history], network, lines


def same(ours, theirs):
    return all(torch.equal(ours[key], value) for key, value in theirs.items())


def checkpoints(folder):
    return sorted(path.name for path in folder.iterdir())


# 3 steps an epoch: in mid-epoch, right after an epoch, and in the last one
@pytest.mark.parametrize("step", [5, 7, 12])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_killed_and_resumed_ends_as_if_nothing_had_been(tmp_path, step, accumulate):
    options = recipe(**OPTIONS, accumulate=accumulate)
    kept: dict[str, list] = {"whole": [], "parts": []}

    def keeper(name):
        return lambda average, _: kept[name].append(
            {key: value.clone() for key, value in average.state_dict().items()}
        )

    whole, network, _ = run(tmp_path / "whole", options=options, keep=keeper("whole"))
    step = min(step, 4 * -(-3 // accumulate))
    with pytest.raises(Killed):
        run(tmp_path / "parts", options=options, keep=keeper("parts"), save_steps=1,
            raise_if_cancelled=killer(step))  # fmt: skip
    parts, resumed, lines = run(
        tmp_path / "parts", options=options, keep=keeper("parts"), save_steps=1, resume=True
    )
    assert parts == whole
    assert lines[0].startswith("continuing from checkpoint-")
    assert same(resumed.state_dict(), network.state_dict())
    assert same(kept["parts"][-1], kept["whole"][-1])


def test_a_real_network_killed_by_a_signal(tmp_path):
    """kill -9 of another process, in mid-epoch; resumed here."""
    script = tmp_path / "train.py"
    script.write_text(
        "import os, signal, sys, torch\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[2] / 'fixtures')!r})\n"
        "from pathlib import Path\n"
        "from toy_networks import recipe, shades\n"
        "from pi10_classifier.training.loop import loop\n"
        "from pi10_classifier.training.networks.registry import build\n"
        "torch.set_num_threads(1)\n"
        "torch.manual_seed(0)\n"
        "network = build('mobilenet_v2', 3, size=32, channels=1, init='random')\n"
        "steps = iter(range(1, 100))\n"
        "loop.train(network, *shades(), recipe(epochs=2, deterministic=True), lambda *_: None,\n"
        "    folder=Path(sys.argv[1]), save_steps=2,\n"
        "    raise_if_cancelled=lambda:\n"
        "    next(steps) == 5 and os.kill(os.getpid(), signal.SIGKILL))\n"
    )
    done = subprocess.run(
        [sys.executable, script, tmp_path / "killed"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        timeout=300,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert checkpoints(tmp_path / "killed")[-1] == "checkpoint-4"  # 3 steps an epoch

    def train(folder, **more):
        torch.manual_seed(0)
        network = build("mobilenet_v2", 3, size=32, channels=1, init="random")
        options = recipe(epochs=2, deterministic=True)
        return run(tmp_path / folder, network, options, save_steps=2, **more)

    resumed, ours, lines = train("killed", resume=True)
    assert any("continuing from checkpoint-4" in line for line in lines)
    whole, theirs, _ = train("whole")
    assert resumed == whole
    assert same(ours.state_dict(), theirs.state_dict())


def test_only_the_newest_checkpoint_stays_and_it_holds_no_foreign_pickle(tmp_path):
    run(tmp_path, save_steps=1)
    assert checkpoints(tmp_path) == ["checkpoint-12"]
    files = {path.name for path in (tmp_path / "checkpoint-12").iterdir()}
    assert files == {
        *("model.safetensors", "average.safetensors", "pi10.json", "trainer_state.json"),
        *("optimizer.pt", "scheduler.pt", "rng_state.pth"),
    }


class Evil:
    def __reduce__(self):
        return os.mkdir, ("evil",)


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_pickle_planted_in_a_checkpoint_is_not_run(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Killed):
        run(tmp_path / "out", save_steps=1, raise_if_cancelled=killer(5))
    (planted,) = (tmp_path / "out").glob("checkpoint-*")
    torch.save(Evil(), planted / name)
    with pytest.raises(SettingError, match="delete it and start again"):
        run(tmp_path / "out", save_steps=1, resume=True)
    assert not (tmp_path / "evil").exists()


def test_finished_training_is_not_repeated(tmp_path):
    whole, _, _ = run(tmp_path)
    again, _, lines = run(tmp_path, resume=True, raise_if_cancelled=killer(1))
    assert again == whole
    assert "nothing to do" in lines[0]


def test_a_training_is_not_begun_over_another(tmp_path):
    run(tmp_path)
    with pytest.raises(SettingError, match="continue with --resume, or give another folder"):
        run(tmp_path)


def test_resuming_before_the_first_checkpoint_begins_anew(tmp_path):
    with pytest.raises(Killed):
        run(tmp_path, raise_if_cancelled=killer(2))
    history, _, lines = run(tmp_path, resume=True)
    assert len(history) == 4
    assert "holds no checkpoint yet" in lines[0]
    with pytest.raises(SettingError, match="no folder to resume from"):
        run(None, resume=True)


@pytest.mark.parametrize("change", [{"rate": 0.02}, {"seed": 5}])
def test_another_recipe_does_not_go_on(tmp_path, change):
    run(tmp_path)
    with pytest.raises(SettingError, match="another recipe, network or data"):
        run(tmp_path, options=recipe(**{**OPTIONS, **change}), resume=True)


def test_damaged_checkpoint_says_what_to_do(tmp_path):
    with pytest.raises(Killed):
        run(tmp_path, save_steps=1, raise_if_cancelled=killer(5))
    (damaged,) = tmp_path.glob("checkpoint-*")
    (damaged / "average.safetensors").write_bytes(b"short")
    with pytest.raises(SettingError, match="delete it and start again"):
        run(tmp_path, resume=True)


@pytest.mark.skipif(sys.platform != "linux", reason="file size limits as Linux has them")
def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path):
    """The optimiser's file does not fit any more: an error of the system in mid-checkpoint."""
    torch.manual_seed(0)
    options = recipe(epochs=2)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def network():
        torch.manual_seed(0)
        return build("mobilenet_v2", 3, size=32, channels=1, init="random")

    steps = iter(range(1, 100))

    def check():
        if next(steps) == 4:  # weights (9 MB) and average fit, the optimiser's 18 MB don't
            resource.setrlimit(resource.RLIMIT_FSIZE, (12 * 2**20, limits[1]))

    try:
        with pytest.raises(OutputError, match="cannot write a checkpoint in") as caught:
            run(tmp_path, network(), options, save_steps=2, raise_if_cancelled=check)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.code is Code.STORAGE_UNAVAILABLE
    assert checkpoints(tmp_path) == ["checkpoint-3"]
    history, _, _ = run(tmp_path, network(), options, save_steps=2, resume=True)
    assert [record["epoch"] for record in history] == [1, 2]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 60 MB: enough for one checkpoint of MobileNetV2 and half of another."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=60m", "tmpfs", str(disk)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this machine does not let us mount a tmpfs")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)  # lazily: a failed write stays open


def test_a_disk_that_held_two_checkpoints_at_first_does_for_a_resumed_training(
    tmp_path, monkeypatch
):
    network = torch.nn.Linear(1000, 100)
    one = 3 * 400_400  # bytes: weights, two moments, float32
    free = int(1.5 * one)
    monkeypatch.setattr(memory.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    with pytest.raises(SettingError, match="need 2 MiB, 2 MiB are free; free space"):
        memory.check_disk(network, tmp_path, average=False)
    (tmp_path / "checkpoint-3").mkdir()
    memory.check_disk(network, tmp_path, average=False)


def test_a_disk_that_fills_in_mid_checkpoint(small_disk, monkeypatch):
    options = recipe(epochs=2)
    torch.manual_seed(0)
    network = build("mobilenet_v2", 3, size=32, channels=1, init="random")
    with pytest.raises(SettingError, match=r"need \d+ MiB, \d+ MiB are free"):
        run(small_disk, network, options)
    # the check at the start is passed, then others fill the disk
    monkeypatch.setattr(loop, "check_disk", lambda *_: None)
    with pytest.raises(OutputError, match="no space left while writing") as caught:
        run(small_disk, network, options)
    assert caught.value.code is Code.DISK_FULL
    assert checkpoints(small_disk) == ["checkpoint-3"]
