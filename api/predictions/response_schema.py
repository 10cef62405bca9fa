"""The schema of a prediction's JSON answer."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields, validate


def _doc(text: str) -> dict[str, str]:
    return {"description": text}


class Totals(Schema):
    """inputs = results + failures + skipped, always."""

    inputs = fields.Integer(required=True, metadata=_doc("Files sent, and members of archives."))
    results = fields.Integer(required=True, metadata=_doc("Images with a result."))
    failures = fields.Integer(
        required=True, metadata=_doc("Inputs without a result; failures has the reasons.")
    )
    skipped = fields.Integer(required=True, metadata=_doc("Folders, sidecars and other files."))


class Problem(Schema):
    """Why there is no result at all."""

    code = fields.String(required=True)
    message = fields.String(required=True)
    option = fields.String(metadata=_doc("The option that is wrong, if one is."))


class UsedModel(Schema):
    """The model package that was used."""

    name = fields.String(required=True)
    version = fields.String(required=True)
    sha256 = fields.String(required=True)
    classes = fields.List(fields.String(), required=True)


class Density(Schema):
    """One class in one bin. If the density is unknown, per_litre is empty and flags say why."""

    bin = fields.String(required=True, allow_none=True)
    label = fields.String(required=True)
    per_litre = fields.Float(required=True, allow_none=True)
    per_litre_low = fields.Float(required=True, allow_none=True)
    per_litre_high = fields.Float(required=True, allow_none=True)
    minutes = fields.Integer(required=True, metadata=_doc("Minutes that have a density."))
    flags = fields.List(fields.String(), required=True)


class ModelPredictionResponse(Schema):
    """The JSON answer of ``predict``.

    AI4OS's page (deepaas_ui) looks for this class name, ``labels`` and ``probabilities``. It
    would show a text as a picture if the description named a media type.
    The rows are plain objects of ``writers.py``: to validate fifty thousand of them again would
    take longer than to classify them.
    """

    format = fields.Integer(required=True)
    status = fields.String(
        required=True, validate=validate.OneOf(["ok", "some_failed", "failed"]),
        metadata=_doc("failed: no input has a result."),
    )  # fmt: skip
    totals = fields.Nested(Totals, required=True)
    error = fields.Nested(Problem)
    densities = fields.List(
        fields.Nested(Density), required=True,
        metadata=_doc("Individuals per litre by bin and class, if the bin has its HitsMisses.txt."),
    )  # fmt: skip
    densities_note = fields.String(
        required=True, metadata=_doc("What the interval covers, or why there is no density.")
    )
    results_by_class = fields.Dict(required=True, metadata=_doc("Number of images by class."))
    labels = fields.List(
        fields.String(),
        required=True,
        metadata=_doc("The classes that probabilities belong to."),
    )
    probabilities = fields.List(
        fields.Float(), required=True,
        metadata=_doc("For one image its scores; for several the share with each label."),
    )  # fmt: skip
    predictions = fields.List(
        fields.Dict(),
        required=True,
        metadata=_doc("One object per image, with the columns of the table."),
    )
    failures = fields.List(
        fields.Dict(),
        required=True,
        metadata=_doc("source, member, code, message, retryable"),
    )
    model = fields.Nested(UsedModel, allow_none=True)
    settings = fields.Dict()


def refused(code: str, message: str, option: str = "") -> dict[str, Any]:
    """The answer to a request that cannot be processed: its one input failed.

    ``option`` names the option that is wrong; the servers turn such an answer into a 422.
    """
    failure = {"source": "upload", "member": "", "code": code, "message": message}
    return {
        "format": 1,
        "status": "failed",
        "totals": {"inputs": 1, "results": 0, "failures": 1, "skipped": 0},
        "error": {"code": code, "message": message} | ({"option": option} if option else {}),
        "densities": [],
        "densities_note": "No density: nothing was classified.",
        "results_by_class": {},
        "labels": [],
        "probabilities": [],
        "predictions": [],
        "failures": [{**failure, "retryable": False}],
        "model": None,
        "settings": {},
    }
