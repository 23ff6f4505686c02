"""Baselines without training, by hand on a handful of answers, and how all are measured."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import Tensor

from alignment.config import PredictorConfig
from alignment.data.answers import GroupAnswers
from alignment.data.population import Population
from alignment.data.records import Question
from alignment.data.split import Draw, Split
from alignment.evaluation.held_out import predict_held_out
from alignment.evaluation.metrics import alignment_score
from alignment.model.prediction import Distribution
from experiments.compare.baselines.methods import Baseline, training_part
from experiments.compare.baselines.sentences import Sentences
from experiments.compare.baselines.simple import (
    OPTION_POSITION,
    TRAIN_GROUP_MEAN,
    UNIFORM,
    NearestQuestion,
    match_options,
)

Q = {
    name: Question(question_id=name, text=name, options=options)
    for name, options in {
        "tea": ("yes", "no"),
        "milk": ("No ", "Yes"),
        "war": ("good", "bad", "both"),
        "peace": ("both", "good", "never"),
        "long": ("a", "b", "c", "d"),
    }.items()
}
SAID: dict[str, dict[str, Distribution]] = {
    "one": {"tea": (0.9, 0.1), "war": (0.2, 0.3, 0.5), "long": (0.1, 0.2, 0.3, 0.4)},
    "two": {"tea": (0.5, 0.5), "milk": (0.4, 0.6)},
    "X": {"tea": (0.2, 0.8), "peace": (0.1, 0.2, 0.7), "long": (0.7, 0.1, 0.1, 0.1)},
    "Y": {"milk": (0.3, 0.7), "war": (0.6, 0.2, 0.2)},
}


def population() -> Population:
    answers = {
        group: GroupAnswers(
            group=group,
            questions=tuple(Q[name] for name in said),
            targets=tuple(said.values()),
            counts=(1,) * len(said),
        )
        for group, said in SAID.items()
    }
    draws = {
        "X": (Draw(context=("long",), target=("tea", "peace")),),
        "Y": (
            Draw(context=("milk",), target=("war",)),
            Draw(context=("war",), target=("milk",)),
        ),
    }
    split = Split(train_groups=("one", "two"), draws=draws, unseen_questions=frozenset({"long"}))
    return Population(answers=answers, split=split, records={}, skipped=())


@dataclass
class Placed:
    """Embeddings without an encoder: questions stand where they are put."""

    places: dict[str, Sequence[float]]
    settings: dict[str, object] = field(default_factory=dict)

    def of(self, questions: Sequence[Question]) -> list[Tensor]:
        rows = [torch.tensor(self.places[q.question_id]) for q in questions]
        return [row.repeat(len(q.options), 1) for row, q in zip(rows, questions, strict=True)]


def ask(baseline: Baseline, *names: str) -> list[Distribution]:
    fitted = baseline.fit(training_part(population()), 0, watch=lambda *_: None)
    return fitted.predict([Q[name] for name in names], population().answers["X"])


def test_a_method_is_fitted_without_held_out_groups_and_unseen_questions() -> None:
    part = training_part(population())
    assert set(part.answers) == {"one", "two"}
    assert part.split.draws == {}
    assert part.records == {}
    assert "long" not in {q.question_id for each in part.answers.values() for q in each.questions}


def test_uniform_guesses_every_option_alike() -> None:
    assert ask(UNIFORM, "tea", "long") == [(0.5, 0.5), (0.25,) * 4]


def test_position_averages_answers_with_as_many_options() -> None:
    two, three, four = ask(OPTION_POSITION, "tea", "peace", "long")
    # "milk" counts by position, whatever its options say.
    assert two == pytest.approx((0.6, 0.4))
    assert three == pytest.approx((0.2, 0.3, 0.5))
    assert four == (0.25,) * 4


def test_the_mean_is_that_of_the_question() -> None:
    (tea,) = ask(TRAIN_GROUP_MEAN, "tea")
    # Two answers of mean .7; added is one of their mean and even shares.
    assert tea == pytest.approx(((1.4 + 0.6) / 3, (0.6 + 0.4) / 3))


PLACES = {"tea": (1.0, 0.0), "milk": (0.0, 1.0), "war": (1.0, 1.0), "peace": (0.0, 1.0)}


class TestNearest:
    def nearest(self, **moved: Sequence[float]) -> NearestQuestion:
        placed: object = Placed({**PLACES, "long": (1.0, 1.0), **moved})
        return NearestQuestion(placed)

    def test_a_train_question_is_its_own_nearest(self) -> None:
        assert ask(self.nearest(), "tea", "milk") == ask(TRAIN_GROUP_MEAN, "tea", "milk")

    def test_the_nearest_is_found_among_questions_with_as_many_options(self) -> None:
        asked = replace(Q["tea"], question_id="new", text="new", options=("NO", "yes"))
        for place, name, order in (((0.9, 0.3), "tea", (1, 0)), ((0.3, 0.9), "milk", (0, 1))):
            baseline = self.nearest(new=place)
            fitted = baseline.fit(training_part(population()), 0, watch=lambda *_: None)
            (found,) = fitted.predict([asked], population().answers["X"])
            (mean,) = ask(TRAIN_GROUP_MEAN, name)
            assert found == tuple(mean[i] for i in order), name

    def test_options_are_paired_by_their_texts_and_the_rest_in_order(self) -> None:
        (peace,), (war,) = ask(self.nearest(), "peace"), ask(TRAIN_GROUP_MEAN, "war")
        assert peace == (war[2], war[0], war[1])

    def test_without_a_question_of_as_many_options_all_are_alike(self) -> None:
        assert ask(self.nearest(), "long") == [(0.25,) * 4]


@pytest.mark.parametrize(
    ("asked", "known", "places"),
    [
        (("yes", "no"), ("yes", "no"), [0, 1]),
        (("No", " YES"), ("yes", "no"), [1, 0]),
        (("a", "b", "c"), ("x", "y", "z"), [0, 1, 2]),
        (("a", "z", "c"), ("x", "y", "z"), [0, 2, 1]),
        (("A", "a"), ("a", "b"), [0, 1]),
        (("b", "x"), ("B", "b"), [0, 1]),
    ],
)
def test_pairs_of_options(asked: Sequence[str], known: Sequence[str], places: list[int]) -> None:
    assert match_options(asked, known) == places


class TestMeasure:
    def shown(self, shown: str) -> list[tuple[str, tuple[str, ...], str]]:
        heard = []

        def predict(questions: Sequence[Question], context: GroupAnswers) -> list[Distribution]:
            ids = tuple(q.question_id for q in context.questions)
            heard.extend((context.group, ids, q.question_id) for q in questions)
            return [(1 / len(q.options),) * len(q.options) for q in questions]

        predict_held_out(predict, population(), shown=shown)
        return heard

    def test_a_group_is_shown_its_own_context(self) -> None:
        assert self.shown("own") == [
            ("X", ("long",), "tea"),
            ("X", ("long",), "peace"),
            ("Y", ("milk",), "war"),
            ("Y", ("war",), "milk"),
        ]

    def test_swapped_it_is_shown_that_of_the_next(self) -> None:
        assert self.shown("swapped") == [
            ("Y", ("milk",), "tea"),
            ("Y", ("milk",), "peace"),
            ("X", ("long",), "war"),
            ("X", ("long",), "milk"),
        ]
        assert {context for _, context, _ in self.shown("none")} == {()}

    def test_scores_stand_beside_group_draw_and_whether_the_question_was_seen(self) -> None:
        fitted = UNIFORM.fit(training_part(population()), 0, watch=lambda *_: None)
        scores = [each.score for each in predict_held_out(fitted.predict, population())]
        assert [(s.group, s.draw, s.question_id, s.seen) for s in scores] == [
            ("X", 0, "tea", True),
            ("X", 0, "peace", False),
            ("Y", 0, "war", True),
            ("Y", 1, "milk", True),
        ]
        assert scores[0].score == alignment_score((0.5, 0.5), (0.2, 0.8))

    def test_one_group_has_nobody_to_swap_with(self) -> None:
        one = population()
        alone = replace(one, split=replace(one.split, draws={"X": one.split.draws["X"]}))
        fitted = UNIFORM.fit(training_part(alone), 0, watch=lambda *_: None)
        with pytest.raises(ValueError, match="need 2 held-out groups, there is 1"):
            predict_held_out(fitted.predict, alone, shown="swapped")


class TestSentences:
    def test_an_embedding_is_the_mean_over_tokens_scaled_to_length_1(
        self, tiny_encoder: str
    ) -> None:
        said: list[str] = []
        sentences = Sentences(PredictorConfig(encoder=tiny_encoder), say=said.append)
        short = Question(question_id="a", text="tea ?", options=("yes", "no more tea"))
        long = Question(question_id="b", text="war and peace and tea ?", options=("no", "yes"))
        first, second = sentences.of([short, long])
        assert (first.shape, second.shape) == ((2, 32), (2, 32))
        model, encoder = sentences._loaded
        for question, rows in ((short, first), (long, second)):
            for sequence, row in zip(
                encoder.sequences(replace(question, together=False)), rows, strict=True
            ):
                # Alone, without padding.
                ids = torch.tensor([sequence.token_ids])
                with torch.no_grad():
                    mean = model(input_ids=ids).last_hidden_state[0].mean(dim=0)
                torch.testing.assert_close(row, mean / mean.norm(), atol=1e-5, rtol=1e-4)
        assert said == []

    def test_a_text_is_embedded_once(
        self, tiny_encoder: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sentences = Sentences(PredictorConfig(encoder=tiny_encoder), say=lambda _: None)
        question = Question(question_id="a", text="tea ?", options=("yes", "no"))
        (before,) = sentences.of([question])
        monkeypatch.setattr(type(sentences._loaded[0]), "forward", None)
        (after,) = sentences.of([replace(question, question_id="another id")])
        assert torch.equal(before, after)
