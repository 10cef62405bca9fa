"""``ro-crate-preview.html``: the crate for people. All that is put in is escaped.

``rocrate`` writes a preview as well, but without escaping, and names of archives come from outside.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

Entity = Mapping[str, Any]

_STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;"
    "padding:.3em .6em;border-bottom:1px solid #ccc}code{overflow-wrap:anywhere}"
)
# property of the root -> what it is called
_ROWS = {
    "author": "Authors",
    "contributor": "Contributors",
    "publisher": "Institution",
    "license": "Licence",
    "datePublished": "Published",
    "identifier": "Identifier",
    "temporalCoverage": "Time",
    "spatialCoverage": "Area",
    "funding": "Funding",
    "keywords": "Keywords",
}


def page(graph: Sequence[Entity]) -> str:
    """HTML from the entities of a crate's metadata."""
    by_id = {entity["@id"]: entity for entity in graph}
    root, action = by_id["./"], by_id["#run"]
    facts = [
        (title, ", ".join(_shown(value, by_id) for value in _listed(root[key])))
        for key, title in _ROWS.items()
        if key in root
    ]
    made = [
        ("What", _text(action["description"])),
        ("Begin, end", f"{_text(action['startTime'])}, {_text(action['endTime'])}"),
        ("Program", _shown(action["instrument"], by_id, version=True)),
        ("By", _shown(action["agent"], by_id)),
        *((_label(entity), _of_input(entity)) for entity in _inputs(action, by_id)),
    ]
    files = [entity for entity in graph if entity["@type"] == "File"]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{_text(root['name'])}</title><style>{_STYLE}</style></head><body>\n"
        f"<h1>{_text(root['name'])}</h1>\n<p>{_text(root['description'])}</p>\n"
        f"{_table(facts)}<h2>How it was made</h2>\n{_table(made)}"
        f"<h2>Files</h2>\n<table>{''.join(map(_file, files))}</table>\n</body></html>\n"
    )


def _inputs(action: Entity, by_id: Mapping[str, Entity]) -> Iterable[Entity]:
    return (by_id[link["@id"]] for link in _listed(action["object"]))


def _label(entity: Entity) -> str:
    if entity["@type"] == "PropertyValue":
        return f"Setting {_text(entity['name'])}"
    return "Model" if entity["@id"] == "#model" else "Input"


def _of_input(entity: Entity) -> str:
    if entity["@type"] == "PropertyValue":
        return f"<code>{_text(entity['value'])}</code>"
    digest = f"<br><code>SHA-256 {_text(entity['sha256'])}</code>" if "sha256" in entity else ""
    return f"{_text(entity['name'])}<br>{_text(entity['description'])}{digest}"


def _file(entity: Entity) -> str:
    name = _text(entity["@id"])
    return (
        f'<tr><td><a href="{name}">{name}</a></td>'
        f"<td>{_text(entity.get('description', ''))}<br>{int(entity['contentSize']):,} bytes, "
        f"<code>SHA-256 {_text(entity['sha256'])}</code></td></tr>\n"
    )


def _shown(value: Any, by_id: Mapping[str, Entity], *, version: bool = False) -> str:
    """A text, or the name of an entity, with a link where its id is an address."""
    if not isinstance(value, Mapping):
        return _text(value)
    entity = by_id[value["@id"]]
    name = _text(entity["name"])
    if version:
        name += f" {_text(entity['version'])}"
    address = str(entity["@id"])
    return f'<a href="{_text(address)}">{name}</a>' if address.startswith("https://") else name


def _table(rows: Iterable[tuple[str, str]]) -> str:
    cells = (f"<tr><th>{title}</th><td>{value}</td></tr>\n" for title, value in rows)
    return f"<table>{''.join(cells)}</table>\n"


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _text(value: object) -> str:
    return escape(str(value))
