"""The plan of a training: all its settings except the data, and its record."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from torch import nn

import pi10_classifier
from pi10_classifier.datasets.split import counts
from pi10_classifier.errors import SettingError
from pi10_classifier.model.groups import Groups
from pi10_classifier.model.package import ALIASES, Package, installed, read_package
from pi10_classifier.model.session import Model
from pi10_classifier.registry.reference import is_reference
from pi10_classifier.registry.resolve import find
from pi10_classifier.training import output_folder as out
from pi10_classifier.training.checkpoint import DESCRIPTION, load_checkpoint
from pi10_classifier.training.data.groups import groups_of
from pi10_classifier.training.data.loading import Examples
from pi10_classifier.training.distillation import PackageTeacher
from pi10_classifier.training.losses.registry import LOSSES
from pi10_classifier.training.networks.grouped import GroupedNetwork
from pi10_classifier.training.networks.head_rows import HeadRows, head_rows
from pi10_classifier.training.networks.measured import Standard, with_numbers
from pi10_classifier.training.networks.registry import ARCHITECTURES, build, origin
from pi10_classifier.training.recipe import Recipe

_SOFTWARE = ("torch", "transformers", "accelerate", "onnxruntime", "numpy")
# fields of an earlier training that the card shows, and other fields of its record
_TOLD = {"command", "run_id", "recipe", "epochs", "minutes"}
_MORE = ("best_epoch", "history", "drawn_images_per_class", "named")
_SPLIT = (
    "Split 70/10/20 within each source and source label, by a hash of the member's name, images"
    " of one bin and duplicates kept together"
)


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """The settings of a training besides its data.

    init: "pretrained", "random", a folder of safetensors, or a model package. teachers: packages,
    whose mean probabilities are learnt. sources: source -> its title and licence for the model
    card. never_seen: what the model has not seen, for its card and each run that uses it. licence:
    the SPDX name of the model's licence; "" if not stated. save_steps: optimiser steps between
    checkpoints; 0 saves at the end of each epoch only. loaders: threads or processes that prepare
    images; None chooses the number. command: for the record.
    """

    network: str
    recipe: Recipe
    out: Path
    seeds: tuple[int, ...] = (0,)
    init: str = "pretrained"
    teachers: tuple[str, ...] = ()
    name: str = ""
    device: str = ""
    loaders: int | None = None
    save_steps: int = 0
    split: str = _SPLIT
    command: str = ""
    sources: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    never_seen: str = ""
    licence: str = ""

    def __post_init__(self) -> None:
        if self.network not in ARCHITECTURES:
            raise SettingError(
                f"unknown network or recipe {self.network!r}; networks: "
                f"{', '.join(ARCHITECTURES)}; recipes: a network's name, small, or a TOML file"
            )
        if self.recipe.loss not in LOSSES:
            raise SettingError(f"unknown loss {self.recipe.loss!r}; known: {', '.join(LOSSES)}")
        if self.recipe.numbers and self.head == "cosine":
            raise SettingError(
                f"measured is {self.recipe.measured!r}, but the loss {self.recipe.loss} needs a"
                " head of cosines alone; take another loss, or set measured to nothing"
            )
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise SettingError(
                f"seeds are {list(self.seeds)}; give one or more different"
                " whole numbers of 0 or more"
            )
        if self.init not in ("pretrained", "random") and not Path(self.init).exists():
            names = [*(folder.name for folder in installed()), *ALIASES]
            if self.init not in names:
                raise SettingError(
                    f"init is {self.init!r}; it must be 'pretrained', 'random', a folder of weights"
                    f" or of a model package, or one of {', '.join(names)}"
                )

    def folder(self, seed: int) -> Path:
        """The folder of that seed's training."""
        return self.out / f"seed-{seed}"

    def source(self, name: str) -> dict[str, str]:
        """The citation of a source in the model card."""
        title, licence = self.sources.get(name, (name, "not stated"))
        return {"source": title, "licence": licence}

    @property
    def weights(self) -> Path | None:
        """The folder of the initial weights; a training's seed folder means its best weights."""
        if self.init in ("pretrained", "random"):
            return None
        if _by_name(self.init):
            return find(self.init)
        inside = Path(self.init) / out.CHECKPOINT
        return inside if inside.is_dir() else Path(self.init)

    @property
    def package(self) -> Package | None:
        """The model package of the initial weights, or None."""
        if self.weights is None or not (self.weights / "model.json").is_file():
            return None
        return read_package(self.weights)[0]

    def build(
        self,
        classes: Sequence[str],
        groups: Groups | None = None,
        standard: Standard | None = None,
    ) -> nn.Module:
        """Build the network with its initial weights; random ones depend on torch's generator.

        groups: the network predicts these, and sums them to the classes. standard: of the measured
        numbers that the recipe names; None before there are images.
        """
        loss = LOSSES[self.recipe.loss]
        network = build(
            self.network,
            len(groups.names) if groups else len(classes),
            size=self.recipe.size,
            channels=self.recipe.channels,
            init="random" if self.init == "random" else "pretrained",
            weights=self.weights,
            attention=loss.needs_attention,
            head=self.head,
            rows=self.head_rows(classes, groups),
        )
        if names := self.recipe.numbers:
            standard = standard or Standard.unknown(names)
        taking = with_numbers(network, standard, self.recipe.channels, self.recipe.size)
        return GroupedNetwork(taking, groups) if groups else taking

    def head_rows(self, classes: Sequence[str], groups: Groups | None = None) -> HeadRows | None:
        """The rows of the head that begin with weights of ``init``; None if its head is unknown."""
        return head_rows(_before(self), classes, groups)

    @property
    def head(self) -> str:
        return "cosine" if LOSSES[self.recipe.loss].needs_cosine else "linear"


