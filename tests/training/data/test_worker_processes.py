import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra 'train'")
pytest.importorskip("transformers", reason="training needs the extra 'train'")

from toy_networks import Tiny, recipe, shades

from pi10_classifier.errors import SettingError
from pi10_classifier.model.package import embedded
from pi10_classifier.model.session import Model
from pi10_classifier.training.data import worker_processes
from pi10_classifier.training.data.batches import Batches
from pi10_classifier.training.distillation import PackageTeacher
from pi10_classifier.training.loop import loop

pytestmark = pytest.mark.skipif(
    not worker_processes.can_fork(), reason="processes are copied by fork alone"
)

_PARENT = f"""
import sys, time
sys.path.insert(0, {str(Path(__file__).parents[2] / "fixtures")!r})
from toy_networks import recipe, shades
from pi10_classifier.training.data.batches import Batches
batches = Batches(shades()[0], recipe(), 3, loaders=2, processes=True)
batches[0]
print(*batches._processes.pids, flush=True)
time.sleep(60)
"""


def everything(batches):
    found = []
    for epoch, size in ((0, 32), (1, 32), (1, 48)):
        batches.begin(epoch, size)
        found += [batches[place] for place in range(len(batches))]
    batches.close()
    return found


def test_a_process_makes_what_a_thread_makes():
    training, _ = shades()
    teacher = PackageTeacher(Model.load(embedded("fast")))
    options = recipe(distil=0.5, mixup=0.2, balance=0.5)
    one, three = (
        everything(Batches(training, options, 3, teacher=teacher, loaders=n, processes=n > 1))
        for n in (1, 3)
    )
    assert len(one) == len(three) == 9
    for left, right in zip(one, three, strict=True):
        assert left.keys() == right.keys() == {"image", "target", "teacher"}
        assert all(torch.equal(left[name], right[name]) for name in left)
    assert not torch.equal(one[0]["image"], one[3]["image"])


def test_the_error_of_a_process_reaches_the_caller():
    training, held = shades()
    training.images[3] = "no image"
    with pytest.raises((AttributeError, TypeError)):
        loop.train(
            Tiny(), training, held, recipe(), lambda *_: None, lambda _: None, processes=True
        )


@pytest.mark.parametrize("wait", [0.0, 1.0])  # the pool has noticed when asked again, or not
def test_a_killed_process_is_a_plain_error(wait):
    batches = Batches(shades()[0], recipe(), 3, loaders=2, processes=True)
    try:
        batches[0]
        for pid in batches._processes.pids:
            os.kill(pid, signal.SIGKILL)
        time.sleep(wait)
        with pytest.raises(SettingError, match="was killed, perhaps for lack of memory; cont"):
            for epoch in range(100):  # those made ahead come first
                batches.begin(epoch, 32)
                [batches[place] for place in range(len(batches))]
    finally:
        batches.close()


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("which", range(3))
def test_the_others_of_a_killed_or_hanging_one_end_at_the_close(which, sent):
    """Idle, one of them holds the lock of the tasks, which then nobody lets go."""
    batches = Batches(shades()[0], recipe(), 3, loaders=3, processes=True)
    pids = batches._processes.pids
    [batches[place] for place in range(len(batches))]
    time.sleep(0.5)
    os.kill(pids[which], sent)
    time.sleep(0.5)
    closing = threading.Thread(target=batches.close, daemon=True)
    closing.start()
    closing.join(30)
    assert not closing.is_alive(), "close() hangs"
    _gone(pids)  # a killed one goes when the system finds the time


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_processes_end_with_their_parent(sent):
    parent = subprocess.Popen([sys.executable, "-c", _PARENT], stdout=subprocess.PIPE, text=True)
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(pids) == 2
    assert all(psutil.pid_exists(pid) for pid in pids)
    parent.send_signal(sent)
    parent.communicate(timeout=30)
    _gone(pids)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_processes_leave_a_stop_to_their_parent(sent):
    batches = Batches(shades()[0], recipe(), 3, loaders=2, processes=True)
    try:
        first = batches[0]
        for pid in batches._processes.pids:
            os.kill(pid, sent)
        batches.begin(0, 32)
        assert np.array_equal(batches[0]["image"], first["image"])
    finally:
        batches.close()


def _gone(pids):
    until = time.monotonic() + 60
    while alive := [pid for pid in pids if _runs(pid)]:
        assert time.monotonic() < until, f"{alive} live on"
        time.sleep(0.05)


def _runs(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
