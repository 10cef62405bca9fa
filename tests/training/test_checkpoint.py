import hashlib
import json
import os
import stat

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra 'train'")
pytest.importorskip("transformers", reason="training needs the extra 'train'")

from toy_networks import Tiny

from pi10_classifier.errors import ModelError
from pi10_classifier.training import checkpoint


def test_checkpoint_comes_back(tmp_path):
    network = Tiny()
    checkpoint.save_checkpoint(tmp_path, network, {"name": "tiny"})
    state, fields = checkpoint.load_checkpoint(tmp_path)
    assert fields["name"] == "tiny"
    assert torch.equal(state["head.weight"], network.head.weight)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint.json", "model.safetensors"]


@pytest.mark.skipif(os.name != "posix", reason="Windows has other rights")
@pytest.mark.parametrize("mask", [0o022, 0o007, 0o077])
def test_weights_have_the_rights_of_any_other_file(tmp_path, mask):
    before = os.umask(mask)
    try:
        checkpoint.save_checkpoint(tmp_path, Tiny(), {})
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert set(modes.values()) == {0o666 & ~mask}, modes


def test_checkpoint_missing_a_part_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"model\.safetensors is missing"):
        checkpoint.load_checkpoint(tmp_path)


def test_weights_of_another_description_are_refused(tmp_path):
    checkpoint.save_checkpoint(tmp_path, Tiny(), {})
    fields = json.loads((tmp_path / "checkpoint.json").read_text())
    checkpoint.save_checkpoint(tmp_path, Tiny(seed=1), {})
    checkpoint.write_description(tmp_path, fields)
    with pytest.raises(ModelError, match="is not the file"):
        checkpoint.load_checkpoint(tmp_path)


def test_pickled_weights_are_refused(tmp_path):
    checkpoint.save_checkpoint(tmp_path, Tiny(), {})
    torch.save(Tiny().state_dict(), tmp_path / "model.safetensors")
    fields = json.loads((tmp_path / "checkpoint.json").read_text())
    digest = hashlib.sha256((tmp_path / "model.safetensors").read_bytes())
    checkpoint.write_description(tmp_path, {**fields, "weights_sha256": digest.hexdigest()})
    with pytest.raises(ModelError, match="not a readable checkpoint"):
        checkpoint.load_checkpoint(tmp_path)
