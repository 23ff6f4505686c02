"""The policy file: one line for whatever is wrong with it, and nothing lost in writing it."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from clients.data.group_policy import (
    GroupPolicy,
    GroupPolicyError,
    group_policy_text,
    read_group_policy,
)
from clients.data.home import Home
from clients.data.policy_sections import (
    AcceptSection,
    DataSection,
    MachineSection,
    PrivacySection,
    ServerSection,
    StepSection,
    TallySection,
)
from clients.deployment.bundle import code_digest
from clients.deployment.enrolment import accept_code
from tests.hostile import FORGED, MISSPELLED, assert_seen
from texts import name_of

LEAST: dict[str, Any] = {
    "group": "North",
    "data": {"path": "answers.jsonl"},
    "privacy": {"units": 100},
    "accept": {"code": "ab" * 32},
    "server": {"address": "fed.example.org:9443"},
}


def written(folder: Path, **changes: Any) -> Path:
    """A policy file with dotted changes; None takes a line out."""
    content = {key: dict(v) if isinstance(v, dict) else v for key, v in LEAST.items()}
    for name, value in changes.items():
        *sections, key = name.split("__")
        place = content
        for section in sections:
            place = place.setdefault(section, {})
        place[key] = value
        if value is None:
            del place[key]
    path = folder / "policy.toml"
    path.write_text(tomli_w.dumps(content), encoding="utf-8")
    return path


def test_what_is_not_said_has_the_default(tmp_path: Path) -> None:
    policy = read_group_policy(written(tmp_path))
    assert (policy.role, policy.privacy, policy.machine) == (
        "train",
        PrivacySection(units=100),
        MachineSection(),
    )
    assert policy.step == StepSection()
    assert (policy.privacy.mode, policy.privacy.unit) == ("distributed", "respondent")
    assert not policy.data.public


@pytest.mark.parametrize("name", MISSPELLED, ids=ascii)
def test_the_group_is_spelled_as_in_records(tmp_path: Path, name: str) -> None:
    """Was open: records of a group composed otherwise were not the policy's group."""
    assert read_group_policy(written(tmp_path, group=name)).group == name_of(name)


def test_a_byte_order_mark_is_no_part_of_it(tmp_path: Path) -> None:
    """Was open: a file that an editor had marked could not be read."""
    path = written(tmp_path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_group_policy(path).group == "North"


@pytest.mark.parametrize("name", FORGED, ids=ascii)
def test_a_group_whose_name_could_forge_is_refused(tmp_path: Path, name: str) -> None:
    """Was open: the policy took any name, and its card carried it to others."""
    with pytest.raises(GroupPolicyError, match=r"policy\.toml: group") as caught:
        read_group_policy(written(tmp_path, group=name))
    assert_seen(str(caught.value))


def test_every_field_survives_being_written_and_read(tmp_path: Path) -> None:
    """No value here is a default, so that a field left out would show."""
    policy = GroupPolicy(
        group='No "rth" ünd # \\ Söhne',
        role="held_out",
        data=DataSection(path="a b/'c'.jsonl", skip_invalid=True, public=True),
        privacy=PrivacySection(
            mode="local",
            mechanism="tally",
            unit="record",
            budget_epsilon=3.0,
            budget_delta=1e-7,
            run_epsilon=0.125,
            units=1000,
        ),
        step=StepSection(
            micro_batch=1, records_per_unit=2, max_options=3, max_tokens=4, options_apart=True
        ),
        tally=TallySection(questionnaire="56" * 32, wave="2027", largest_weight=2.5),
        accept=AcceptSection(
            code="12" * 32,
            encoder="models/small",
            model="34" * 32,
            start="56" * 32,
            members=9,
            threshold=8,
            honest_shares=7,
            colluding=6,
            partners=True,
        ),
        server=ServerSection(address="[::1]:1"),
        machine=MachineSection(port=1, stage_seconds=2.5, poll_seconds=0.25),
    )
    default = GroupPolicy.model_validate(LEAST).model_dump()
    for name, value in policy.model_dump().items():
        if isinstance(value, dict):
            assert all(value[key] != default[name][key] for key in value), name
    path = tmp_path / "policy.toml"
    path.write_text(group_policy_text(policy), encoding="utf-8")
    assert read_group_policy(path) == policy
    comments = [line for line in group_policy_text(policy).splitlines() if line.startswith("#")]
    assert len(comments) >= 6


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"grup": "North"}, "grup = 'North': Extra inputs are not permitted"),
    ({"privacy__epsilon": 4.0}, "privacy.epsilon = 4.0: Extra inputs are not permitted"),
    ({"group": None}, "group: Field required"),
    ({"accept__code": None}, "accept.code: Field required"),
    ({"group": 3}, "group = 3: Input should be a valid string"),
    ({"group": ""}, "group = '': String should have at least 1 character"),
    ({"role": "both"}, "role = 'both': Input should be 'train' or 'held_out'"),
    ({"data__public": "yes"}, "data.public = 'yes': Input should be a valid boolean"),
    ({"data__public": 1}, "data.public = 1: Input should be a valid boolean"),
    (
        {"privacy__mode": "central"},
        "privacy.mode = 'central': Input should be 'none', 'distributed'",
    ),
    ({"privacy__budget_epsilon": 0.0}, "privacy.budget_epsilon = 0.0: Input should be greater"),
    ({"privacy__budget_epsilon": 51.0}, "privacy.budget_epsilon = 51.0: Input should be less"),
    ({"privacy__budget_epsilon": float("nan")}, "privacy.budget_epsilon = nan: Input should be"),
    ({"privacy__run_epsilon": float("inf")}, "privacy.run_epsilon = inf: Input should be less"),
    ({"privacy__run_epsilon": "8"}, "privacy.run_epsilon = '8': Input should be a valid number"),
    ({"privacy__budget_delta": 1.0}, "privacy.budget_delta = 1.0: Input should be less than 1"),
    ({"privacy__budget_delta": float("nan")}, "privacy.budget_delta = nan: Input should be"),
    ({"privacy__units": -1}, "privacy.units = -1: Input should be greater"),
    ({"privacy__units": 10.0}, "privacy.units = 10.0: Input should be a valid integer"),
    ({"privacy__units": 0}, "privacy.units is missing: state a public bound on the units"),
    ({"step__max_options": 1}, "step.max_options = 1: Input should be greater"),
    ({"step__options_apart": 1}, "step.options_apart = 1: Input should be a valid boolean"),
    ({"step__options": 4}, "step.options = 4: Extra inputs are not permitted"),
    ({"accept__code": "abc"}, "accept.code = 'abc': String should match pattern"),
    ({"accept__model": "ab"}, "accept.model = 'ab': String should match pattern"),
    ({"accept__members": 1}, "accept.members = 1: Input should be greater than or equal to 2"),
    ({"accept__honest_shares": 0}, "accept.honest_shares = 0: Input should be greater"),
    ({"accept__colluding": -1}, "accept.colluding = -1: Input should be greater"),
    ({"accept__threshold": 2.5}, "accept.threshold = 2.5: Input should be a valid integer"),
    ({"server__address": "fed.example.org"}, "server.address = 'fed.example.org': String should"),
    ({"server__address": "https://a:1"}, "server.address = 'https://a:1': String should match"),
    ({"machine__port": 0}, "machine.port = 0: Input should be greater"),
    ({"machine__stage_seconds": 0.0}, "machine.stage_seconds = 0.0: Input should be greater"),
    ({"machine__stage_seconds": float("inf")}, "machine.stage_seconds = inf: Input should be less"),
    ({"machine__stage_seconds": float("nan")}, "machine.stage_seconds = nan: Input should be"),
    ({"machine__poll_seconds": 0.0}, "machine.poll_seconds = 0.0: Input should be greater"),
    (
        {"role": "held_out"},
        "role = 'held_out' with data.public = false: what is measured would leave as it is; set "
        "data.public = true if the answers are public, or role = 'train'",
    ),
    (
        {"accept__threshold": 4, "accept__members": 3},
        "accept.threshold = 4 is above accept.members = 3: raise members",
    ),
]


