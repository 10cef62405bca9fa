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
    failures = fields.Integer(required=True, metadata=_doc("Inputs without one, and why below."))
    skipped = fields.Integer(required=True, metadata=_doc("Folders, sidecars and other files."))


class Problem(Schema):
    """Why there is no result at all."""

    code = fields.String(required=True)
    message = fields.String(required=True)
    option = fields.String(metadata=_doc("The option that is wrong, where one is."))


class UsedModel(Schema):
    """The model package that classified."""

    name = fields.String(required=True)
    version = fields.String(required=True)
    sha256 = fields.String(required=True)
    classes = fields.List(fields.String(), required=True)


class Density(Schema):
    """One class in one bin; per_litre is empty where it is unknown, and flags tell why."""

    bin = fields.String(required=True, allow_none=True)
    label = fields.String(required=True)
    per_litre = fields.Float(required=True, allow_none=True)
    per_litre_low = fields.Float(required=True, allow_none=True)
    per_litre_high = fields.Float(required=True, allow_none=True)
    minutes = fields.Integer(required=True, metadata=_doc("Minutes that have a density."))
    flags = fields.List(fields.String(), required=True)


class ModelPredictionResponse(Schema):
    """What ``predict`` gives as JSON.

    Its name, its ``labels`` and ``probabilities`` are what AI4OS's page (deepaas_ui) looks for;
    a text whose description names a kind of media would be shown there as a picture.
    Rows are objects of their own writer (``answers.py``): checking each of fifty thousand
    again would take longer than classifying them.
    """

    format = fields.Integer(required=True)
    status = fields.String(
        required=True, validate=validate.OneOf(["ok", "some_failed", "failed"]),
        metadata=_doc("failed: nothing has a result."),
    )  # fmt: skip
    totals = fields.Nested(Totals, required=True)
    error = fields.Nested(Problem)
    densities = fields.List(
        fields.Nested(Density), required=True,
        metadata=_doc("Individuals per litre by bin and class, where a bin has its HitsMisses."),
    )  # fmt: skip
    densities_note = fields.String(
        required=True, metadata=_doc("What the interval covers, or why there is no density.")
    )
    results_by_class = fields.Dict(required=True, metadata=_doc("Class: images."))
    labels = fields.List(
        fields.String(),
        required=True,
        metadata=_doc("The classes that probabilities belong to."),
    )
    probabilities = fields.List(
        fields.Float(), required=True,
        metadata=_doc("Of one image its scores; of several the share with each label."),
    )  # fmt: skip
    predictions = fields.List(
        fields.Dict(),
        required=True,
        metadata=_doc("One object an image, as the table has it."),
    )
    failures = fields.List(
        fields.Dict(),
        required=True,
        metadata=_doc("source, member, code, message, retryable"),
    )
    model = fields.Nested(UsedModel, allow_none=True)
    settings = fields.Dict()


def refused(code: str, message: str, option: str = "") -> dict[str, Any]:
    """The answer to a request that could not be taken up: its one input failed.

    ``option`` names the one that is wrong; the servers make a 422 of such an answer.
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
