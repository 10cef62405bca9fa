"""A network whose head predicts finer groups, which it sums to the classes.

The probability of a class is the sum of those of its groups, so its logit is the log-sum-exp of
theirs. Losses, temperature and thresholds work on the class logits as without groups.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from pi10_classifier.model.groups import Groups
from pi10_classifier.training.networks.base import Output


class GroupedNetwork(nn.Module):
    """A network with one logit a group (N, G) -> class logits (N, K), and the groups beside them.

    The groups of a class must stand together, in the order of the classes: raises ValueError.
    """

    def __init__(self, network: nn.Module, groups: Groups) -> None:
        super().__init__()
        places = groups.places.tolist()
        if places != sorted(places):
            raise ValueError("the groups must be in the order of their classes")
        ends = [places.index(label) for label in range(len(groups.classes))]
        self.spans = tuple(pairwise([*ends, len(places)]))
        self.network, self.table = network, groups
        self.attention = getattr(network, "attention", False)

    def forward(self, image: Tensor, *numbers: Tensor) -> Output:
        output = Output(*self.network(image, *numbers))
        groups = output.logits.float()
        return output._replace(logits=rolled_up(groups, self.spans), groups=groups)


def rolled_up(groups: Tensor, spans: tuple[tuple[int, int], ...]) -> Tensor:
    """Group logits (N, G) -> class logits (N, K), the log-sum-exp of the columns of each span."""
    columns = []
    for first, end in spans:
        own = groups[:, first:end]
        # not torch.logsumexp: ONNX Runtime's operator for it overflows for large logits
        top = own.detach().amax(dim=1, keepdim=True)
        columns.append(top + (own - top).exp().sum(dim=1, keepdim=True).log())
    return torch.cat(columns, dim=1)


def without_groups(network: nn.Module) -> nn.Module:
    """The network that gives one logit a group, as its weights are kept."""
    return network.network if isinstance(network, GroupedNetwork) else network