def config_of(
    examples: Examples,
    plan: TrainingPlan,
    teacher: PackageTeacher | None,
    recipe: Recipe | None = None,
) -> dict[str, Any]:
    """The record of a training; "identity" is what must be unchanged to resume it."""
    groups = groups_of(examples, recipe or plan.recipe)
    return {
        "format": 1,
        "identity": {
            "network": plan.network,
            "classes": list(examples.classes),
            "split_sha256": examples.sha256,
            "cameras": {source: asdict(device) for source, device in examples.cameras.items()},
            "initial_weights": origin_of(plan),
            "teacher": teacher.sha256 if teacher else "",
            "recipe": (recipe or plan.recipe).to_dict(),
            **({"groups": groups.to_dict()} if groups else {}),
        },
        "inputs": [str(path) for path in examples.scan.origins.values()],
        "images": counts(examples.samples, examples.classes),
        "command": plan.command,
        "software": {
            "pi10-classifier": pi10_classifier.__version__,
            **{name: metadata.version(name) for name in _SOFTWARE},
        },
        "notes": _leaks(examples, plan, teacher),
    }


def _leaks(
    examples: Examples, plan: TrainingPlan, teacher: PackageTeacher | None
) -> dict[str, dict[str, str]]:
    """Packages that were trained on another split, and so may know the test images of this one."""
    splits: dict[str, str] = {}
    for number, model in enumerate(teacher.models if teacher else (), start=1):
        of_package = model.package.description.get("training", {})
        splits[f"teacher {number}" if number > 1 else "teacher"] = of_package.get(
            "split_sha256", ""
        )
    if before := _before(plan):
        splits["initial weights"] = before.get("training", {}).get("split_sha256", "")
    other = {who: sha for who, sha in splits.items() if sha != examples.sha256}
    return {"trained_on_another_split": other} if other else {}


def origin_of(plan: TrainingPlan) -> dict[str, str]:
    kept = origin(plan.network, "random" if plan.init == "random" else "", plan.weights)
    if plan.weights is None:
        return kept
    if package := plan.package:
        return {**kept, "weights_sha256": package.sha256}
    digest = hashlib.sha256()
    for path in sorted(plan.weights.glob("*.safetensors")):
        digest.update(path.read_bytes())
    return {**kept, "weights_sha256": digest.hexdigest()}


def _before(plan: TrainingPlan) -> dict[str, Any]:
    """The description of the training that gave the initial weights; empty if there is none."""
    if package := plan.package:
        return {**package.description, "weights_sha256": package.sha256}
    if plan.weights is None or not (plan.weights / DESCRIPTION).is_file():
        return {}
    return load_checkpoint(plan.weights)[1]


def named(plan: TrainingPlan) -> dict[str, dict[str, str]]:
    """Version and graph of the embedded packages that the plan names.

    Another release may have other packages with these names, so the command alone is ambiguous.
    """
    packages: dict[str, dict[str, str]] = {}
    for name in filter(_by_name, (plan.init, *plan.teachers)):
        package = read_package(find(name))[0]
        packages[name] = {"version": package.version, "sha256": package.sha256}
    return packages


def _by_name(name: str) -> bool:
    """Whether the name means an embedded package or one of a registry, not a folder."""
    if is_reference(name):
        return True
    folder = Path(name)
    if any((folder / inside).exists() for inside in ("model.json", out.CHECKPOINT)):
        return False
    known = {path.name for path in installed()} | ALIASES.keys()
    return name in known and not any(folder.glob("*.safetensors"))


def provenance(plan: TrainingPlan) -> dict[str, Any]:
    """The origin of the weights for a model's description, with that of earlier weights.

    "stages" are the trainings that led to the initial weights, the earliest first.
    """
    fields = _before(plan)
    if not fields:
        return dict(origin_of(plan))
    past = fields.get("training", {})
    if _TOLD - past.keys():
        what = f"model package {fields.get('name')} {fields.get('version')}"
        return {**origin_of(plan), "origin": what}
    begun = dict(past.get("initial_weights", {}))
    stages = begun.pop("stages", [])
    last = {"weights_sha256": fields["weights_sha256"]}
    last |= {key: past[key] for key in (*_TOLD, *_MORE) if key in past}
    return {"origin": "unknown", **begun, "stages": [*stages, last]}


def teacher_of(
    examples: Examples, plan: TrainingPlan, emit: Callable[[str], None]
) -> PackageTeacher | None:
    """The plan's teacher, checked against the data's classes; warns if it may know test images."""
    models = [Model.load(find(name)) for name in plan.teachers]
    for name, model in zip(plan.teachers, models, strict=True):
        if model.package.measured:
            raise SettingError(
                f"the teacher {name} takes measured numbers beside the image, which views"
                " of an image do not have; adapt it with --features network, or give another"
            )
        known = tuple(model.package.classes)
        if known != examples.classes:
            raise SettingError(
                f"the teacher {name} knows {', '.join(known)}, but the data have"
                f" {', '.join(examples.classes)}; give a label map, or another teacher"
            )
    teacher = PackageTeacher(*models) if models else None
    for who in _leaks(examples, plan, teacher).get("trained_on_another_split", {}):
        emit(
            f"note: the {who} may have been trained on test images of this split (it names"
            " another split, or none), so the test figures may be too good"
        )
    return teacher
