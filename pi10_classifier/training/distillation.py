"""Distils a teacher's logits, in addition to the labels (Hinton et al. 2015)."""

from __future__ import annotations

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


class Teacher(Protocol):
    """Computes logits for a batch; called in the threads or processes that prepare batches.

    spec: how the teacher's images are prepared; None if it needs no images. augmented: whether they
    are augmented like the student's (with the same draw).
    """

    spec: Preprocessing | None
    augmented: bool

    def logits(self, images: U8 | None, chosen: I64) -> F32 | None:
        """Images (N, C, S, S) uint8 and their indices (N,) -> (N, K), or None: use ``network``."""

    @property
    def network(self) -> nn.Module | None:
        """A torch teacher, to run on the student's device; None for other kinds."""


@dataclass(slots=True)
class GivenTeacher:
    """Precomputed logits (training images, K), which do not see the augmentation."""

    given: F32
    spec: Preprocessing | None = None
    augmented: bool = False

    def logits(self, images: U8 | None, chosen: I64) -> F32:
        return np.asarray(self.given[chosen], np.float32)

    @property
    def network(self) -> None:
        return None


class PackageTeacher:
    """A model package, run with ONNX Runtime as in serving."""

    def __init__(self, model: Model, augmented: bool = True) -> None:
        self.model, self.augmented = model, augmented
        self.spec: Preprocessing | None = model.package.preprocessing

    def logits(self, images: U8 | None, chosen: I64) -> F32:
        if images is None:
            raise TypeError("a package needs images")
        scores = self.model.scores(images)
        return np.asarray(np.log(np.maximum(scores, _TINY)), np.float32)

    @property
    def network(self) -> None:
        return None


@dataclass(slots=True)
class NetworkTeacher:
    """A trained network of ``networks.build``, run beside the student on its device."""

    teacher: nn.Module
    spec: Preprocessing | None
    augmented: bool = True

    def logits(self, images: U8 | None, chosen: I64) -> None:
        return None

    @property
    def network(self) -> nn.Module:
        return self.teacher


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
    if isinstance(teacher, PackageTeacher) and teacher.model.package.measured:
        raise SettingError(
            f"the teacher {teacher.model.package.folder} takes measured numbers beside the image,"
            " which drawn views of an image do not have; adapt it with --features network, or give"
            " another teacher"
        )
    if isinstance(teacher, PackageTeacher) and len(teacher.model.package.classes) != classes:
        raise SettingError(
            f"the teacher {teacher.model.package.folder} knows"
            f" {', '.join(teacher.model.package.classes)}, but there are {classes} classes to"
            " learn; give another teacher"
        )


def distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 KL(softmax(teacher / T) || softmax(student / T)), mean over the batch, nats."""
    teacher_log_p = torch.log_softmax(teacher.float() / temperature, dim=1)
    student_log_p = torch.log_softmax(student.float() / temperature, dim=1)
    gap = functional.kl_div(student_log_p, teacher_log_p, reduction="batchmean", log_target=True)
    return gap * temperature**2
