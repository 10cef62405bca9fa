"""Writes the model card, the ``README.md`` of a package, from its ``model.json``."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from pi10_classifier.drift.reference import section as section_of_reference
from pi10_classifier.model.front_matter import front_matter
from pi10_classifier.model.graphs.entries import FIELD as GRAPHS
from pi10_classifier.model.graphs.entries import MAIN
from pi10_classifier.model.graphs.entries import section as section_of_graphs
from pi10_classifier.model.groups import section as section_of_groups
from pi10_classifier.model.novelty import section

PROGRAM_LICENCE = "Apache-2.0"
"""Of the packages that ship with the program, whose descriptions were written without one."""


def embedded_card(fields: Mapping[str, Any]) -> str:
    """The card of a package that ships with the program.

    To bring the cards up to date: ``python -m pi10_classifier.model.card``.
    """
    return card({"licence": PROGRAM_LICENCE, **fields})


def card(fields: Mapping[str, Any]) -> str:
    """The card as Markdown, made only from the fields of ``model.json``.

    It begins with what the Hugging Face Hub reads.
    """
    return f"{front_matter(fields)}{head(fields)}\n{body(fields)}"


def body(fields: Mapping[str, Any]) -> str:
    """The card below its head."""
    parts = []
    training = fields["training"]
    if training:
        parts += [_data(training, fields["classes"]), _recipe(training)]
    if fields["metrics"]:
        parts.append(_metrics(fields))
    if groups := section_of_groups(fields):
        parts.append(groups)
    if novelty := section(fields):
        parts.append(novelty)
    if reference := section_of_reference(fields):
        parts.append(reference)
    if graphs := section_of_graphs(fields):
        parts.append(graphs)
    parts.append(_limits(fields))
    if training.get("command"):
        again = f"## To train it again\n\n```\n{training['command']}\n```\n"
        parts.append(again + _named(training, "\nIn it {}.\n"))
    return "\n".join(parts)


def head(fields: Mapping[str, Any]) -> str:
    spec = fields["preprocessing"]
    colour = "grey" if spec["channels"] == 1 else "RGB"
    if spec.get("trim"):
        colour += f", cut to the particle and {spec['trim']:.0%} of its longest side about it"
    if spec.get("ground_clip"):
        colour += f", the {spec['ground_clip']} grey levels next to the ground made white"
    return f"""# {fields["name"]}, version {fields["version"]}

Sorts single-particle plankton images into {_listed(fields["classes"])}.

