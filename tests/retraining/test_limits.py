"""Limits come from the environment, and a bad one stops the service with its name."""

import pytest

from pi10_classifier.errors import SettingError
from pi10_classifier.retraining.limits import Limits
from pi10_classifier.retraining.settings import RetrainSettings


def test_what_is_set_counts_and_the_rest_is_default() -> None:
    limits = Limits.from_environ({"PI10_RETRAIN_MINUTES": "5.5", "PI10_RETRAIN_NEW_LABELS": "0"})
    assert (limits.minutes, limits.new_labels, limits.images) == (5.5, 0, Limits().images)


@pytest.mark.parametrize(
    ("variable", "value"),
    [("MINUTES", "0"), ("MINUTES", "nan"), ("IMAGES", "many"), ("IMAGES", "0"), ("GIB", "-1"),
     ("EACH_CLASS", "1e9"), ("SETTLE_S", "inf")],
)  # fmt: skip
def test_a_bad_limit_is_refused_by_its_name(variable: str, value: str) -> None:
    with pytest.raises(SettingError, match=rf"PI10_RETRAIN_{variable} is '{value}'"):
        Limits.from_environ({f"PI10_RETRAIN_{variable}": value})


def test_a_training_needs_at_least_what_a_head_needs() -> None:
    with pytest.raises(SettingError, match="TRAIN_FROM is 3"):
        Limits.from_environ({"PI10_RETRAIN_TRAIN_FROM": "3"})


@pytest.mark.parametrize(
    ("environ", "name"),
    [({}, "pi10"), ({"PI10_MODEL": "models:/Celtic Sea@champion"}, "Celtic Sea"),
     ({"PI10_MODEL": "models:/a/3", "PI10_RETRAIN_REGISTER": "b"}, "b")],
)  # fmt: skip
def test_candidates_are_registered_beside_their_champion(
    environ: dict[str, str], name: str
) -> None:
    assert RetrainSettings.from_environ(environ).register == name


def test_a_name_that_mlflow_refuses_is_refused() -> None:
    with pytest.raises(SettingError, match="REGISTER is 'a/b'"):
        RetrainSettings.from_environ({"PI10_RETRAIN_REGISTER": "a/b"})