@pytest.mark.parametrize(("changes", "words"), WRONG, ids=[words[:40] for _, words in WRONG])
def test_what_is_wrong_is_told_in_one_line_with_file_and_field(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    path = written(tmp_path, **changes)
    with pytest.raises(GroupPolicyError) as caught:
        read_group_policy(path)
    assert str(caught.value).startswith(f"{path}: {words}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read: [Errno 2] No such file"),
        (b"group = \n", "Invalid value (at line 1, column 9)"),
        (b"group = 'a'\ngroup = 'b'\n", "Cannot overwrite a value"),
        (b"\xff\xfe", "cannot be read: 'utf-8' codec"),
    ],
    ids=["missing", "no value", "twice", "no text"],
)
def test_a_file_that_is_none_is_told_in_one_line(
    tmp_path: Path, content: bytes | None, words: str
) -> None:
    path = tmp_path / "policy.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(GroupPolicyError) as caught:
        Home(folder=tmp_path).group_policy  # noqa: B018 - reading it is the test
    assert str(caught.value).startswith(f"{path}: {words}")
    assert "\n" not in str(caught.value)


def test_it_is_read_anew_every_time(tmp_path: Path) -> None:
    written(tmp_path)
    home = Home(folder=tmp_path)
    assert home.group_policy.accept.members == 3
    written(tmp_path, accept__members=5)
    assert home.group_policy.accept.members == 5


def test_records_lie_beside_the_policy_or_anywhere(tmp_path: Path) -> None:
    home = Home(folder=tmp_path / "north")
    beside = GroupPolicy.model_validate(LEAST)
    assert home.data(beside) == tmp_path / "north" / "answers.jsonl"
    elsewhere = GroupPolicy.model_validate({**LEAST, "data": {"path": "/data/answers.jsonl"}})
    assert home.data(elsewhere) == Path("/data/answers.jsonl")


@pytest.mark.parametrize(
    "line",
    ['code = "{code}"', "  code='{code}'  # by Ada", '"code" = "{code}"'],
)
def test_accepting_code_changes_one_value_and_keeps_every_note(tmp_path: Path, line: str) -> None:
    old = "ab" * 32
    note = f"# {old} was read by Ada on Monday, 'all of it'.\n"
    text = group_policy_text(GroupPolicy.model_validate(LEAST))
    text = note + text.replace(f'code = "{old}"', line.format(code=old))
    path = tmp_path / "policy.toml"
    path.write_text(text, encoding="utf-8")
    assert accept_code(Home(folder=tmp_path)) == code_digest()
    changed = path.read_text(encoding="utf-8")
    assert changed == text.replace(line.format(code=old), line.format(code=code_digest()))
    assert changed.startswith(note)
    before = {**tomllib.loads(text)}
    before["accept"] = {**before["accept"], "code": code_digest()}
    assert tomllib.loads(changed) == before
    assert [each.name for each in tmp_path.iterdir()] == ["policy.toml"]
