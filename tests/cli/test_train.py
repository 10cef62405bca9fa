import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from pi10_classifier.cli import pi10
from pi10_classifier.errors import SettingError


def test_the_command_line_imports_no_torch():
    code = (
        "import sys, pi10_classifier.cli\n"
        "sys.exit(any(x in sys.modules for x in ('torch', 'transformers', 'mlflow')))"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root).returncode == 0


def test_help_names_what_is_written():
    text = CliRunner().invoke(pi10, ["train", "--help"]).output
    for word in ("test_predictions.csv", "--recipe", "--teacher", "--resume", "vit"):
        assert word in text


def train(shapes, *flags):
    words = ["train", str(shapes / "light.tar"), "--no-tracking", *map(str, flags)]
    result = CliRunner().invoke(pi10, words, standalone_mode=False)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    # the tar holds a broken file, which is left out; a resumed training scans nothing
    assert result.exit_code == (0 if "--resume" in flags else 3)
    return result.output.strip().split("\n")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--recipe", "vitt"), "unknown network or recipe 'vitt'"),
        (("--recipe", "absent.toml"), "absent.toml cannot be read"),
        (("--seeds", "1,x"), "--seeds is '1,x'; give whole numbers"),
        (("--set", "epoch=3"), "a recipe has no 'epoch'"),
        (("--set", "seed=3"), "seed cannot be given with --set"),
        (("--set", "clip"), "'clip' is not of the form NAME=VALUE"),
        (("--loss", "focal"), "unknown loss 'focal'"),
        (("--init", "absent"), "init is 'absent'"),
        (("--teacher", "absent"), "no model package at 'absent'"),
        (("--distil", "0.5"), "there is no teacher"),
    ],
)
def test_unusable_flags_are_named(shapes, tmp_path, flags, message):
    pytest.importorskip("transformers", reason="training needs the extra 'train'")
    small = ("--size", 32, "--init", "random", "--out", tmp_path / "out")
    with pytest.raises(SettingError, match=message):
        train(shapes, *small, *flags)
    assert not list(tmp_path.glob("out/seed-*/checkpoint/model.safetensors"))


def test_a_recipe_file_and_flags_end_in_a_package(shapes, tmp_path):
    pytest.importorskip("transformers", reason="training needs the extra 'train'")
    from pi10_classifier.model.session import Model
    from pi10_classifier.training.output_folder import read_config

    file = tmp_path / "quick.toml"
    file.write_text('network = "mobilenet_v2"\nepochs = 9\nsize = 32\nloss = "bce"\n', "utf-8")
    flags = (
        *("--recipe", file, "--epochs", 1, "--init", "random", "--seeds", "7"),
        *("--loss-option", "smoothing=0.2", "--set", "augmentation=none"),
        *("--out", tmp_path / "out"),
    )
    folder = Path(train(shapes, *flags)[-1])
    assert folder == tmp_path / "out" / "seed-7"
    recipe = read_config(folder)["identity"]["recipe"]
    assert (recipe["epochs"], recipe["loss"], recipe["seed"]) == (1, "bce", 7)
    assert recipe["loss_options"] == {"smoothing": 0.2}
    assert Model.load(folder / "package").package.preprocessing.size == 32
    assert Path(train(shapes, *flags, "--resume")[-1]) == folder
