"""Which tensor of a package's graph holds the features: what the last layer takes."""

from __future__ import annotations

from pathlib import Path

from pi10_classifier.errors import SettingError
from pi10_classifier.foundation.extras import install_command
from pi10_classifier.model.package import Package, read_package


def features_tensor(folder: Path) -> str:
    """The name of the tensor. Raises ModelError, and SettingError where it cannot be told.

    model.json names it (``features``, or those that novelty is told by); otherwise the graph is
    searched, which needs the package ``onnx``.
    """
    package, graph = read_package(folder)
    return _named(package) or _searched(package, graph)


def _named(package: Package) -> str:
    novelty = package.description.get("novelty")
    for described in (package.description, novelty if isinstance(novelty, dict) else {}):
        features = described.get("features")
        if isinstance(features, dict) and isinstance(features.get("name"), str):
            return str(features["name"])
    return ""


def _searched(package: Package, graph: bytes) -> str:
    try:
        import onnx

        from pi10_classifier.packaging.adaptation.features import last_input
    except ImportError as error:
        raise SettingError(
            f"{package.folder}: model.json does not name the features, and to search the graph"
            f" for them needs onnx ({error}); run: {install_command('train')}"
        ) from error
    end = package.groups.output if package.groups else package.output_name
    return last_input(onnx.load_from_string(graph), end, str(package.folder))
