"""Label-distribution-aware margins: LDAM (Cao et al. 2019)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from pi10_classifier.errors import SettingError
from pi10_classifier.training.losses.base import Loss, class_counts, cross_entropy
from pi10_classifier.training.losses.cross_entropy import effective_weights
from pi10_classifier.training.networks.base import COSINE_SCALE, Output


class LDAM(Loss):
    """Label-distribution-aware margins (Cao 2019), with deferred re-weighting.

    The network needs the cosine head, whose logits are s cos(feature, class weight). From the true
    logit, s m_y is subtracted, with m_y = C/N_y^1/4 and C such that the largest margin is
    ``margin``. After the share ``defer`` of the training (1 = never), classes are weighted with
    ``effective_weights``, and the mean is the weighted mean.
    """

    soft = False
    margins: Tensor
    weight: Tensor

    def __init__(
        self,
        counts: Sequence[int],
        margin: float = 0.5,
        scale: float = COSINE_SCALE,
        defer: float = 0.8,
        beta: float = 0.9999,
    ) -> None:
        super().__init__(len(counts))
        if not 0 < margin <= 2 or scale <= 0 or not 0 <= defer <= 1:
            raise SettingError(
                f"LDAM got margin {margin}, scale {scale} and defer {defer}; the margin must"
                " be 0 to 2, the scale positive and defer 0 to 1"
            )
        quarter = class_counts(counts).double() ** -0.25
        margins = (quarter * margin / quarter.max()).float()
        self.scale, self.defer, self.checked = scale, defer, False
        self.register_buffer("margins", margins, persistent=False)
        self.register_buffer("weight", effective_weights(counts, beta), persistent=False)

    def forward(self, output: Output, target: Tensor) -> Tensor:
        shares = self.shares(target)
        logits = output.logits.float()
        if not self.checked:  # only once, because reading a value makes the GPU wait
            if (highest := logits.detach().abs().max().item()) > 1.01 * self.scale:
                raise SettingError(
                    f"LDAM got a logit of size {highest:.3g}, above its scale {self.scale:g}; the"
                    " classifier must be normalised: build the network with head='cosine'"
                )
            self.checked = True
        loss = cross_entropy(logits - self.scale * self.margins * shares, shares)
        if self.progress < self.defer or self.defer == 1:
            return loss.mean()
        weight = self.weight[target]
        return (weight * loss).sum() / weight.sum()
