"""Encoders of profiles by name: padded (N, C, L) and mask (N, L) -> features (N, 512).

What lies behind a profile's end has no influence: a test compares a profile alone and in a batch
with longer ones.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from pi10_classifier.errors import SettingError
from pi10_classifier.training.pretraining.profiles import MOST_POINTS

WIDTH = 512
_HIDDEN = 128
_HEADS, _LAYERS = 4, 3


def mean_of_points(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of (N, L, D) over the points where the mask (N, L) is True: (N, D)."""
    weight = mask.unsqueeze(2).to(x.dtype)
    return (x * weight).sum(1) / weight.sum(1).clamp(min=1)


class ConvolutionalEncoder(nn.Module):
    """A 1-D CNN of three residual convolutions; masked again after each layer."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(channels, _HIDDEN, 7, padding=3)
        self.layers = nn.ModuleList(
            nn.Conv1d(_HIDDEN, _HIDDEN, 5, padding=2 * step, dilation=step) for step in (1, 2, 4)
        )
        self.last = nn.Linear(_HIDDEN, WIDTH)

    def forward(self, profile: Tensor, mask: Tensor) -> Tensor:
        there = mask.unsqueeze(1).to(profile.dtype)
        x = functional.gelu(self.first(profile)) * there
        for layer in self.layers:
            x = x + functional.gelu(layer(x)) * there
        features: Tensor = self.last(mean_of_points(x.transpose(1, 2), mask))
        return features


class RecurrentEncoder(nn.Module):
    """A bidirectional LSTM; the mean of its states over the points."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(channels, _HIDDEN, batch_first=True, bidirectional=True)
        self.last = nn.Linear(2 * _HIDDEN, WIDTH)

    def forward(self, profile: Tensor, mask: Tensor) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(
            profile.transpose(1, 2), mask.sum(1).cpu(), batch_first=True, enforce_sorted=False
        )
        states, _ = nn.utils.rnn.pad_packed_sequence(
            self.lstm(packed)[0], batch_first=True, total_length=mask.shape[1]
        )
        features: Tensor = self.last(mean_of_points(states, mask))
        return features


class TransformerEncoder(nn.Module):
    """A transformer with learnt positions; the mean of its outputs over the points."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Linear(channels, _HIDDEN)
        self.positions = nn.Parameter(torch.randn(MOST_POINTS, _HIDDEN) * 0.02)
        layer = nn.TransformerEncoderLayer(
            _HIDDEN, _HEADS, 4 * _HIDDEN, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, _LAYERS, enable_nested_tensor=False)
        self.last = nn.Linear(_HIDDEN, WIDTH)

    def forward(self, profile: Tensor, mask: Tensor) -> Tensor:
        x = self.first(profile.transpose(1, 2)) + self.positions[: profile.shape[2]]
        states = self.layers(x, src_key_padding_mask=~mask)
        features: Tensor = self.last(mean_of_points(states, mask))
        return features


ENCODERS: dict[str, Callable[[int], nn.Module]] = {
    "cnn": ConvolutionalEncoder,
    "lstm": RecurrentEncoder,
    "transformer": TransformerEncoder,
}


def profile_encoder(name: str, channels: int) -> nn.Module:
    """An encoder by name; raises SettingError for another name."""
    if name not in ENCODERS:
        raise SettingError(
            f"unknown profile encoder {name!r}; it must be one of {', '.join(ENCODERS)}"
        )
    return ENCODERS[name](channels)
