"""How a registered model is named."""

import pytest

from pi10_classifier.errors import SettingError
from pi10_classifier.registry.reference import ModelReference, is_reference


@pytest.mark.parametrize("text", ["models:/pi10@champion", "models:/pi10/3", "models:/a b.c-d_e@x"])
def test_a_reference_is_read_and_written_alike(text):
    assert str(ModelReference.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    ["models:/pi10", "models:/pi10/", "models:/pi10@", "models:/@champion", "models:/pi10/latest",
     "models:/pi10/0", "models:/pi10/-1", "models:/pi10/1.5", "models:/pi10@latest",
     "models:/pi10@v3", "models:/pi10@a/b", "models:/../x/3", "models://host/pi10/3",
     "models:/a/b@champion", "models:/it's@champion", "models:/a\nb@champion", "models:/.x/1",
     f"models:/{'n' * 201}/1", "models:/a%2fb/1", "models:/a\\b/1"],
)  # fmt: skip
def test_a_malformed_reference_is_refused_with_its_text(text):
    with pytest.raises(SettingError) as refused:
        ModelReference.parse(text)
    assert "such as" in str(refused.value) or "must have" in str(refused.value) or (
        "models:/NAME@ALIAS" in str(refused.value)
    )  # fmt: skip


def test_a_folder_is_no_reference():
    assert not is_reference("models/pi10")
    assert not is_reference("./models:/pi10")
