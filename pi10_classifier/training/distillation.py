"""Distils a teacher's logits, in addition to the labels (Hinton et al. 2015)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from pi10_classifier.errors import SettingError
from pi10_classifier.imaging.preprocess import Preprocessing
from pi10_classifier.model.session import Model

U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]
F32 = NDArray[np.float32]

_TINY = 1e-7  # lower bound of a teacher's probabilities before their logarithm is taken


Draw = Callable[[Preprocessing, bool], U8]  # spec, augmented -> images (N, C, S, S)


class Teacher(Protocol):
    """Computes logits for a batch; called in the threads or processes that prepare batches.

    side: the largest input that it needs, px; 0 if it needs no images.
    """

    @property
    def side(self) -> int: ...

    def logits(self, draw: Draw, chosen: I64) -> F32 | None:
        """Logits (N, K) for the images with the indices (N,), or None: use ``network``.

        draw gives the batch's images as a spec describes them, augmented as the student's (with
        the same random draw) or not.
        """

    @property
    def network(self) -> nn.Module | None:
        """A torch teacher, to run on the student's device; None for other kinds."""

    @property
    def network_spec(self) -> Preprocessing | None:
        """How the images of ``network`` are prepared."""


@dataclass(slots=True)
class GivenTeacher:
    """Precomputed logits (training images, K), which do not see the augmentation."""

    given: F32
    side: int = 0
    network: None = None
    network_spec: None = None

    def logits(self, draw: Draw, chosen: I64) -> F32:
        return np.asarray(self.given[chosen], np.float32)


class PackageTeacher:
    """Model packages, run with ONNX Runtime as in serving; several give their mean probabilities.

    Each sees the same random draw at its own size. The mean over networks is a better teacher than
    each of them (Hinton et al. 2015, section 3).
    """

    network: None = None
    network_spec: None = None

    def __init__(self, *models: Model, augmented: bool = True) -> None:
        if not models:
            raise ValueError("a teacher needs a model")
        self.models, self.augmented = models, augmented
        self.side = max(model.package.preprocessing.size for model in models)

    def logits(self, draw: Draw, chosen: I64) -> F32:
        images: dict[Preprocessing, U8] = {}
        scores: list[F32] = []
        for model in self.models:
            spec = model.package.preprocessing
            if spec not in images:
                images[spec] = draw(spec, self.augmented)
            scores.append(model.scores(images[spec]))
        mean = np.mean(scores, axis=0)
        return np.asarray(np.log(np.maximum(mean, _TINY)), np.float32)

    @property
    def sha256(self) -> str:
        """The graphs' SHA-256, joined by commas in the order given."""
        return ",".join(model.package.sha256 for model in self.models)


@dataclass(slots=True)
class NetworkTeacher:
    """A trained network of ``networks.build``, run beside the student on its device."""

    network: nn.Module
    network_spec: Preprocessing

    @property
    def side(self) -> int:
        return self.network_spec.size

    def logits(self, draw: Draw, chosen: I64) -> None:
        return None


def check_teacher(teacher: Teacher | None, weight: float, images: int, classes: int) -> None:
    """Refuse a weight without a teacher, a teacher without a weight, and mismatched shapes."""
    if (teacher is None) != (weight == 0):
        raise SettingError(
            f"distil is {weight}, but there is {'no' if teacher is None else 'a'} teacher;"
            " give both a teacher and a weight above 0, or neither"
        )
    if isinstance(teacher, GivenTeacher) and teacher.given.shape != (images, classes):
        raise SettingError(
            f"the teacher's logits have shape {teacher.given.shape}, but there are {images}"
            f" training images and {classes} classes"
        )
    for model in teacher.models if isinstance(teacher, PackageTeacher) else ():
        package = model.package
        if package.measured:
            raise SettingError(
                f"the teacher {package.folder} takes measured numbers beside the image, which"
                " drawn views of an image do not have; adapt it with --features network, or give"
                " another teacher"
            )
        if len(package.classes) != classes:
            raise SettingError(
                f"the teacher {package.folder} knows {', '.join(package.classes)}, but there are"
                f" {classes} classes to learn; give another teacher"
            )


def distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 KL(softmax(teacher / T) || softmax(student / T)), mean over the batch, nats."""
    teacher_log_p = torch.log_softmax(teacher.float() / temperature, dim=1)
    student_log_p = torch.log_softmax(student.float() / temperature, dim=1)
    gap = functional.kl_div(student_log_p, teacher_log_p, reduction="batchmean", log_target=True)
    return gap * temperature**2
