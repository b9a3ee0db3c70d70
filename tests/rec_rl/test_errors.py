import pytest

from rec_rl.errors import ConfigError, check_name


def test_check_name_suggests_the_nearest():
    assert check_name("model", "din", {"din", "dien"}) == "din"
    with pytest.raises(ConfigError, match="unknown model 'dinn'; did you mean 'din'"):
        check_name("model", "dinn", {"din", "dien"})
    with pytest.raises(ConfigError, match="known: dien, din"):
        check_name("model", "transformer", {"din", "dien"})
