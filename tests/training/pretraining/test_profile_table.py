"""Tables of profiles, sound and damaged."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pi10_classifier.errors import SettingError
from pi10_classifier.training.pretraining.profile_table import profile_of, read_table
from pi10_classifier.training.pretraining.profiles import (
    MOST_POINTS,
    padded,
    scaled,
    shortened,
    typical_values,
)


@pytest.fixture
def write(tmp_path):
    def table(**columns):
        path = tmp_path / "profiles.parquet"
        pq.write_table(pa.table(columns), path)
        return path

    return table


def test_profiles_of_different_lengths_are_read(write):
    path = write(
        particle_id=["a", "b", "c"],
        fws=[[1.0, 2.0, 3.0], [4.0], [5.0, 6.0]],
        fl_red=[[7, 8, 9], [10], [11, 12]],
        volume=[1.5, 2.5, 3.5],
    )
    table = read_table(path)
    assert (table.channels, table.ids) == (("fws", "fl_red"), {"a", "b", "c"})
    found = dict(table.read({"a", "c"}))
    assert set(found) == {"a", "c"}
    np.testing.assert_array_equal(found["a"], [[1, 2, 3], [7, 8, 9]])
    np.testing.assert_array_equal(found["c"], [[5, 6], [11, 12]])


@pytest.mark.parametrize(
    ("channels", "problem"),
    [
        ([[1.0, 2.0], [1.0]], r"different lengths \(2, 1\)"),
        ([[1.0, 2.0], None], "a channel of its profile is empty"),
        ([[], []], "its profile has no point"),
        ([[1.0, float("nan")], [1.0, 2.0]], "1 of 4 values of its profile are not finite"),
        ([[1.0, None], [1.0, float("inf")]], "2 of 4 values"),
    ],
)
def test_what_is_wrong_with_a_profile_is_said(channels, problem):
    with pytest.raises(AssertionError, match=problem):
        raise AssertionError(profile_of(channels))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"id": ["a"], "fws": [[1.0]]}, "no text column 'particle_id' .its columns: id, fws"),
        ({"particle_id": [1], "fws": [[1.0]]}, "no text column 'particle_id'"),
        ({"particle_id": ["a"], "fws": [1.0]}, "no column of lists of numbers"),
        ({"particle_id": ["a", "a"], "fws": [[1.0], [2.0]]}, "has 'a' twice"),
        ({"particle_id": ["a", None], "fws": [[1.0], [2.0]]}, "a row has no particle_id"),
        ({"particle_id": pa.array([], pa.string()), "fws": pa.array([], pa.list_(pa.float32()))},
         "has no row"),
    ],
)  # fmt: skip
def test_a_table_without_profiles_is_refused(write, columns, message):
    with pytest.raises(SettingError, match=message):
        read_table(write(**columns))


def test_a_file_that_is_no_parquet_is_refused(tmp_path):
    path = tmp_path / "profiles.parquet"
    path.write_text("particle_id,fws\n")
    with pytest.raises(SettingError, match="cannot be read as Parquet"):
        read_table(path)


def test_padding_is_masked():
    one, two = np.ones((2, 3), np.float32), np.full((2, 5), 2, np.float32)
    values, mask = padded([one, two])
    assert values.shape == (2, 2, 5)
    assert mask.sum(1).tolist() == [3, 5]
    assert values[0, :, 3:].sum() == 0


def test_long_profiles_keep_their_mean():
    profile = np.random.default_rng(0).uniform(0, 9, (3, 4 * MOST_POINTS)).astype(np.float32)
    short = shortened(profile)
    assert short.shape == (3, MOST_POINTS)
    np.testing.assert_allclose(short.mean(1), profile.mean(1), rtol=1e-4)
    assert shortened(short) is short


def test_each_channel_is_scaled_by_its_own_typical_value():
    profiles = [np.array([[1.0, 2.0, 3.0], [1000, 2000, 3000]], np.float32)]
    typical = typical_values([*profiles, np.zeros((2, 0), np.float32)])
    np.testing.assert_allclose(typical, [2, 2000])
    one, other = scaled(profiles[0], typical)
    np.testing.assert_allclose(one, other)
    assert typical_values([np.zeros((1, 4), np.float32)]).tolist() == [1]