| | |
|---|---|
| Input | `{fields["input"]["name"]}`: {fields["input"]["dtype"]}, N × {spec["channels"]} × \
{spec["size"]} × {spec["size"]}, {colour}; prepared by \
`pi10_classifier.imaging.preprocess.prepare` |
| Output | `{fields["output"]["name"]}`: float32, N × {len(fields["classes"])}; \
{fields["output"]["activation"]} of logits / {fields["temperature"]} gives probabilities |
{_files(fields)}{_parity(fields)}"""


def _files(fields: Mapping[str, Any]) -> str:
    """Every graph with its hash: ``model.onnx``, then those in other precisions."""
    others = {entry["file"]: f" in {name}" for name, entry in fields.get(GRAPHS, {}).items()}
    return "".join(
        f"| File{precision} | `{name}`, {fields['files'][name]['bytes'] / 1e6:.1f} MB, SHA-256"
        f" `{fields['files'][name]['sha256']}` |\n"
        for name, precision in {MAIN: "", **others}.items()
    )


def _parity(fields: Mapping[str, Any]) -> str:
    if not (gate := fields.get("parity")):
        return ""
    return (
        f"| Export | probabilities differ from torch's by {gate['largest_difference']:.1e} at most,"
        f" over {gate['images']:,} validation images ({gate['allowed']:.0e} are allowed) |\n"
    )


_SPLIT = "Split 70/10/20 within each source and source label, by a hash of the member's name"


def _data(training: Mapping[str, Any], classes: list[str]) -> str:
    lines = [
        "## Data",
        "",
        f"| source | licence | split | {' | '.join(classes)} |",
        "|---|---|---|" + "---:|" * len(classes),
    ]
    for source in training["data"]:
        for part, images in source["images"].items():
            numbers = " | ".join(f"{images[name]:,}" for name in classes)
            lines.append(f"| {source['source']} | {source['licence']} | {part} | {numbers} |")
    lines += [
        "",
        *_drawn(training, classes),
        *_cameras(training),
        f"{training.get('split', _SPLIT)}; SHA-256 of the manifest `{training['split_sha256']}`.",
        "",
    ]
    return "\n".join(lines)


def _drawn(training: Mapping[str, Any], classes: list[str]) -> list[str]:
    recipe = training["recipe"]
    count = recipe.get("drawn", training.get("drawn_images_per_class", 0))
    if not count:
        return []
    made = "made as `pi10 simulate` makes them, in the Pi-10's look and framing"
    if recipe.get("drawn_kind") == "linescan":
        made = (
            "in the proportions of the Pi-10's labelled particles, on another ground in each epoch,"
            " with the framing and optics measured on 17 genuine images"
        )
    return [
        f"To the training images came {count:,} drawn ones of each of {_listed(classes)}, {made};"
        " none is among the validation and test images.",
        "",
    ]


def _cameras(training: Mapping[str, Any]) -> list[str]:
    lines = []
    for source, look in training.get("cameras", {}).items():
        done = [name for name in ("grey", "inverted") if look[name]]
        if look["um_per_px"]:
            done.append(
                f"brought from {look['um_per_px']} to {look['target_um_per_px']} µm a pixel"
            )
        lines += [f"All images of {source} were changed before: {', '.join(done)}.", ""]
    return lines


def _named(training: Mapping[str, Any], around: str) -> str:
    """The packages that the names in a command stood for; empty if there are none."""
    packages = [
        f"`{name}` was version {package['version']} (SHA-256 `{package['sha256'][:16]}…`)"
        for name, package in training.get("named", {}).items()
    ]
    return around.format(" and ".join(packages)) if packages else ""


def _stages(weights: Mapping[str, Any]) -> str:
    sentences: list[str] = []
    for number, stage in enumerate(weights.get("stages", []), 1):
        recipe = stage["recipe"]
        drawn = recipe.get("drawn", stage.get("drawn_images_per_class", 0))
        sentences.append(
            f"Stage {number}, {stage['epochs']} epochs in {stage['minutes']} minutes at"
            f" {recipe['size']} px, rate {recipe['rate']}, {drawn or 'no'} drawn particles a class"
            f" (run `{stage['run_id']}`; `{stage['command']}`{_named(stage, '; in it {}')})."
        )
    if sentences:
        sentences[-1] += " It gave the weights that this training began with."
    return "".join(f"\n  - {sentence}" for sentence in sentences)


def _recipe(training: Mapping[str, Any]) -> str:
    recipe, weights = training["recipe"], training["initial_weights"]
    start = f"Initial weights: {weights['origin']}"
    if "licence" in weights:
        start += f" ({weights['licence']}; pip package {weights['package']})"
    if recipe["channels"] == 1 and weights["origin"] != "random":
        start += ". A grey stem holds the sum of the three colours' filters"
    points = [
        f"{start}.{_stages(weights)}",
        _course(training, recipe),
        _method(recipe),
        _VARIATIONS[recipe["augmentation"]].format(share=recipe.get("look", 0.5))
        + _measured(recipe),
        f"Chosen by validation macro-F1{training.get('chosen', ', averaged over the sources')};"
        f" temperature fitted on validation. Seed {training['seed']}, run `{training['run_id']}`.",
    ]
    return "\n".join(["## Recipe", "", *(f"- {point}" for point in points), ""])


def _measured(recipe: Mapping[str, Any]) -> str:
    """What a recipe says of the look measured on genuine images; empty for the generic look."""
    if recipe["augmentation"] != "pi10" or recipe.get("look_kind") != "linescan":
        return ""
    without = recipe.get("look_without", "")
    return " The imitation follows measurements on 17 genuine images" + (
        f", without {without}." if without else "."
    )


_VARIATIONS = {
    "pi10": "Images are mirrored, turned by any angle, cropped anew, blurred, coarsened and,"
    " {share:.0%} of them, drawn in imitation of the Pi-10: near-black silhouettes on an uneven"
    " ground with stripes, specks and noise.",
    "paper": "Images are cropped at random and resized, mirrored, turned by up to 10 degrees and"
    " changed in brightness, contrast, saturation and hue.",
    "none": "Images are not varied.",
}
_OPTIMISERS = {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD with momentum 0.9"}
_FALLS = {"cosine": "a cosine", "linear": "a straight line"}


def _course(training: Mapping[str, Any], recipe: Mapping[str, Any]) -> str:
    limit = (
        f" within {recipe['minutes']} minutes (the schedule follows the clock: another run gives"
        " other weights)"
        if recipe["minutes"]
        else ""
    )
    passes = f", {recipe['accumulate']} to a step" if recipe["accumulate"] > 1 else ""
    size = f"at {recipe['size']} px"
    if recipe["warm_size"]:
        size = (
            f"the first {recipe['warm_share']:.0%} at {recipe['warm_size']} px, the rest at"
            f" {recipe['size']} px"
        )
    return (
        f"{training['epochs']} epochs{limit}, epoch {training['best_epoch']} kept, in batches of"
        f" {recipe['batch']}{passes}: {size}. {training['minutes']} minutes on"
        f" {training.get('device') or str(training['threads']) + ' CPU threads'}."
    )


def _method(recipe: Mapping[str, Any]) -> str:
    options = dict(recipe["loss_options"])
    loss = f"loss {recipe['loss']}"
    if recipe["loss"] == "st_ce":
        smoothing = options.pop("smoothing", 0)
        loss = f"cross-entropy with label smoothing {smoothing}" if smoothing else "cross-entropy"
    if options:
        loss += f" ({', '.join(f'{name} {value}' for name, value in options.items())})"
    parts = [
        f"{_OPTIMISERS[recipe['optimiser']]}, rate {recipe['rate']} with warm-up and"
        f" {_FALLS[recipe['schedule']]} to zero, weight decay {recipe['weight_decay']}",
        loss,
    ]
    if recipe["distil"]:
        parts.append(
            f"a teacher's answers weigh {recipe['distil']} (temperature"
            f" {recipe['distil_temperature']})"
        )
    if recipe.get("finer"):
        parts.append(
            f"cross-entropy of a second head on the sources' own labels, weight {recipe['finer']},"
            " left off afterwards"
        )
    if recipe["mixup"]:
        parts.append(f"mixup {recipe['mixup']}")
    if recipe["balance"]:
        parts.append(
            f"images drawn with weight (images of their class and source)^-{recipe['balance']}"
        )
    limits = [recipe.get(f"class_{name}") for name in ("minimum", "maximum")]
    if any(limits):
        parts.append(
            f"of each class {limits[0] or 'any'} images an epoch at the least,"
            f" {limits[1] or 'any'} at the most"
        )
    if recipe["ema"]:
        parts.append(f"averaged weights (decay {recipe['ema']})")
    return "; ".join(parts) + "."


def _metrics(fields: Mapping[str, Any]) -> str:
    classes = fields["classes"]
    lines = [
        "## On held-out images",
        "",
        "The test split, read after the last weight was set, through `model.onnx`. 95 % intervals"
        " from 1,000 bootstrap resamples of the images: they do not cover another seed, another"
        " sea, another camera.",
        "",
        "| source | class | images | F1 | precision | recall |",
        "|---|---|---:|---|---|---|",
    ]
    for source, found in fields["metrics"].items():
        lines.append(
            f"| {source} | **macro** | {found['n']:,} | **{_span(found['macro_f1'])}** | | |"
        )
        for name, row in found["per_class"].items():
            figures = " | ".join(_span(row[key]) for key in ("f1", "precision", "recall"))
            lines.append(f"| {source} | {name} | {row['support']:,} | {figures} |")
    lines += ["", "Confusion (rows: truth; columns: prediction) and calibration:", ""]
    lines += [f"| source | truth | {' | '.join(classes)} |", "|---|---|" + "---:|" * len(classes)]
    for source, found in fields["metrics"].items():
        for name, row in zip(classes, found["confusion"], strict=True):
            lines.append(f"| {source} | {name} | {' | '.join(f'{n:,}' for n in row)} |")
    lines.append("")
    for source, found in fields["metrics"].items():
        lines.append(f"- {source}: expected calibration error {found['ece']:.3f}.")
        if "other" in found:
            other = found["other"]
            called = ", ".join(f"{n:,} {name}" for name, n in other["called"].items())
            lines.append(
                f"- {source}: {other['n']:,} images of none of these classes (protists, diatoms,"
                f" artefacts, unknown) were called {called};"
                f" {other['share_above_0.9']:.0%} of them with a probability above 0.9."
            )
    if (again := fields.get("trained_again")) is not None:
        lines.append(f"- {_again(again)}")
    return "\n".join([*lines, ""])


def _again(again: Mapping[str, Any]) -> str:
    """How much the figure changes with the seed: macro-F1 by seed, of trainings by one command."""
    found = [*again["macro_f1"].values()]
    mean, spread = statistics.mean(found), statistics.stdev(found)
    each = _listed([f"{value:.4f}" for value in found])
    seeds = _listed([*again["macro_f1"]])
    return (
        f"Its last stage trained again with the seeds {seeds}, judged on {again['images']:,} test"
        f" images: macro-F1 {each}, mean {mean:.4f}, standard deviation {spread:.4f}."
        f" `{again['command']}`"
    )


_OTHER_CAMERAS = (
    "The training images come from other cameras, in grey or on black, at other resolutions. What"
    " they teach of the Pi-10 rests on imitation of its look; figures on Pi-10 images are unknown,"
    " and lower than those above must be expected. Label some of your own and check."
)


def _limits(fields: Mapping[str, Any]) -> str:
    return f"""## Limits

- Never seen: {fields["never_seen"]}
- {fields.get("limits") or _OTHER_CAMERAS}
- Every particle gets one of {_listed(fields["classes"])}: what is none of these is forced into \
one, often with confidence.
- Probabilities are calibrated on the mix of classes and cameras above, not on yours.
"""


def _span(interval: Mapping[str, float]) -> str:
    return f"{interval['value']:.3f} ({interval['low']:.3f} to {interval['high']:.3f})"


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _update_embedded() -> None:
    import json

    from pi10_classifier.model.package import installed

    for folder in installed():
        fields = json.loads((folder / "model.json").read_text("utf-8"))
        (folder / "README.md").write_text(embedded_card(fields), "utf-8", newline="\n")


if __name__ == "__main__":
    _update_embedded()
