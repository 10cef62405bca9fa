"""Writes a service as a crate of the OSCAR Hub: FDL, script, icon, flow, RO-Crate 1.2.

Nothing is stored twice: FDL and script are the ones that `deploy` sends, and the metadata about
the service are read from them.
"""

from __future__ import annotations

import json
import re
from datetime import date
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from pi10_classifier.errors import SettingError
from pi10_classifier.foundation.files import write_atomically
from pi10_classifier.oscar.services.fdl import SERVICES, Service, folder, named

METADATA, FDL, SCRIPT, ICON, FLOW = (
    "ro-crate-metadata.json", "fdl.yml", "script.sh", "icon.png", "node-red.json"
)  # fmt: skip
_SPECIFICATION = "https://w3id.org/ro/crate/1.2"
_SPDX = "https://spdx.org/licenses/"
_KEYWORDS = ("plankton", "Plankton Imager", "image classification", "copepod", "abundance")
_COMMON = (
    "Particles that the Plankton Imager Pi-10 photographs are classified as copepod, noncopepod or "
    "detritus, measured in µm and counted per minute as individuals per litre."
)
_WORDS = {
    "pi10-events": (
        "Pi-10 plankton classifier: files dropped into a bucket",
        "Drop an image, or a ten-minute bin as a tar or zip, into the input folder; a record, and "
        "the tables of a bin, appear in the output folder. Each object gets exactly one record, a "
        "result or a failure with its reason.",
    ),
    "pi10-sync": (
        "Pi-10 plankton classifier: a call and its answer",
        "Post an image, or a bin as a tar or zip; the record comes back in the answer, and of a "
        "bin its tables as well.",
    ),
    "pi10-batch": (
        "Pi-10 plankton classifier: archives of whole cruises",
        "Jobs over ranges of a mounted bucket, handed out and resumed by `pi10 oscar batch`, and "
        "one merged data set in the end.",
    ),
    "pi10-retrain": (
        "Pi-10 plankton classifier: retraining on your labels",
        "Drop labelled pictures or a file of labels into the input folder; each delivery gets an "
        "answer. When enough labels are new, a candidate is trained within limits and compared "
        "with the champion on a frozen test. A person decides what is promoted.",
    ),
    "pi10-api": (
        "Pi-10 plankton classifier: the DEEPaaS API",
        "An API that is always on: images and bins as JSON, CSV, Parquet or an HTML report.",
    ),
}
_LANGUAGES = {
    "#fdl": ("Functions Definition Language", "OSCAR 4.1", "https://docs.oscar.grycap.net/fdl/"),
    "#sh": ("POSIX shell", "2024", "https://pubs.opengroup.org/onlinepubs/9799919799/"),
    "#node-red": ("Node-RED flow", "4.1", "https://nodered.org"),
}
# file -> title, description, type, format, language
_FILES = {
    FDL: ("Service definition", "What OSCAR deploys.", "SoftwareSourceCode", "text/yaml", "#fdl"),
    SCRIPT: ("Script", "What OSCAR runs.", "SoftwareSourceCode", "text/x-shellscript", "#sh"),
    ICON: ("Icon", "A copepod, drawn by pi10 simulate.", "ImageObject", "image/png", ""),
    FLOW: ("Node-RED flow", "Calls the service from Node-RED or AI4Compose; core nodes only.",
           "SoftwareSourceCode", "application/json", "#node-red"),
    "README.md": ("Read me", "How to deploy and call it.", "CreativeWork", "text/markdown", ""),
}  # fmt: skip


def write_crate(name: str, out: Path, published: date) -> Path:
    """Write the crate of one of the package's services to the folder ``out``/``name``; returns it.

    Raises SettingError if there is no such service, or if the folder holds other files.
    """
    if name not in SERVICES:
        raise SettingError(f"no service {name!r}: give one of {', '.join(SERVICES)}")
    service = named(name)
    files = {
        FDL: _fdl(name).encode(),
        SCRIPT: service.script.encode(),
        ICON: _ours(ICON),
        "README.md": _readme(service).encode(),
    }
    if "asynchronous" not in service_types(service):  # the flow calls services that answer
        files[FLOW] = _ours(FLOW)
    fdl = crate_metadata(service, {name: len(data) for name, data in files.items()}, published)
    files[METADATA] = (json.dumps(fdl, indent=2, ensure_ascii=False) + "\n").encode()
    target = out / name
    others = {path.name for path in target.iterdir()} - set(files) if target.is_dir() else set()
    if others:
        raise SettingError(
            f"{target} also holds {sorted(others)[0]!r}, which is not part of the crate; give "
            "another --out"
        )
    target.mkdir(parents=True, exist_ok=True)
    for file, data in files.items():
        write_atomically(target / file, data)
    return target


