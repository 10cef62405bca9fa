"""Checks, before a training, that it fits into memory and on the disk."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import torch
from torch import Tensor, nn

from pi10_classifier.errors import SettingError
from pi10_classifier.training.networks.base import Output

_SAMPLE = 2  # images in the measurement
_MARGIN = 1.15  # for what the measurement misses: gradients of activations, fragmentation
_GIB = 2**30


def activation_bytes(network: nn.Module, size: int, channels: int) -> int:
    """Bytes per image that a forward pass keeps for the backward pass, measured on two images.

    It runs in eval mode, so that the statistics of the norms and random numbers do not change.
    """
    device = next(network.parameters()).device
    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept: dict[int, int] = {}

    def pack(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return value

    training = network.training
    network.eval()
    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
            image = torch.zeros(_SAMPLE, channels, size, size, dtype=torch.uint8, device=device)
            output = Output(*network(image))  # kept alive, so that no memory is reused
            measured = sum(kept.values())
            del output
    finally:
        network.train(training)
    return measured // _SAMPLE


def weight_bytes(network: nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in network.parameters())


def check_memory(
    network: nn.Module, batch: int, size: int, channels: int, average: bool, half: bool = False
) -> None:
    """Raise SettingError if weights, gradients, moments and a batch exceed the free memory."""
    device = next(network.parameters()).device
    free = free_memory(device)
    if free is None:
        return
    image = activation_bytes(network, size, channels) * (0.6 if half else 1.0)
    # the weights are in memory already; add gradients, two moments, and perhaps an average
    fixed = weight_bytes(network) * (4 if average else 3)
    needed = (fixed + batch * image) * _MARGIN
    if needed <= free:
        return
    fits = int((free / _MARGIN - fixed) / image) if image else 0
    remedy = (
        f"give --batch {fits} or less (and --accumulate to make up for it)"
        if fits >= 2
        else "take a smaller network or input"
    )
    raise SettingError(
        f"training needs about {needed / _GIB:.1f} GiB on {device.type}, but {free / _GIB:.1f}"
        f" GiB are free: {fixed / _GIB:.2f} GiB for the weights, {image / 2**20:.1f} MiB for"
        f" each of {batch} images; {remedy}"
    )


def free_memory(device: torch.device) -> int | None:
    """Free bytes on a device, within a container's limit; None if unknown."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type != "cpu":
        return None
    import psutil  # comes with accelerate

    free = int(psutil.virtual_memory().available)
    with contextlib.suppress(OSError, ValueError):  # no cgroup of version 2
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text())
        free = min(free, limit - int((group / "memory.current").read_text()))
    return free


def check_disk(network: nn.Module, folder: Path, average: bool) -> None:
    """Raise SettingError if the disk has no space for two checkpoints."""
    kept = 1 if any(folder.glob("checkpoint-*")) else 2  # when resuming, one exists already
    needed = kept * weight_bytes(network) * (4 if average else 3)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise SettingError(
            f"checkpoints in {folder} need {needed / 2**20:.0f} MiB, {free / 2**20:.0f} MiB"
            " are free; free space, or give another --out"
        )
