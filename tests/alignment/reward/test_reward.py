"""The predictor as a reward model: what a reward is, and what scoring leaves behind."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from alignment.config import ContextConfig
from alignment.data.answers import GroupAnswers, tally
from alignment.data.conversations import Message, Turns, plain_of
from alignment.data.records import PairRecord, Question
from alignment.model.context import Prior
from alignment.model.folder import save_predictor
from alignment.model.prediction import ContextPredictor
from alignment.model.predictor import Predictor
from alignment.model.stated import ModelFolderError
from alignment.reward.combination import AdaptiveCombination, MeanCombination, MinCombination
from alignment.reward.reward import RewardModel, best_of_n, centred, standardised
from alignment.reward.reward_function import RewardFunction, text_of

#: A narrow kernel: to an untrained encoder all short texts look much alike.
READING = ContextConfig(bandwidth=0.02)
PROMPT = "do you like tea ?"
TEXTS = ("yes", "no", "the state", "i like more tea , and less of the coffee .", "")


def annotated(group: str, *pairs: tuple[str, str]) -> list[PairRecord]:
    return [
        PairRecord(group=group, annotator=f"{group} {i}", prompt=PROMPT, chosen=a, rejected=b)
        for i, (a, b) in enumerate(pairs)
    ]


@pytest.fixture(scope="module")
def contexts() -> dict[str, GroupAnswers]:
    """Two groups that contradict each other, each by five annotators, and one that is torn."""
    yes, no = ("yes", "no"), ("no", "yes")
    records = annotated("for", *[yes] * 5) + annotated("against", *[no] * 5)
    return tally(records + annotated("torn", yes, no))


@pytest.fixture(scope="module")
def predictor(make_predictor: Callable[..., Predictor], shake: Callable[..., None]) -> Predictor:
    made = make_predictor()
    shake(made, 0)
    return made


@pytest.fixture(scope="module")
def model(predictor: Predictor, contexts: dict[str, GroupAnswers]) -> RewardModel:
    return RewardModel.reading(predictor, READING, contexts.values())


def state_of(predictor: Predictor) -> tuple[int, int, int, bytes]:
    """What the predictor remembers, and its parameters."""
    parameters = b"".join(p.detach().numpy().tobytes() for p in predictor.parameters())
    questions: Any = predictor.questions
    return len(predictor.cache), len(questions._cache), len(predictor._pooled), parameters


# --- what a reward is ------------------------------------------------------------------------


def test_differences_are_the_log_odds_of_the_predictors_own_choice(
    predictor: Predictor, model: RewardModel, contexts: dict[str, GroupAnswers]
) -> None:
    pair = Question(question_id="p", text=PROMPT, options=("yes", "the state"), together=False)
    scores = model.scores([PROMPT, PROMPT], pair.options)
    for row, group in enumerate(model.groups):
        first, second = ContextPredictor(predictor, READING)([pair], contexts[group])[0]
        assert scores[row, 0] - scores[row, 1] == pytest.approx(math.log(first / second), abs=1e-5)


def test_a_group_prefers_what_it_has_preferred(model: RewardModel) -> None:
    scores = dict(zip(model.groups, model.scores([PROMPT] * 2, ["yes", "no"]), strict=True))
    gaps = {group: float(yes - no) for group, (yes, no) in scores.items()}
    assert gaps["for"] > gaps["torn"] > gaps["against"]
    assert gaps["for"] - gaps["against"] > 0.5


def test_a_completion_is_scored_alike_in_any_company(model: RewardModel) -> None:
    together = model.scores([PROMPT] * len(TEXTS), TEXTS)
    assert together.shape == (3, len(TEXTS))
    assert np.isfinite(together).all()
    for column, text in enumerate(TEXTS):
        alone = model.scores([PROMPT], [text])
        assert alone[:, 0] == pytest.approx(together[:, column], abs=1e-5)
    other = model.scores([*["more tax or less tax ?"] * 40, PROMPT], [*["less"] * 40, "yes"])
    assert other[:, -1] == pytest.approx(together[:, 0], abs=1e-5)
    # They are not all the same, and the prompt is read.
    assert np.ptp(together, axis=1).min() > 1e-2
    elsewhere = model.scores(["is war good or bad for the state ?"], ["yes"])
    assert np.abs(elsewhere[:, 0] - together[:, 0]).max() > 1e-2


def test_scoring_is_deterministic_and_leaves_nothing_behind(
    predictor: Predictor, model: RewardModel
) -> None:
    before, chance = state_of(predictor), torch.random.get_rng_state()
    first = model.scores([PROMPT] * len(TEXTS), TEXTS)
    model.scores(["a completely different prompt ?"], ["no"])
    model.log_probabilities([Question(question_id="q", text=PROMPT, options=("yes", "no"))])
    assert np.array_equal(model.scores([PROMPT] * len(TEXTS), TEXTS), first)
    assert state_of(predictor) == before
    assert torch.equal(torch.random.get_rng_state(), chance)
    assert all(parameter.grad is None for parameter in predictor.parameters())


def test_equal_completions_get_equal_rewards(model: RewardModel) -> None:
    scores = model.scores([PROMPT] * 4, ["yes", "no", "yes", "no"])
    assert np.array_equal(scores[:, :2], scores[:, 2:])


def test_survey_options_are_rewarded_by_their_log_probability(
    predictor: Predictor,
    model: RewardModel,
    contexts: dict[str, GroupAnswers],
    survey: tuple[Question, ...],
) -> None:
    logs = model.log_probabilities(survey)
    assert [each.shape for each in logs] == [(3, len(q.options)) for q in survey]
    for row, group in enumerate(model.groups):
        predicted = ContextPredictor(predictor, READING)(survey, contexts[group])
        for each, distribution in zip(logs, predicted, strict=True):
            assert np.exp(each[row]) == pytest.approx(distribution, abs=1e-6)
    assert model.log_probabilities([]) == []


# --- one zero for all groups ------------------------------------------------------------------


def test_centred_rewards_have_mean_zero_for_each_prompt_and_group() -> None:
    rewards = np.array([[1.0, 5.0, 3.0, 0.0], [0.0, 10.0, 2.0, 0.0]])
    prompts = ["a", "b", "a", "b"]
    assert centred(rewards, prompts) == pytest.approx(
        np.array([[-1, 2.5, 1, -2.5], [-1, 5, 1, -5]])
    )
    assert standardised(rewards, prompts) == pytest.approx(np.array([[-1, 1, 1, -1]] * 2))
    assert rewards[0, 0] == 1.0  # the argument is left alone
    assert standardised(np.full((1, 2), 0.3), ["a", "a"]) == pytest.approx(np.zeros((1, 2)))
    with pytest.raises(ValueError, match=r"shape \(2, 4\) for 3 prompts"):
        centred(rewards, prompts[:3])


def test_a_reference_is_the_zero(model: RewardModel) -> None:
    prompts = [PROMPT, PROMPT, "ask the market ?"]
    texts = ["yes", "the state", "no"]
    rewards = model.rewards(prompts, texts, references=[["no"], ["yes", "no"], ["no"]])
    yes, state, no = (model.scores([PROMPT], [text])[:, 0] for text in ("yes", "the state", "no"))
    assert rewards[:, 0] == pytest.approx(yes - no, abs=1e-5)
    assert rewards[:, 1] == pytest.approx(state - (yes + no) / 2, abs=1e-5)
    assert rewards[:, 2] == pytest.approx(np.zeros(3), abs=1e-5)
    assert model.rewards(prompts, texts)[:, 2] == pytest.approx(np.zeros(3))
    for wrong in ([["no"], ["yes"]], [["no"], [], ["no"]]):
        with pytest.raises(ValueError, match="at least one reference"):
            model.rewards(prompts, texts, references=wrong)


# --- best of n --------------------------------------------------------------------------------


def test_the_best_for_one_group_is_the_worst_for_its_opposite(model: RewardModel) -> None:
    for group, best in (("for", "yes"), ("against", "no")):
        one = model.select([group])
        first, second = best_of_n(one, PROMPT, ["no", "yes"], best=2)
        assert (first.completion, first.index) == (best, ["no", "yes"].index(best))
        assert first.reward == first.rewards[group] == pytest.approx(-second.reward)
    order = [each.completion for each in best_of_n(model, PROMPT, TEXTS, best=99)]
    assert sorted(order) == sorted(TEXTS)


def test_of_equals_the_earlier_comes_first_and_the_combination_decides(model: RewardModel) -> None:
    ranked = best_of_n(model.select(["for"]), PROMPT, ["no", "yes", "yes"], best=2)
    assert [each.index for each in ranked] == [1, 2]
    least = best_of_n(model, PROMPT, TEXTS, combination=MinCombination(groups=model.groups))[0]
    assert least.reward == min(least.rewards.values())
    rewards = model.rewards([PROMPT] * len(TEXTS), TEXTS)
    assert least.index == rewards.min(axis=0).argmax()


# --- what is refused --------------------------------------------------------------------------


def test_contexts_that_say_nothing_are_refused(
    predictor: Predictor, contexts: dict[str, GroupAnswers]
) -> None:
    nobody = GroupAnswers(group="nobody", questions=(), targets=(), counts=())
    for given, complaint in (
        ([], "at least one"),
        ([nobody], "group 'nobody' has no answer"),
        ([contexts["for"]] * 2, "comes twice"),
    ):
        with pytest.raises(ValueError, match=complaint):
            RewardModel.reading(predictor, READING, given)


def test_wrong_calls_are_refused(model: RewardModel, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 prompts for 1 completions"):
        model.scores(["a", "b"], ["c"])
    with pytest.raises(ValueError, match="'nobody' is unknown; choose among against, for, torn"):
        model.select(["nobody"])
    with pytest.raises(ValueError, match="at least one"):
        model.select([])
    for completions, best in ((), 1), (TEXTS, 0):
        with pytest.raises(ValueError, match="need at least 1"):
            best_of_n(model, PROMPT, completions, best=best)
    assert model.scores([], []).shape == (3, 0)
    with pytest.raises(ModelFolderError):
        RewardModel.load(tmp_path, [])


def test_a_published_folder_rewards_as_what_was_published(
    predictor: Predictor, model: RewardModel, contexts: dict[str, GroupAnswers], tmp_path: Path
) -> None:
    save_predictor(predictor, tmp_path, READING)
    loaded = RewardModel.load(tmp_path, contexts.values())
    expected = model.scores([PROMPT] * len(TEXTS), TEXTS)
    assert loaded.scores([PROMPT] * len(TEXTS), TEXTS) == pytest.approx(expected, abs=1e-6)


# --- called as a trainer calls it -------------------------------------------------------------


def message(content: object, role: str = "user") -> list[dict[str, Any]]:
    return [{"role": role, "content": content}]


def test_conversations_are_read_as_their_texts(model: RewardModel) -> None:
    reward = RewardFunction(model)
    plain = reward([PROMPT] * 2, ["yes", "no"])
    parts = [{"type": "text", "text": "do you "}, {"type": "text", "text": "like tea ?"}]
    spoken = reward(
        [message("be kind .", "system") + message(PROMPT), message(parts)],
        [message("yes", "assistant"), message("no", "assistant")],
    )
    assert spoken == plain
    assert all(isinstance(each, float) for each in plain)
    turns = message("war ?") + message("no", "assistant") + message("tea ?")
    said = "\n\nHuman: war ?\n\nAssistant: no\n\nHuman: tea ?\n\nAssistant:"
    assert plain_of(text_of(turns)) == said
    assert text_of(message("be kind .", "developer")) == text_of([]) == ""
    assert text_of(message("be kind .", "developer") + turns) == text_of(turns)
    for content, problem in ((None, "content is missing"), (3, "content is an integer")):
        with pytest.raises(ValueError, match=rf"field 'prompts\[0\]': message 0: {problem}"):
            reward([message(content)], ["yes"])
    with pytest.raises(ValueError, match="message 0: holds a part of type image; give parts"):
        reward([message([{"type": "image"}, *parts])], ["yes"])


def test_a_call_of_trl_is_read_as_it_comes(model: RewardModel) -> None:
    """As in trl 1.16: columns that are nobody's business, tools, and texts that say nothing."""
    reward = RewardFunction(model)
    call = {
        "completion_ids": [[1], [2]],
        "trainer_state": object(),
        "log_extra": lambda *_: None,
        "log_metric": lambda *_: None,
        "environments": None,
    }
    plain = reward([PROMPT] * 2, ["yes", ""], **call)
    assert plain == reward([PROMPT] * 2, ["yes", ""])
    spoken = [message("yes", "assistant"), message("", "assistant")]
    assert reward([message(PROMPT)] * 2, spoken, **call) == plain
    assert reward([""] * 2, ["yes", "no"]) == reward([message("x", "system")] * 2, ["yes", "no"])
    function = {"name": "f", "arguments": {}}
    used = [
        {"role": "assistant", "content": None, "tool_calls": [{"function": function}]},
        {"role": "tool", "name": "f", "content": "more"},
        {"role": "assistant", "content": "yes"},
    ]
    calls = '[{"function":{"arguments":{},"name":"f"}}]'
    read = [f"{calls}\n\nTool: more\n\nAssistant: yes", "no"]
    assert reward([message(PROMPT)] * 2, [used, message("no", "assistant")]) == reward(
        [PROMPT] * 2, read
    )


