"""The API's options: their texts, defaults and bounds are the engine's own."""

from __future__ import annotations

from dataclasses import fields as fields_of
from pathlib import Path

import pytest
import support
from marshmallow import Schema, ValidationError, validate

from pi10_classifier.api.predictions.arguments import ENGINE, Wanted, predict_args
from pi10_classifier.api.settings import Service
from pi10_classifier.api.trainings.arguments import command, train_args
from pi10_classifier.errors import SettingError
from pi10_classifier.inference.settings import BOUNDS, Settings
from pi10_classifier.training import recipe
from pi10_classifier.training.recipe import Recipe

SERVICE = Service()


def load(known: dict, **given: object) -> dict:
    optional = {name: field for name, field in known.items() if name != "data"}
    return dict(Schema.from_dict(optional)().load(given))


class TestPredict:
    def test_defaults_are_those_of_the_engine(self) -> None:
        wanted, engine = Wanted.of({}, SERVICE), Settings()
        for parameter in ENGINE.values():
            expected = getattr(engine, parameter)
            if parameter == "batch":
                expected = engine.runtime.batch  # a number, for AI4OS's page (below)
            assert getattr(wanted, parameter) == expected

    def test_a_number_of_which_the_page_makes_a_slider_has_a_default(self) -> None:
        """deepaas_ui makes a slider of a number with both bounds, and sends the least for None."""
        bounded = {  # of a prediction: it asks for no training
            name: field.load_default
            for name, field in predict_args(SERVICE).items()
            for check in field.validators
            if isinstance(check, validate.Range) and None not in (check.min, check.max)
        }
        assert "batch_size" in bounded
        assert [name for name, default in bounded.items() if default is None] == []

    @pytest.mark.parametrize("name", [n for n, p in ENGINE.items() if p in BOUNDS])
    def test_bounds_are_those_of_the_engine(self, name: str) -> None:
        low, high = BOUNDS[ENGINE[name]]
        for value in (low, high):
            assert getattr(Wanted.of({name: value}, SERVICE), ENGINE[name]) == value
        for value in (low - 1, high + 1):
            with pytest.raises(ValidationError):
                Wanted.of({name: value}, SERVICE)

    def test_an_answer_tells_the_options_as_they_are_asked_for(self) -> None:
        given = {"batch_size": 3, "measurements": False, "thresholds": {"copepod": 0.5}}
        told = Wanted.of(given, SERVICE).options()
        assert given.items() <= told.items()
        assert told.keys() == predict_args(SERVICE).keys() - {"data"}

    def test_all_are_described(self) -> None:
        for known in (predict_args(SERVICE), train_args(SERVICE)):
            for name, field in known.items():
                assert field.metadata["description"], name

    @pytest.mark.parametrize(
        ("given", "kept"), [("0.5", 0.5), (1, 1.0), ('{"copepod": 0.25}', {"copepod": 0.25})]
    )
    def test_thresholds(self, given: object, kept: object) -> None:
        assert Wanted.of({"thresholds": given}, SERVICE).thresholds == kept

    @pytest.mark.parametrize(
        "given", ["", "x", "-0.1", "1.1", "NaN", "true", "[1]", '{"a": null}', "[" * 10_000]
    )
    def test_thresholds_that_are_none(self, given: str) -> None:
        with pytest.raises(ValidationError):
            Wanted.of({"thresholds": given}, SERVICE)

    def test_models_are_names_and_listed_anew(self, tmp_path: Path) -> None:
        service = Service(models_dir=tmp_path)
        with pytest.raises(ValidationError, match="starter"):
            Wanted.of({"model": "late"}, service)
        package = support.write_package(tmp_path / "late")
        assert Wanted.of({"model": "late"}, service).model == "late"
        for path in (str(package), "./late", "late/", "../late"):
            with pytest.raises(ValidationError):
                Wanted.of({"model": path}, service)


class TestTrain:
    def test_every_field_of_a_recipe_can_be_given(self) -> None:
        known = set(train_args(SERVICE))
        # the seed is among --seeds; options of a loss are the command's alone
        assert {f.name for f in fields_of(Recipe)} - known == {"seed", "loss_options"}

    def test_bounds_are_those_of_the_recipe(self) -> None:
        known = train_args(SERVICE)
        for name, (low, high) in recipe.BOUNDS.items():
            assert load(known, **{name: str(low)})[name] == low
            with pytest.raises(ValidationError):
                load(known, **{name: low - 1})
            if high is not None:
                with pytest.raises(ValidationError):
                    load(known, **{name: high + 1})
        for name, most in recipe.POSITIVE.items():
            assert load(known, **{name: most})[name] == most
            for wrong in (0, 1.01 * most, 1e307):
                with pytest.raises(ValidationError):
                    load(known, **{name: wrong})
        for name, allowed in recipe.CHOICES.items():
            assert load(known, **{name: allowed[0]})[name] == allowed[0]
            with pytest.raises(ValidationError):
                load(known, **{name: "none of them"})

    @pytest.mark.parametrize(
        "given",
        [{"top_k": "1_0"}, {"um_per_px": "１０"}, {"thresholds": '{"a": 0.1, "a": 0.9}'}],
    )
    def test_numbers_are_plain_and_classes_named_once(self, given: dict[str, str]) -> None:
        with pytest.raises(ValidationError):
            Wanted.of(given, SERVICE)

    def test_an_alias_of_the_command_line_is_known_here_too(self) -> None:
        assert Wanted.of({"model": "accurate"}, SERVICE).model == "accurate"

    def test_texts_tell_the_defaults(self) -> None:
        said = train_args(SERVICE)["epochs"].metadata["description"]
        assert said.startswith("Number of passes over the training images")
        assert said.endswith("Default: 16 (small), 30 (vit).")

    def test_the_command(self) -> None:
        given = load(train_args(SERVICE), epochs=3, level="false", optimiser="sgd", seeds="1,2")
        words = command(given, SERVICE)
        assert {"--recipe=small", "--seeds=1,2", "--set=epochs=3", "--set=level=false"} <= {*words}
        assert "--set=optimiser=sgd" in words
        assert not any(word.startswith("--set=rate") for word in words)

    def test_options_that_do_not_agree(self) -> None:
        with pytest.raises(SettingError, match="drawn"):
            command(load(train_args(SERVICE), drawn=5, augmentation="none"), SERVICE)

    def test_data_sets_are_names(self, tmp_path: Path) -> None:
        (tmp_path / "one").mkdir()
        (tmp_path / ".hidden").mkdir()
        known = train_args(Service(data_dir=tmp_path))
        assert load(known, dataset="one")["dataset"] == "one"
        for name in (".hidden", "..", "/etc", "one/..", ""):
            with pytest.raises(ValidationError):
                load(known, dataset=name)
