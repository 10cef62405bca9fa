"""The settings of the engine, with their bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from pi10_classifier.drift.reference import Reference
from pi10_classifier.errors import SettingError
from pi10_classifier.foundation.concurrency import usable_cores
from pi10_classifier.imaging.decode import Caps
from pi10_classifier.instrument.names import UM_PER_PX
from pi10_classifier.model.graphs.choice import chosen_device
from pi10_classifier.model.package import Package, embedded
from pi10_classifier.model.runtime import (
    AUTO,
    CHUNK_ITEMS,
    DEVICE_HELP,
    FP32,
    RUNTIMES,
    Runtime,
    runtime_of,
)
from pi10_classifier.results.run_folder import TABLE_VERSION
from pi10_classifier.sources.base import Limits

MAX_JOBS = 256
BATCH_DEFAULT = (  # for people
    f"{RUNTIMES['cpu'].batch}; {RUNTIMES['cpu:int8'].batch} in int8,"
    f" {RUNTIMES['openvino:int8'].batch} in OpenVINO's int8, {RUNTIMES['cuda'].batch} on a GPU"
)
# lowest and highest value of each number in Settings; command line and API use them too
BOUNDS: Mapping[str, tuple[float, float]] = {
    "jobs": (1, MAX_JOBS),
    "batch": (1, 1024),
    "um_per_px": (0.01, 10_000),
}


def default_jobs() -> int:
    """The number of cores that this process may use."""
    return usable_cores()


@dataclass(frozen=True, slots=True)
class Settings:
    """How to classify. ``jobs`` affects the speed, all others the results.

    batch: images per call of the model; None for what suits the runtime (``Runtime.batch``).

    device: a key of ``runtime.RUNTIMES``; ``auto`` becomes the one that it stands for with
    ``model`` on this machine, and ``auto`` remembers that, for another model.

    groups: whether the table has the most probable finer group of each particle. reference: what
    drift is told by; None for none. camera: whether the table has the columns of ground and
    sharpness; always with a reference. features: the tensor of the graph that ``features.parquet``
    is made of; "" for no such table.
    """

    model: Path = field(default_factory=embedded)
    jobs: int = field(default_factory=default_jobs)
    batch: int | None = field(default=None, metadata={"help": "Images per call of the model."})
    measure: bool = field(default=True, metadata={"help": "Measure each particle's silhouette."})
    um_per_px: float = field(
        default=UM_PER_PX, metadata={"help": "Pixel size for measurements, µm."}
    )
    device: str = field(default="cpu", metadata={"help": DEVICE_HELP})
    groups: bool = False
    reference: Reference | None = None
    camera: bool = False
    features: str = ""
    caps: Caps = field(default_factory=Caps)
    limits: Limits = field(default_factory=Limits)
    auto: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "auto", self.auto or self.device == AUTO)
        object.__setattr__(self, "device", chosen_device(self.device, self.model))
        for name, (low, high) in BOUNDS.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                option = name.replace("_", "-")
                raise SettingError(f"--{option} is {value}; it must be {low} to {high}")
        if self.reference and not self.camera:
            object.__setattr__(self, "camera", True)

    def with_model(self, folder: Path) -> Settings:
        """These settings with another package; ``auto`` is chosen anew for it."""
        return replace(self, model=folder, device=AUTO if self.auto else self.device)

    def with_reference(self, package: Package) -> Settings:
        """These settings with the package's reference, unless another was given.

        Raises SettingError for a reference of another model or pixel size, or without sizes.
        """
        reference = self.reference or package.reference
        if reference is None:
            return self
        # an int8 graph that the gate accepted counts the same classes as the graph in fp32
        of_model = package.has_graph(reference.model_sha256)
        if not of_model or reference.classes != package.classes:
            raise SettingError(
                f"the reference was made with another model ({reference.model_sha256[:8]}, not"
                f" {package.sha256[:8]} of {package.name}); make one by `pi10 export reference` of"
                " a run with this model"
            )
        if reference.um_per_px != self.um_per_px:
            raise SettingError(
                f"--um-per-px is {self.um_per_px:g}, and the reference was made with"
                f" {reference.um_per_px:g}; use the same"
            )
        if not self.measure and "size" in reference.quantities:
            raise SettingError("the reference compares sizes; leave --no-measure out")
        if reference.model_sha256 != package.sha256:
            reference = reference.of_other_graph()
        return replace(self, reference=reference)

    def of_rows(self, package: Package) -> dict[str, Any]:
        """What ``RunFolder`` must know of the rows to come."""
        return {
            "novelty": package.novelty is not None,
            "groups": self.groups,
            "camera": self.camera,
            "reference": self.reference,
        }

    @property
    def runtime(self) -> Runtime:
        """The library and precision that ``device`` stands for."""
        return runtime_of(self.device)

    @property
    def threads(self) -> int:
        """Threads that work on images: ``jobs``, or one more (``Runtime.threads``)."""
        return self.runtime.threads(self.jobs)

    def fingerprint(self, package: Package) -> dict[str, Any]:
        """The settings that affect results, and so must be the same to resume a run."""
        fields = {
            "tables": TABLE_VERSION,
            "model": f"{package.name} {package.version}",
            "model_sha256": package.sha256,
            "classes": list(package.classes),
            "preprocessing": package.preprocessing.to_dict(),
            "temperature": package.temperature,
            "batch": self.batch or self.runtime.batch,
            "chunk": CHUNK_ITEMS,
            "device": self.device,
            "runtime": self.runtime.library,
            "precision": self.runtime.precisions,
            "measure": self.measure,
            "um_per_px": self.um_per_px,
            "caps": asdict(self.caps),
            "limits": asdict(self.limits),
        }
        if package.precision != FP32:  # absent otherwise, so that older runs can be resumed
            fields["graph"] = package.graph_file
        if package.thresholds:  # absent otherwise, so that older runs can be resumed
            fields["thresholds"] = dict(zip(package.classes, package.thresholds, strict=True))
        if package.novelty:  # its graph is in model_sha256
            fields["novelty_threshold"] = package.novelty.threshold
        if self.camera:
            fields["camera"] = True
        if self.reference:
            fields["reference"] = self.reference.digest
        if self.features:
            fields["features"] = self.features
        if self.groups and package.groups:  # model_sha256 is of the graph, not of these names
            fields["groups"] = package.groups.to_dict()
        if package.measured:
            fields["measured"] = package.measured.to_dict()
        return fields


HELP: Mapping[str, str] = {
    entry.name: entry.metadata["help"] for entry in fields(Settings) if "help" in entry.metadata
}
"""The meaning of each setting; command line and API use these texts."""
