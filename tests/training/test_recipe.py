import pytest

from pi10_classifier.errors import SettingError
from pi10_classifier.imaging.preprocess import Preprocessing
from pi10_classifier.training.recipe import Recipe, changed, read_recipe, recipe_for


@pytest.mark.parametrize("name", ["vit", "beit"])
def test_default_of_vit_and_beit_is_the_papers(name):
    recipe = recipe_for(name)
    assert recipe == Recipe()
    assert (recipe.size, recipe.channels, recipe.batch, recipe.accumulate) == (224, 3, 32, 4)
    assert (recipe.optimiser, recipe.rate, recipe.schedule) == ("adam", 5e-5, "linear")
    assert (recipe.warmup_share, recipe.epochs, recipe.weight_decay) == (0.1, 30, 0.0)
    assert (recipe.loss, recipe.augmentation) == ("las", "paper")


def test_each_kind_of_network_has_its_own():
    assert recipe_for("resnet18").rate == 1e-4
    for name in ("mobilenet_v2", "mobilenetv4_conv_small", "efficientnet_lite0"):
        mobile = recipe_for(name)
        assert mobile.spec == Preprocessing(size=96, trim=0.2)
        assert (mobile.optimiser, mobile.ema, mobile.augmentation) == ("adamw", 0.997, "pi10")
        assert mobile.loss_options == {"smoothing": 0.05}


def test_another_loss_drops_the_options_of_the_former():
    assert recipe_for("mobilenet_v2", loss="las").loss_options == {}
    given = recipe_for("mobilenet_v2", loss="las", loss_options={"head": 0.2})
    assert given.loss_options == {"head": 0.2}


def test_flags_come_before_the_file_and_the_file_before_the_default(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(
        'epochs = 3\nrate = 1e-4\nloss = "las"\n[loss_options]\nshape = "linear"\n', "utf-8"
    )
    recipe = read_recipe(path, "resnet18", epochs=5)
    assert (recipe.epochs, recipe.rate, recipe.batch) == (5, 1e-4, 32)
    assert recipe.loss_options == {"shape": "linear"}
    assert read_recipe(path, "vit", loss="bce").loss_options == {}
    assert read_recipe(path, "vit", loss="las").loss_options == {"shape": "linear"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch = 3", r"recipe.toml: a recipe has no 'epoch'; it has epochs"),
        ("epochs = '3'", "epochs is '3'; it must be a whole number"),
        ("epochs = 1.5", "epochs is 1.5; it must be a whole number"),
        ("epochs = true", "epochs is True"),
        ("level = 1", "level is 1; it must be true or false"),
        ("loss_options = 3", "it must be a table of options"),
        ("epochs = ", "is not TOML"),
    ],
)
def test_unusable_files_are_named(text, message, tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(SettingError, match=message):
        read_recipe(path, "vit")


def test_absent_file_is_named(tmp_path):
    with pytest.raises(SettingError, match="cannot be read"):
        read_recipe(tmp_path / "absent.toml", "vit")


@pytest.mark.parametrize(
    "bad",
    [
        {"epochs": 0},
        {"minutes": 0},
        {"size": 8},
        {"batch": 1},
        {"accumulate": 0},
        {"rate": 0.0},
        {"rate": 1e307},
        {"weight_decay": 1e307},
        {"optimiser": "lion"},
        {"schedule": "step"},
        {"augmentation": "wild"},
        {"precision": "int4"},
        {"ema": 1.5},
        {"clip": -1.0},
        {"channels": 2},
        {"distil": 2.0},
    ],
)
def test_unusable_values_are_refused_with_their_name(bad):
    with pytest.raises(SettingError, match=next(iter(bad)).replace("size", "input size")):
        recipe_for("vit", **bad)
    with pytest.raises(SettingError):
        changed(Recipe(), **bad)


def test_recipe_goes_through_a_dictionary():
    recipe = recipe_for("mobilenet_v2", minutes=2.5)
    assert Recipe(**recipe.to_dict()) == recipe


def test_limits_per_class_and_balance_exclude_each_other():
    with pytest.raises(SettingError, match=r"balance is 0\.5"):
        recipe_for("mobilenet_v2", class_minimum=10)
    with pytest.raises(SettingError, match="minimum 10 and maximum 5"):
        recipe_for("vit", class_minimum=10, class_maximum=5)
    assert recipe_for("vit", class_minimum=10, class_maximum=50).class_maximum == 50


def test_drawn_particles_need_their_augmentation():
    with pytest.raises(SettingError, match="drawn is 5, but augmentation is 'paper'"):
        recipe_for("vit", drawn=5)


def test_images_are_levelled_in_training_and_service_or_in_neither():
    with pytest.raises(SettingError, match="used on other images than it was trained on"):
        recipe_for("vit", augmentation="pi10")
    with pytest.raises(SettingError, match="level is false"):
        recipe_for("mobilenet_v2", level=False)
    assert recipe_for("vit", augmentation="pi10", level=True, channels=1).spec.level


def test_what_is_not_levelled_is_not_trimmed():
    assert recipe_for("mobilenet_v2").spec.trim == 0.2
    assert recipe_for("mobilenet_v2", level=False, augmentation="none").spec.trim == 0
    with pytest.raises(SettingError, match="level is false, and particles"):
        recipe_for("vit", trim=0.1)
    with pytest.raises(SettingError, match="trim is 2; it must be"):
        recipe_for("mobilenet_v2", trim=2)
    with pytest.raises(SettingError, match=r"leaves margins of at most 0\.22"):
        recipe_for("mobilenet_v2", trim=0.3)
    assert recipe_for("mobilenet_v2", trim=0.3, augmentation="none").spec.trim == 0.3


def test_a_training_without_trim_is_described_as_before_trim():
    assert "trim" not in recipe_for("vit").to_dict()
    assert recipe_for("mobilenet_v2").to_dict()["trim"] == 0.2


def test_the_linescan_look_is_described_only_where_it_is_asked_for():
    assert not {"look_kind", "look_without", "drawn_kind"} & set(recipe_for("resnet18").to_dict())
    asked = recipe_for("mobilenet_v2", look_kind="linescan", look_without="noise, specks")
    assert asked.to_dict()["look_kind"] == "linescan"
    assert asked.to_dict()["look_without"] == "noise, specks"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"look_kind": "real"}, "look_kind is 'real'; it must be one of generic, linescan"),
        ({"look_kind": "linescan", "look_without": "blur"}, "'blur' is no effect"),
        ({"look_without": "noise"}, "look_kind and drawn_kind are generic; set one of them"),
    ],
)
def test_a_look_that_does_not_exist_is_refused(changes, said):
    with pytest.raises(SettingError, match=said):
        recipe_for("mobilenet_v2", **changes)


@pytest.mark.parametrize("name", ["rate", "weight_decay", "minutes", "mixup", "look"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_number_is_a_number_that_is_none(name, value):
    with pytest.raises(SettingError, match=name):
        recipe_for("vit", **{name: value})


@pytest.mark.parametrize("name", ["class_minimum", "epochs", "batch", "drawn"])
def test_counts_have_an_end(name):
    with pytest.raises(
        SettingError, match=f"{name} is 5,000,000,000; it must be at most 10,000,000"
    ):
        recipe_for("mobilenet_v2", balance=0.0, **{name: 5_000_000_000})
