"""The records of one group, as its client sees them, with its keys and the path of its ledger."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from alignment.data.answers import NO_ANSWERS, GroupAnswers
from alignment.data.population import Population, load_population, stamp
from alignment.data.records import SurveyRecord
from alignment.data.sources import DataError
from alignment.data.split import Draw, draws_of
from alignment.data.units import UnitRecords
from alignment.tallies.questionnaire import Questionnaire, questionnaire_of, read_questionnaire
from clients.data.group_policy import GroupPolicy
from clients.data.home import (
    IDENTITY_FILE,
    MODEL_FOLDER,
    POLICY_FILE,
    QUESTIONNAIRE_FILE,
    SERVED_FILE,
    Home,
)
from clients.data.own_records import (
    OwnRecords,
    own_records,
    persons_in,
    records_alone,
    units_counted,
    units_trained_on,
)
from clients.data.simulated import SimulatedClientConfig
from privacy.accounting.choices import Mechanism
from privacy.errors import PolicyRefused
from privacy.file_names import LEDGERS_FOLDER, ROSTER_FILE
from privacy.identity.key_folder import MEMBERS, READERS, KeyFolder
from privacy.identity.keys import Identity, Roster
from privacy.identity.roles import TRAIN
from privacy.ledger.paths import group_ledger, group_model, ledgers_folder

#: Key of a node's own configuration that names the folder of its group policy.
HOME_KEY = "home"


class Keys(Protocol):
    """The group's own signing key, and the keys of others that it has pinned."""

    def own(self, name: str, *, role: str = MEMBERS) -> Identity:
        """The group's key."""

    def roster(self, *, role: str = MEMBERS) -> Roster:
        """The pinned keys of ``members``, ``servers``, or ``held_out`` groups that only measure."""


@dataclass(frozen=True)
class PinnedKeys:
    """Keys of a deployment: files of the group's own, read anew each time.

    Attributes:
        home: Folder of the client.
    """

    home: Home

    def own(self, name: str, *, role: str = MEMBERS) -> Identity:
        """See :class:`Keys`; one key, whatever the group is for."""
        return Identity.read(self.home.file(IDENTITY_FILE))

    def roster(self, *, role: str = MEMBERS) -> Roster:
        """See :class:`Keys`."""
        return Roster.read(self.home.file(ROSTER_FILE), role, missing_ok=role == READERS)


@dataclass(frozen=True, kw_only=True)
class Datastore:
    """What a client may read. Its printed form shows no record.

    Attributes:
        group: Name of the group.
        training: What it trains on; None for a held-out group. Where a group trains privately it
            holds no answers: those are at hand as units of privacy alone.
        answers: All its answers; likewise.
        draws: Contexts and targets on which a held-out group measures; empty for a train group.
        unit: What a unit of privacy is, by the group's own policy.
        units: Gives its units of privacy: what they may be trained on.
        counted_units: Gives the units whose answers are counted, where they are counted once.
        questionnaire: Gives what is counted; public.
        wave: Name of the wave of persons that the data hold.
        units_bound: Public bound on their number, which others are told in its place; 0 where
            nothing is private. In a simulation, where one party holds all data, the number itself.
        private: Whether its records may be trained on under a privacy plan only.
        secure: Whether its vectors leave under masks only.
        fewest_members: Into a sum over fewer groups than these no vector goes.
        keys: Its own key and those it has pinned.
        ledger: File of the group's budget ledger.
        model: Folder of the model that the group keeps in a run without a server step.
        budget_epsilon: What its data may ever spend; 0 for the first run's plan and no more.
        budget_delta: Delta of that.
        evaluation_is_public: Whether what is measured on its draws may leave as it is.
        group_policy: What the group agrees to; None in a simulation, where the run decides.
        served: File that remembers which rounds have had a vector, over restarts; None where the
            process lives as long as the run.
    """

    group: str
    training: GroupAnswers | None
    answers: GroupAnswers
    draws: tuple[Draw, ...]
    unit: str
    units: Callable[[], Sequence[UnitRecords]]
    counted_units: Callable[[], Sequence[UnitRecords]]
    questionnaire: Callable[[], Questionnaire]
    wave: str
    units_bound: int
    private: bool
    secure: bool
    fewest_members: int
    keys: Keys
    ledger: Path
    model: Path
    budget_epsilon: float
    budget_delta: float
    evaluation_is_public: bool
    group_policy: GroupPolicy | None = None
    served: Path | None = None

    @property
    def trains(self) -> bool:
        """Whether it is a train group, whatever its records are."""
        return self.training is not None

    def __repr__(self) -> str:
        return f"Datastore(group={self.group!r})"


