from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from retdm.api.words import parsed, words_of
from retdm.errors import UserError


@pytest.mark.parametrize(
    ("words", "settings"),
    [
        ("method=bce data.image_size=64", {}),
        (["method=bce", "data.image_size=64"], {}),
        ("method=bce", {"data.image_size": 64}),
        ("", {"method": "bce", "data": {"image_size": 64}}),
    ],
)
def test_words_and_settings_are_one_command(words: Any, settings: dict[str, Any]) -> None:
    assert words_of(words, settings) == ["method=bce", "data.image_size=64"]


def test_words_are_quoted_as_in_a_shell() -> None:
    assert words_of("data.root='/my photos' tags=[a]", {}) == ["data.root=/my photos", "tags=[a]"]


@pytest.mark.parametrize(
    "value",
    [
        *(
            "plain",
            "/data/photos",
            "a b",
            "it's",
            "a,b",
            "[x]",
            "{a:1}",
            "null",
            "True",
            "1",
            "1e-3",
            "",
            " ",
            "ä",
            ".",
        ),
        *("a=b", 'say "x"', "back\\slash", "at the end\\", "\\'", "c:\\x\\", "${x}", "x'${y}'\\", "nan", ".5", "a:b"),
        *(None, True, False, 3, -2, 1e-5, 2.5, [1, "a b", None], [], [[1], ["x"]]),
    ],
)
def test_hydra_reads_each_value_as_it_was(value: Any, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("group: {key: 0}\n")
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        found = compose("config", words_of("", {"group.key": value})).group.key
    assert found == value
    assert type(found) is type(value) or isinstance(value, list)


def test_numpys_numbers_tuples_and_paths_are_numbers_lists_and_text() -> None:
    words = words_of("", {"a": np.float32(0.5), "b": (np.int64(1), 2), "c": Path("/x y"), "d": np.bool_(True)})
    assert [override.value() for override in parsed(words)] == [0.5, [1, 2], "/x y", True]


def test_a_mapping_without_keys_and_one_in_a_list_stay_mappings() -> None:
    assert [override.value() for override in parsed(words_of("", {"a": {}, "b": [{"k": 1}]}))] == [{}, [{"k": 1}]]


@pytest.mark.parametrize("words", ["-m method=bce", "--help", "--cfg job"])
def test_flags_are_the_commands(words: str) -> None:
    with pytest.raises(UserError, match="flags are of the command"):
        words_of(words, {})


@pytest.mark.parametrize("word", ["method=bce,lr", "seed=range(3)", "experiment=glob(*)", "seed=choice(1,2)"])
def test_a_sweep_is_the_commands(word: str) -> None:
    with pytest.raises(UserError, match="retdm.train trains one"):
        words_of([word], {})


def test_what_is_no_setting_is_refused() -> None:
    with pytest.raises(UserError, match="method is of type object"):
        words_of("", {"method": object()})
    with pytest.raises(UserError, match="cannot be read as words"):
        words_of("data.root='/photos", {})


def test_words_that_contradict_each_other_are_refused_and_repeated_ones_are_not() -> None:
    with pytest.raises(UserError, match="seed=1 and seed=2 contradict each other"):
        words_of("seed=1", {"seed": 2})
    assert words_of("seed=1", {"seed": 1}) == ["seed=1", "seed=1"]


@pytest.mark.parametrize("words", [None, 3, {"seed": 1}])
def test_what_is_neither_text_nor_a_list_is_refused(words: Any) -> None:
    with pytest.raises(UserError, match="is no text of words"):
        words_of(words, {})