def test_what_is_asked_of_a_model_keeps_its_messages(
    model: RewardModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model with a chat template renders them itself."""
    asked: list[Question] = []
    scored = model._predictor.prior_unremembered

    def heard(questions: Sequence[Question]) -> Prior:
        asked.extend(questions)
        return scored(questions)

    monkeypatch.setattr(model._predictor, "prior_unremembered", heard)
    RewardFunction(model)([message("x", "system") + message(PROMPT), PROMPT], ["yes", "yes"])
    assert [each.turns for each in asked] == [
        Turns((Message("user", PROMPT),), ((Message("assistant", "yes"),),)),
        None,
    ]


def test_references_of_the_data_set_are_the_zero(model: RewardModel) -> None:
    reward = RewardFunction(model.select(["for"]))
    prompts, completions = [PROMPT] * 3, ["yes", "no", "yes"]
    for reference in (["no"] * 3, [["no"]] * 3, [message("no", "assistant")] * 3):
        rewards = reward(prompts, completions, reference=reference, answer=["x"] * 3)
        assert rewards[0] == rewards[2] > 0
        assert rewards[1] == pytest.approx(0, abs=1e-5)
    for missing in (None, [], 3):
        with pytest.raises(ValueError, match="'reference': a reference is missing at entry 1: "):
            reward(prompts, completions, reference=["no", missing, "no"])


def test_weights_move_to_who_was_served_badly(
    predictor: Predictor, contexts: dict[str, GroupAnswers]
) -> None:
    model = RewardModel.reading(predictor, READING, [contexts["for"], contexts["against"]])
    reward = RewardFunction(model, combination=AdaptiveCombination(groups=model.groups))
    logged: dict[str, float] = {}
    call = {"reference": ["no"] * 2, "log_metric": logged.__setitem__}
    first = reward([PROMPT] * 2, ["yes", "yes"], **call)
    assert logged["fedaccord/for"] > logged["fedaccord/against"]
    assert logged["fedaccord/weight/for"] == pytest.approx(0.5)
    second = reward([PROMPT] * 2, ["yes", "yes"], **call)
    assert logged["fedaccord/weight/against"] > 0.5
    assert second[0] < first[0]
    state = reward.combination.state()
    assert state["groups"] == ["for", "against"]
    assert len(state["history"]) == 2
    with pytest.raises(ValueError, match="no column 'reference'"):
        reward([PROMPT], ["yes"])


def test_a_combination_of_other_groups_is_refused(model: RewardModel) -> None:
    with pytest.raises(ValueError, match="give both the same, in one order"):
        RewardFunction(model, combination=MeanCombination(groups=("for", "against", "torn")))