def datastore_of(
    node_config: Mapping[str, object], run_config: Mapping[str, object]
) -> Datastore | None:
    """The records behind a node: as its group policy says, or as a simulation deals them out.

    Args:
        node_config: Of the node's own machine. Where it names a folder, nothing that the server
            has configured is read.
        run_config: Of the server.
    """
    if HOME_KEY in node_config:
        return open_home(Home(folder=Path(str(node_config[HOME_KEY]))))
    return open_datastore(SimulatedClientConfig.read(node_config, run_config))


def open_home(home: Home, *, strict: bool = False) -> Datastore:
    """Open the records of one organisation, as its group policy says.

    Those of a group that trains privately are read each for itself: what does not load, names
    nobody or is another group's counts as absent, for a client that then refused would tell that
    it is there. No answers of such a group are at hand but as units of privacy.

    Args:
        home: Folder of the client.
        strict: Refuse what would count as absent: for its owner, who looks before the client joins.

    Raises:
        GroupPolicyError: The group policy cannot be read.
        DataError: The records cannot as a whole; or, where that is looked at, are not this group's,
            or hold more units of privacy than the policy says in public.
    """
    policy = home.group_policy
    source = str(home.data(policy))
    trains, unit = policy.role == TRAIN, policy.privacy.unit
    bound = policy.privacy.units if trains and policy.privacy.private else 0

    def records() -> OwnRecords:
        if bound and not strict:
            counted = policy.counted
            return records_alone(source, policy.group, unit, counted, stamp(source))
        return own_records(source, policy.group, policy.data.skip_invalid, stamp(source))[1]

    if bound and not strict:
        # Not even opened: what is counted once is not looked at again.
        answers = replace(NO_ANSWERS, group=policy.group)
    else:
        skip_invalid = policy.data.skip_invalid
        answers, _ = own_records(source, policy.group, skip_invalid, stamp(source))
    if bound and strict:
        _require_fit(home, records(), bound)
    return Datastore(
        group=policy.group,
        training=answers if trains else None,
        answers=answers,
        draws=() if trains else draws_of(answers, seed=0),
        unit=unit,
        units=lambda: units_trained_on(records(), unit),
        counted_units=lambda: units_counted(
            records(), unit, pinned_questionnaire(home).distributions
        ),
        questionnaire=lambda: pinned_questionnaire(home),
        wave=policy.tally.wave,
        units_bound=bound,
        private=policy.privacy.private,
        secure=True,
        fewest_members=policy.accept.members,
        keys=PinnedKeys(home),
        ledger=group_ledger(home.file(LEDGERS_FOLDER), policy.group),
        model=home.file(MODEL_FOLDER),
        budget_epsilon=policy.privacy.budget_epsilon,
        budget_delta=policy.privacy.budget_delta,
        evaluation_is_public=policy.data.public,
        group_policy=policy,
        served=home.file(SERVED_FILE),
    )


def pinned_questionnaire(home: Home) -> Questionnaire:
    """The questionnaire that a group policy pins.

    Raises:
        PolicyRefused: It pins none, or the file is another.
        QuestionnaireError: The file cannot be read.
    """
    section = home.group_policy.tally
    if not section.questionnaire:
        raise PolicyRefused("this group's policy pins no questionnaire: nothing is counted")
    read = _questionnaire(home.file(QUESTIONNAIRE_FILE), stamp(str(home.file(QUESTIONNAIRE_FILE))))
    if read.digest != section.questionnaire:
        raise PolicyRefused("the questionnaire is not the one that this group's policy pins")
    return read