def crate_metadata(service: Service, sizes: dict[str, int], published: date) -> dict[str, Any]:
    """The crate's JSON-LD. ``sizes``: file name -> bytes."""
    about = metadata.metadata("pi10-classifier")
    home, words = about["Home-page"], _WORDS[service.name]
    licence, authors = f"{_SPDX}{about['License']}", f"{home}/graphs/contributors"
    kinds = service_types(service)
    gpu = "1 GPU" if service.fdl.get("enable_gpu") else "0 GPU"
    root = {
        "@id": "./",
        "@type": ["Dataset", "Service", "SoftwareApplication"],
        "name": words[0],
        "description": f"{_COMMON} {words[1]}",
        "serviceType": kinds[0] if len(kinds) == 1 else kinds,
        "applicationCategory": "OSCAR Service",
        "license": {"@id": licence},
        "author": {"@id": authors},
        "publisher": {"@id": authors},
        "url": home,
        "datePublished": published.isoformat(),
        "version": about["Version"],
        "keywords": list(_KEYWORDS),
        "memoryRequirements": str(service.fdl.get("memory", "256Mi")),
        "processorRequirements": [f"{service.fdl.get('cpu', '0.2')} CPU", gpu],
        "logo": {"@id": ICON},
        "isBasedOn": {"@id": f"{home}#software"},
        "hasPart": [{"@id": name} for name in sizes],
    }
    described: list[dict[str, Any]] = [
        {
            "@id": METADATA,
            "@type": "CreativeWork",
            "conformsTo": {"@id": _SPECIFICATION},
            "about": {"@id": "./"},
        },
        root,
    ]
    for name, size in sizes.items():
        title, description, kind, encoding, language = _FILES[name]
        described.append(
            {
                "@id": name,
                "@type": ["File", kind],
                "name": title,
                "description": description,
                "encodingFormat": encoding,
                "contentSize": str(size),
                **({"programmingLanguage": {"@id": language}} if language else {}),
            }
        )
        if language:
            spoken, version, url = _LANGUAGES[language]
            described.append({"@id": language, "@type": "ComputerLanguage", "name": spoken,
                              "description": spoken, "version": version, "url": url})  # fmt: skip
    described += [
        {
            "@id": licence,
            "@type": "CreativeWork",
            "name": "Apache License 2.0",
            "description": "A permissive licence, with a grant of patent rights.",
            "identifier": about["License"],
            "url": licence,
        },
        {
            "@id": authors,
            "@type": "Organization",
            "name": about["Author"],
            "url": home,
            "contactPoint": {"@id": f"{home}/issues"},
        },
        {
            "@id": f"{home}/issues",
            "@type": "ContactPoint",
            "name": "Issues",
            "contactType": "support",
            "url": f"{home}/issues",
        },
        {
            "@id": f"{home}#software",
            "@type": "SoftwareApplication",
            "name": about["Name"],
            "description": about["Summary"],
            "url": home,
            "version": about["Version"],
        },
    ]
    return {"@context": f"{_SPECIFICATION}/context", "@graph": described}


def service_types(service: Service) -> list[str]:
    """The Hub's words for how a service is called, derived from its FDL."""
    called = {
        "exposed": "expose" in service.fdl,
        "synchronous": "synchronous" in service.fdl,
    }
    kinds = {
        **called,
        # called by events, or as jobs of a batch
        "asynchronous": bool(service.inputs) or not any(called.values()),
    }
    return [kind for kind, holds in kinds.items() if holds]


def _fdl(name: str) -> str:
    """The FDL file with the script's name changed to the one that the Hub prescribes."""
    import yaml

    text = (folder() / f"{name}.yaml").read_text("utf-8")
    text = re.sub(r"(?m)^( +script: ).*$", rf"\g<1>{SCRIPT}", text)
    [(_, fdl)] = yaml.safe_load(text)["functions"]["oscar"][0].items()
    if fdl != {**named(name).fdl, "script": SCRIPT}:
        raise SettingError(
            f"{name}.yaml must have `script:` on a line of its own; correct the file"
        )
    return text


def _ours(name: str) -> bytes:
    return (resources.files("pi10_classifier.oscar.hub") / name).read_bytes()


def _readme(service: Service) -> str:
    title, description = _WORDS[service.name]
    home = metadata.metadata("pi10-classifier")["Home-page"]
    if service.name == "pi10-retrain":
        [source], [target] = service.inputs, service.outputs
        call = (
            f"Drop labels into `{source.bucket}/{source.folder}`; answers and rounds appear in\n"
            f"`{target.bucket}/{target.folder}`. `pi10 oscar retrain` makes good lost events."
        )
    elif service.inputs:
        [source], [target] = service.inputs, service.outputs
        call = (
            f"Drop files into `{source.bucket}/{source.folder}`; the results appear in "
            f"`{target.bucket}/{target.folder}`. Events can get lost: run `pi10 oscar reconcile`\n"
            "every hour, which finds the inputs without a record."
        )
    elif "asynchronous" in service_types(service):
        call = "`pi10 oscar batch` lists a bucket, hands out ranges, and merges the results."
    else:
        call = f"Import `{FLOW}` into Node-RED, or see the documentation for other callers."
    return (
        f"# {title}\n\n{_COMMON}\n\n{description}\n\n"
        f"```\noscar-cli apply {FDL}\n```\n"
        f"or `pi10 oscar deploy {service.name}`, which fits it to the cluster's version.\n\n{call}"
        f"\n\nDocumentation: {home}/blob/main/docs/oscar.md\n"
    )
