"""Settings from a file, from options and from ``--set``, and which of them wins."""

from pathlib import Path

import pytest

from server.config import ConfigError, RunConfig
from server.settings import assemble


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_without_anything_all_is_default() -> None:
    assert assemble(config=None, assignments=[]) == RunConfig()


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path: Path) -> None:
    """Was open: a file that an editor had marked could not be read."""
    file = write(tmp_path / "c.toml", "\ufeffseed = 2\n")
    assert assemble(config=file, assignments=[]).seed == 2


def test_the_last_of_defaults_file_options_and_assignments_wins(tmp_path: Path) -> None:
    file = write(tmp_path / "c.toml", "seed = 2\n[training]\nbatch_size = 2\nlearning_rate = 0.5\n")
    defaults = {"seed": 1, "training.batch_size": 1, "context.strength": 1.0, "data": "one"}

    def seed_after(*, file: Path | None, given: int | None, assigned: str | None) -> int:
        return assemble(
            config=file,
            assignments=[assigned] if assigned else [],
            given={"seed": given},
            defaults=defaults,
        ).seed

    assert seed_after(file=None, given=None, assigned=None) == 1
    assert seed_after(file=file, given=None, assigned=None) == 2
    assert seed_after(file=file, given=3, assigned=None) == 3
    assert seed_after(file=file, given=3, assigned="seed=4") == 4

    config = assemble(config=file, assignments=[], defaults=defaults)
    assert (config.training.batch_size, config.training.learning_rate) == (2, 0.5)
    assert (config.context.strength, config.data) == (1.0, "one")


def test_the_last_assignment_of_a_setting_wins() -> None:
    assert assemble(config=None, assignments=["seed=1", "seed=2"]).seed == 2


@pytest.mark.parametrize(
    ("assignment", "key", "value"),
    [
        ("training.batch_size=32", "training.batch_size", 32),
        (" training.batch_size = 32 ", "training.batch_size", 32),
        ("training.learning_rate=1e-4", "training.learning_rate", 1e-4),
        ("skip_invalid=true", "skip_invalid", True),
        ("data=a=b.jsonl", "data", "a=b.jsonl"),
        ("split=", "split", ""),
    ],
)
def test_an_assignment_gets_the_settings_type(assignment: str, key: str, value: object) -> None:
    got = assemble(config=None, assignments=[assignment]).flat()[key]
    assert (type(got), got) == (type(value), value)


@pytest.mark.parametrize("text", ["seed", "=5", " = 5", ""])
def test_an_assignment_without_key_or_sign_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^--set .*: write key=value, as in --set training"):
        assemble(config=None, assignments=[text])


def test_a_false_option_is_not_an_absent_one() -> None:
    config = assemble(
        config=None, assignments=[], given={"skip_invalid": False}, defaults={"skip_invalid": True}
    )
    assert config.skip_invalid is False


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed = = 3", "line 1"),
        ("[training]\nrates = [1, 2]", "training.rates is list"),
        ("when = 2020-01-01", "when is date"),
        ("[trainning]\nbatch_size = 2", "did you mean 'training.batch_size'"),
        ("training = 5", "unknown setting 'training'"),
        ("seed = 'x'", "'seed'"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    file = write(tmp_path / "c.toml", text)
    with pytest.raises(ConfigError, match=message) as caught:
        assemble(config=file, assignments=[])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["missing", "folder", "not utf-8"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "c.toml"
    if kind == "folder":
        path.mkdir()
    elif kind == "not utf-8":
        path.write_bytes(b"data = '\xff'")
    with pytest.raises(ConfigError) as caught:
        assemble(config=path, assignments=[])
    assert str(caught.value).startswith(f"{path}: cannot be read: ")
    assert "\n" not in str(caught.value)