@lru_cache(maxsize=8)
def _questionnaire(path: Path, _: object) -> Questionnaire:
    return read_questionnaire(path)


def _require_fit(home: Home, records: OwnRecords, bound: int) -> None:
    """Refuse, to their owner, data that would not be counted or trained on as a whole.

    Raises:
        DataError: They hold more units of privacy than the policy says in public.
        QuestionnaireError: They hold a question that is not in the questionnaire.
    """
    policy = home.group_policy
    source, unit = str(home.data(policy)), policy.privacy.unit
    counted = policy.counted
    if counted:
        pinned_questionnaire(home).require(records, where=str(home.file(QUESTIONNAIRE_FILE)))
    if persons_in(records, unit, counted=counted) > bound:
        raise DataError(
            f"{source}: holds more units of privacy ({unit}) than privacy.units = {bound} in "
            f"{POLICY_FILE} says in public; raise it there"
        )


def open_datastore(config: SimulatedClientConfig) -> Datastore | None:
    """Open the records of one simulated group; None where there are more nodes than groups.

    Raises:
        ValueError: There are fewer nodes than groups: some would be left out without a word.
    """
    population = load_population(
        config.data, split=config.split, seed=config.seed, skip_invalid=config.skip_invalid
    )
    if config.nodes < len(population.groups):
        needed = len(population.groups)
        raise ValueError(
            f"the simulation has {config.nodes} nodes for {needed} groups: num-supernodes={needed}"
        )
    if config.node >= len(population.groups):
        return None
    group = population.groups[config.node]
    draws = population.split.draws.get(group, ())
    private = config.private and not draws
    answers = replace(NO_ANSWERS, group=group) if private else population.answers[group]
    training = None if draws else population.split.training_answers(answers)
    counted = config.mechanism == Mechanism.TALLY

    def records() -> OwnRecords:
        return _training_records(population, group, config.respondents)

    def units() -> Sequence[UnitRecords]:
        return population.training_units(group, unit=config.unit)

    return Datastore(
        group=group,
        training=training,
        answers=answers,
        draws=draws,
        unit=config.unit,
        units=units,
        counted_units=lambda: units_counted(
            records(), config.unit, _questions_of(records()).distributions
        ),
        questionnaire=lambda: _questions_of(records()),
        wave="",
        units_bound=_bound_of(records(), config.unit, counted) if private else 0,
        private=config.private,
        secure=config.secure,
        fewest_members=config.fewest_members,
        keys=KeyFolder.of_run(Path(config.out), config.ledgers),
        ledger=group_ledger(ledgers_folder(Path(config.out), config.ledgers), group),
        model=group_model(Path(config.out), group),
        budget_epsilon=config.budget_epsilon,
        budget_delta=config.budget_delta,
        # Held-out groups of a simulation are there to be measured; their data are the researcher's.
        evaluation_is_public=True,
    )


@lru_cache(maxsize=2048)
def _training_records(population: Population, group: str, respondents: int) -> OwnRecords:
    """What a simulated group trains on; distributions that name nobody get as many as assumed."""
    kept = population.training_records(group)
    if not respondents:
        return OwnRecords(kept)
    return OwnRecords(
        replace(record, respondents=respondents)
        if isinstance(record, SurveyRecord) and record.respondents is None
        else record
        for record in kept
    )


@lru_cache(maxsize=2048)
def _questions_of(records: OwnRecords) -> Questionnaire:
    """In a simulation one party holds all data, and makes the questionnaires of them."""
    return questionnaire_of(records)


@lru_cache(maxsize=2048)
def _bound_of(records: OwnRecords, unit: str, counted: bool) -> int:
    return persons_in(records, unit, counted=counted)
