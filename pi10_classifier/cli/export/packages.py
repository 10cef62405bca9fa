"""The commands ``pi10 export int8``, ``cascade`` and ``onnx``: write a model package."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pi10_classifier.cli.terminal.options import FOLDER
from pi10_classifier.cli.terminal.package_options import (
    ALLOW,
    DATA,
    DRAWS,
    LABEL_MAP,
    MANIFEST,
    MODEL,
    note_left_off,
    read_label_map,
    show_left_out,
    show_novelty,
    span,
    training_extra,
    warn_of_other_split,
    warn_of_sample_use,
)
from pi10_classifier.datasets.records import exit_code
from pi10_classifier.errors import SettingError
from pi10_classifier.foundation.extras import install_command

if TYPE_CHECKING:
    from pi10_classifier.packaging.int8 import Tuning


@click.command()
@MODEL
@DATA
@LABEL_MAP
@MANIFEST
@click.option(
    "--method",
    type=click.Choice(["best", "minmax", "entropy", "percentile"]),
    default="minmax",
    show_default=True,
    help="How the value ranges are calibrated; best tries all three, and takes the one whose"
    " answers differ least from the float graph's on training images. All but minmax need more"
    " memory and time.",
)
@click.option("--images", type=click.IntRange(30, 10_000), default=512, show_default=True,
              help="Number of images to calibrate the value ranges on.")  # fmt: skip
@click.option("--weight-bits", type=click.Choice(["7", "8"]), default="8", show_default=True,
              help="Bits of the weights. With 8, a CPU without VNNI (on Arm: the dot product)"
              " refuses the graph; with 7 it need not.")  # fmt: skip
@click.option("--float-layers", type=int, default=0, show_default=True,
              help="Most layers to leave in float: those that harm the answers most."
              " Each layer is tried, which takes minutes.")  # fmt: skip
@click.option("--finetune", type=float, metavar="EPOCHS",
              help="Correct the int8 graph's biases, then train its weights with their rounding, to"
              " answer as the float graph; 0 corrects alone. Needs the extra [train]."
              "  [default: neither]")  # fmt: skip
@click.option("--minutes", type=float, default=0.0,
              help="With --finetune: end it after this time.  [default: no limit]")  # fmt: skip
@click.option(
    "--only",
    is_flag=True,
    help="Write a package with the int8 graph alone, in place of the float one.",
)
@ALLOW
@DRAWS
@click.option("--out", required=True, type=FOLDER, help="Folder to write the package to.")
def int8(
    model: str,
    inputs: tuple[Path, ...],
    label_map: Path | None,
    manifest: Path | None,
    method: str,
    images: int,
    weight_bits: str,
    float_layers: int,
    finetune: float | None,
    minutes: float,
    only: bool,
    allow: float,
    draws: int,
    out: Path,
) -> None:
    """Add an int8 graph to a package: twice as fast on a CPU with VNNI.

    It is compared with the float graph on held-out images, as they are and in the Pi-10's looks:
    all but the training split of --manifest, or else half of the data. Unless the 95 % interval of
    the loss of macro-F1 stays within --allow in each, nothing is written, and the figures are
    printed. `classify --device auto` then runs it where the CPU has the instructions.

    \b
    Example:
      pi10 export int8 --model run/package --data crops/ --manifest run/manifest.csv --out run/int8
    """
    from pi10_classifier.model.session import Model
    from pi10_classifier.registry.resolve import find

    with training_extra("export int8"):
        from pi10_classifier.packaging.int8 import Wanted, export_int8
        from pi10_classifier.packaging.precision_gate import TURNS
        from pi10_classifier.training.data.held_out_looks import LOOKS
    original = Model.load(find(model))
    warn_of_other_split(original.package, manifest)
    done = export_int8(
        original,
        inputs,
        out,
        label_map=read_label_map(label_map),
        manifest=manifest,
        wanted=Wanted(method, images, int(weight_bits), float_layers, only),
        allowed=allow / 100,
        turns=TURNS,
        looks=LOOKS,
        draws=draws,
        tune=_tuning(finetune, minutes),
        on_scan=show_left_out,
    )
    click.echo(f"accepted: {done.gate}")
    for name, nats in done.record.get("divergence_by_method", {}).items():
        click.echo(f"{name}: answers diverge by {nats:.4f} nats on training images")
    for layer in done.record["in_float"]:
        click.echo(f"in float: {layer['layer']} (then {layer['divergence']:.4f} nats)")
    for name, cost in done.record.get("core_ms", {}).items():
        click.echo(f"{name}: {cost:.3f} ms of a core per image, the bare network")
    click.echo(
        f"{done.bytes_before / 1e6:.2f} MB in float, {done.bytes_after / 1e6:.2f} MB in int8"
    )
    if only:
        note_left_off(original.package, groups=False)
    click.echo(out)
    sys.exit(exit_code(done.left_out))


def _tuning(epochs: float | None, minutes: float) -> Tuning | None:
    """The training of an int8 graph; None without one."""
    if epochs is None:
        if minutes:
            raise SettingError("--minutes needs --finetune")
        return None
    try:
        from pi10_classifier.training.quantised.finetune import FineTuning
    except ImportError as error:
        raise SettingError(
            f"--finetune needs torch ({error}); run: {install_command('train')}"
        ) from error
    return FineTuning(epochs, minutes)


@click.command()
@click.option(
    "--fast",
    default="fast",
    show_default=True,
    help="Package that sees every image: a folder, or the name of an embedded one.",
)
@click.option(
    "--accurate",
    default="starter",
    show_default=True,
    help="Package that sees the doubtful images: a folder, or an embedded one's name.",
)
@DATA
@click.option(
    "--manifest",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The manifest.csv of a training or of `pi10 dataset`, whose splits are used.",
)
@click.option(
    "--share",
    type=float,
    help="Share of the validation images that the accurate package sees, 0 to 1.  [default:"
    " the smallest share that is as good as the accurate package alone, or else the"
    " best one]",
)
@click.option("--name", default="cascade", show_default=True, help="Name of the new model.")
@click.option("--out", required=True, type=FOLDER, help="Folder to write the package to.")
def cascade(
    fast: str,
    accurate: str,
    inputs: tuple[Path, ...],
    manifest: Path,
    share: float | None,
    name: str,
    out: Path,
) -> None:
    """Combine a fast and an accurate package; only doubtful images go to the accurate one.

    The score below which an image is doubtful is fitted on the validation split of --manifest;
    the figures come from its test split. The result is an ordinary package for `classify
    --model`. If the fast model alone is as good, the package is still written, with a note.

    \b
    Example:
      pi10 export cascade --data crops/ --manifest data/manifest.csv --out both
    """
    from pi10_classifier.model.session import Model
    from pi10_classifier.registry.resolve import find

    with training_extra("export cascade"):
        from pi10_classifier.packaging.cascade import NO_GAIN
        from pi10_classifier.packaging.cascade import cascade as join
    models = [Model.load(find(which)) for which in (fast, accurate)]
    for model in models:
        warn_of_other_split(model.package, manifest)
    done = join(models[0], models[1], inputs, out, manifest=manifest, share=share, name=name)
    show_left_out(done.found)
    f1 = done.validation
    click.echo(
        f"images with a score below {done.below:.4f} go to the accurate model:"
        f" {done.share:.1%} of the validation images; validation macro-F1:"
        f" {f1['fast']:.4f} fast, {f1['accurate']:.4f} accurate, {f1['cascade']:.4f} cascade"
    )
    if not done.pays:
        click.echo(NO_GAIN.format(models[0].package.name))
    for model in models:
        note_left_off(model.package)
    for source, row in done.metrics.items():
        click.echo(f"{source}: macro-F1 {span(row['macro_f1'])}, {row['n']:,} images")
    click.echo(out)
    sys.exit(exit_code(done.found.left_out))


@click.command()
@MODEL
@DATA
@LABEL_MAP
@MANIFEST
@click.option(
    "--split",
    default="",
    help="Split to fit on: train, validation or test.  [default: validation with --manifest,"
    " otherwise all images]",
)
@click.option(
    "--false-alarms",
    type=float,
    default=0.02,
    show_default=True,
    help="Share of images of the model's classes to flag all the same, 0.001 to 0.2.",
)
@click.option(
    "--version", default="", help="Version of the package.  [default: the model's, with +novelty]"
)
@click.option("--out", required=True, type=FOLDER, help="Folder to write the package to.")
def novelty(
    model: str,
    inputs: tuple[Path, ...],
    label_map: Path | None,
    manifest: Path | None,
    split: str,
    false_alarms: float,
    version: str,
    out: Path,
) -> None:
    """Let a package tell which images are unlike those it was trained on.

    With the new package `classify` writes a column novelty, flags images above its threshold as
    unlike_training and counts them. Classes and scores stay the same. Fit it on images of the
    model's classes that it was not trained on. With --manifest it is judged on the test split, by
    the images of none of the classes there.

    \b
    Example:
      pi10 export novelty --model run/package --data crops/ --manifest run/manifest.csv --out told
    """
    from pi10_classifier.model.session import Model
    from pi10_classifier.registry.resolve import find

    with training_extra("export novelty"):
        from pi10_classifier.packaging.novelty import export_novelty
    original = Model.load(find(model))
    warn_of_other_split(original.package, manifest)
    done = export_novelty(
        original,
        inputs,
        out,
        label_map=read_label_map(label_map),
        manifest=manifest,
        split=split,
        false_alarms=false_alarms,
        version=version,
        on_scan=show_left_out,
    )
    click.echo(
        f"fitted on {done.images:,} images; class scores differ by"
        f" {done.largest_difference:.0e} at most"
    )
    show_novelty(done.judged)
    if not done.judged:
        click.echo(
            "note: not judged: that takes a test split, such as that of --manifest, with images of"
            " none of the model's classes",
            err=True,
        )
    warn_of_sample_use(done.of_runs, "calibrated")
    click.echo(out)
    sys.exit(exit_code(done.left_out))


@click.command()
@click.argument("checkpoint", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", required=True, type=FOLDER, help="Folder to write the package to.")
def onnx(checkpoint: Path, out: Path) -> None:
    """Export a training's CHECKPOINT folder to a model package for `classify --model`.

    Nothing is written if ONNX Runtime's scores differ from the network's. Needs the extra
    [train].
    """
    try:
        from pi10_classifier.training.onnx_export import export_package
    except ImportError as error:
        raise SettingError(
            f"export needs torch ({error}); run: {install_command('train')}"
        ) from error
    export_package(checkpoint, out)
    click.echo(out)


@click.command()
@MODEL
@DATA
@LABEL_MAP
@MANIFEST
@click.option("--each", type=int, default=200, show_default=True,
              help="Most images of a class, drawn at random.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed of the draw.")
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write, ending in .npz. Named replay.npz in the model's folder, `pi10 adapt` finds"
    " it by itself.",
)
def replay(
    model: str,
    inputs: tuple[Path, ...],
    label_map: Path | None,
    manifest: Path | None,
    each: int,
    seed: int,
    out: Path,
) -> None:
    """Write features of a model's source images, for `pi10 adapt`.

    A head is then fitted on few labelled crops together with them. With --manifest they come from
    the training split. The file holds no pixels and has about 2.5 kB an image.

    \b
    Example:
      pi10 export replay --model run/package --data crops/ --manifest run/manifest.csv
        --out run/package/replay.npz
    """
    from pi10_classifier.model.session import Model
    from pi10_classifier.registry.resolve import find

    with training_extra("export replay"):
        from pi10_classifier.packaging.adaptation.replay import export_replay
    done = export_replay(
        Model.load(find(model)), inputs, out, manifest=manifest,
        label_map=read_label_map(label_map), each=each, seed=seed, on_scan=show_left_out,
    )  # fmt: skip
    counts = ", ".join(f"{n:,} {label}" for label, n in done.images.items())
    click.echo(f"{counts}; {done.bytes / 1e6:.1f} MB")
    click.echo(out)
    sys.exit(exit_code(done.left_out))
