"""The crate's own files: ``ro-crate-metadata.json`` and its preview, made by ``rocrate``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pi10_classifier.errors import SettingError
from pi10_classifier.export.crate.entities import (
    Facts,
    contextual_entities,
    file_entities,
    given,
    root_properties,
)
from pi10_classifier.export.crate.preview import page
from pi10_classifier.export.crate.run_files import TABLES
from pi10_classifier.export.crate.stores import Stored
from pi10_classifier.foundation.extras import install_command
from pi10_classifier.results.run_folder import PREDICTIONS

SPECIFICATION = "1.1"
# no term of RO-Crate 1.1, but of schema.org since
_TERMS = {"sha256": "http://schema.org/sha256"}

# the others were made by people, or for the record
_RESULTS = ("run.json", *TABLES, PREDICTIONS)


def check_installed() -> None:
    """Raises SettingError where ``rocrate`` is missing; before any work is done."""
    try:
        import rocrate  # noqa: F401
    except ImportError as error:
        raise SettingError(
            f"a crate needs {error.name}, which is not installed; run: {install_command('publish')}"
        ) from error


def documents(facts: Facts, stored: Sequence[Stored]) -> tuple[bytes, bytes]:
    """The metadata and the preview of a crate of these files."""
    from rocrate.model import ContextEntity, DataEntity
    from rocrate.model.preview import Preview
    from rocrate.rocrate import ROCrate

    crate: Any = ROCrate(version=SPECIFICATION)
    crate.metadata.extra_terms.update(_TERMS)
    entities = file_entities(stored)
    for entity in entities:
        crate.add(DataEntity(crate, entity["@id"], given(entity)))
    inner = {part["@id"] for entity in entities for part in entity.get("hasPart", ())}
    top = [entity["@id"] for entity in entities if entity["@id"] not in inner]
    crate.root_dataset["hasPart"] = [{"@id": name} for name in top]
    for name, value in root_properties(facts).items():
        crate.root_dataset[name] = value
    for entity in contextual_entities(facts, [name for name in top if name.startswith(_RESULTS)]):
        crate.add(ContextEntity(crate, entity["@id"], given(entity)))
    crate.add(Preview(crate))
    described = crate.metadata.generate()
    text = json.dumps(described, indent=2, ensure_ascii=False) + "\n"
    html = page(described["@graph"])
    return text.encode("utf-8", "backslashreplace"), html.encode("utf-8", "backslashreplace")
