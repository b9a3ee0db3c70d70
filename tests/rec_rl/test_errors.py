import pytest

from rec_rl.errors import ConfigError, check_kinds, check_name


def test_check_name_suggests_the_nearest():
    assert check_name("model", "din", {"din", "dien"}) == "din"
    with pytest.raises(ConfigError, match="unknown model 'dinn'; did you mean 'din'"):
        check_name("model", "dinn", {"din", "dien"})
    with pytest.raises(ConfigError, match="known: dien, din"):
        check_name("model", "transformer", {"din", "dien"})


class Defaults:
    lr = 1e-3
    radius = None
    hidden_sizes = (256, 256)
    reward_utility = "linear"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("lr", "abc", "lr must be a number, got 'abc'"),
        ("lr", None, "lr must be a number, got None"),
        ("radius", "abc", "radius must be a number, got 'abc'"),
        ("hidden_sizes", 256, "hidden_sizes must be a list, got 256"),
        ("reward_utility", [1], r"reward_utility must be a word, got \[1\]"),
    ],
)
def test_a_setting_of_another_kind_than_its_default_is_refused(name, value, expected):
    with pytest.raises(ConfigError, match=expected):
        check_kinds({name: value}, Defaults)


def test_settings_of_their_defaults_kind_and_unknown_names_pass():
    check_kinds({"lr": 1, "radius": None, "hidden_sizes": [64], "lrr": "abc"}, Defaults)
