"""``fedaccord plan`` for tallies: tables, JSON, refusals, and the picture beside gradients."""

import json
import subprocess
import sys
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from experiments.counting.measured import MEASURED, SAMPLE
from experiments.counting.noise import Respondents
from experiments.planning.picture import draw_plan
from experiments.planning.tallies import forecast_tallies
from experiments.report.canvas import ACCENT, DPI, WIDTH, Canvas
from privacy.accounting.choices import Unit
from tests.experiments.planning.test_plan import texts

Command = Callable[..., Any]

FLAGS = ("--epsilon", 4, "--delta", 1e-5, "--groups", 9, "--units", 160)
COUNTS = ("--questions", 72, "--answers", 25)
STEPS = ("--sampling-rate", 0.5, "--rounds", 20, "--survivors", 7, "--colluding", 1)


@pytest.fixture
def figures(command: Command) -> Callable[..., dict[str, Any]]:
    """The figures of ``fedaccord plan`` on the flags, and more of them."""

    def call(*more: object) -> dict[str, Any]:
        outcome = command("plan", *FLAGS, *more, "--json")
        assert (outcome.code, outcome.err) == (0, "")
        found: dict[str, Any] = json.loads(outcome.out)
        return found

    return call


class TestForecast:
    @pytest.mark.parametrize("options", [(4,), (10, 2, 2)])
    @pytest.mark.parametrize(
        ("answers", "best"), [(7.0, 7), (25.0, 25), (31.2, 32), (40.4, 41), (72.0, 72), (None, 72)]
    )
    def test_the_best_cap_is_the_largest_that_people_reach(
        self, answers: float | None, best: int, options: tuple[int, ...]
    ) -> None:
        who = Respondents(
            units_per_group=(160,) * 9,
            questions_per_group=(72,) * 9,
            answers=answers,
            options=options,
        )
        made = forecast_tallies(who, epsilon=3, delta=1e-5)
        assert made.best_cap == best
        assert made.epsilons == (1, 2, 3, 4, 8)
        assert made.caps == tuple(sorted({10, 32, 50, 72, best}))
        noise = {cap: made.at(epsilon=3, cap=cap).noise.noise_of_proportion for cap in made.caps}
        for cap in made.caps:
            if cap < best:
                assert noise[cap] > 1.02 * noise[best]
            else:
                assert noise[cap] == pytest.approx(noise[best], rel=1e-4)

    def test_where_there_is_nothing_to_cap_one_is_shown(self) -> None:
        who = Respondents(units_per_group=(300,), questions_per_group=(40,), distributions=True)
        assert forecast_tallies(who, epsilon=1, delta=1e-5).caps == (40,)
        records = Respondents(units_per_group=(300,), questions_per_group=(40,), unit=Unit.RECORD)
        assert forecast_tallies(records, epsilon=1, delta=1e-5).caps == (1,)


class TestCommand:
    def test_json_of_a_tally_alone(self, figures: Callable[..., dict[str, Any]]) -> None:
        found = figures(*COUNTS)
        assert (found["epsilon"], found["delta"], found["groups"]) == (4, 1e-5, 9)
        assert found["mechanism"]["asked"] == "auto"
        assert found["mechanism"]["recommended"] == "tally"
        assert "one noised count" in found["mechanism"]["reason"]
        assert "noise_std_per_coordinate" not in found
        best = found["tally"]["best"]
        assert found["tally"]["best_answers_per_respondent"] == 25
        assert set(best) == {
            "epsilon",
            "answers_per_respondent",
            "noise_multiplier",
            "noise_std",
            "answers_of_question",
            "noise_of_proportion",
            "noise_of_mean",
            "noise_of_all",
            "expected_loss",
            "expected_range",
        }
        # z sqrt(25 (1 - 3 / (4 * 4))), and 160 * 25 / 72 answers to a question.
        assert best["noise_of_proportion"] == pytest.approx(1.08121 * 4.50694 / 55.556, rel=1e-4)
        (measured,) = [run for run in MEASURED if run.data is SAMPLE and run.epsilon == 4]
        assert best["expected_loss"] == pytest.approx((SAMPLE.plain or 0) - measured.tally)
        assert len(found["tally"]["rows"]) == 5 * 4
        by_epsilon = {row["epsilon"]: row for row in found["gradients"]}
        assert by_epsilon[8]["expected_loss"] == pytest.approx((SAMPLE.plain or 0) - 0.817)
        assert by_epsilon[1]["expected_range"] == "above"

    def test_gradients_beside_it_keep_their_figures(
        self, figures: Callable[..., dict[str, Any]]
    ) -> None:
        both = figures(*COUNTS, *STEPS)
        alone = figures(*STEPS, "--mechanism", "gradients")
        timed = "kernel_seconds_per_round"
        for name in set(alone) - {"mechanism", "tally", timed}:
            assert both[name] == alone[name], name
        assert both["tally"] is not None
        assert alone["tally"] is None
        assert both["epsilon_pld"] <= 4 < both["epsilon_opacus"] + 0.01
        assert both["alternatives"] == []
        tally = figures(*COUNTS, *STEPS, "--mechanism", "tally")
        assert tally["gradients"] is None
        assert "epsilon_opacus" not in tally

    def test_without_questions_it_says_what_they_would_show(self, command: Command) -> None:
        text = " ".join(command("plan", *FLAGS, *STEPS).out.split())
        assert "With --questions and --answers, a tally is forecast" in text
        assert "Mechanism." not in text

    def test_words_tables_and_the_command_that_follows(self, command: Command) -> None:
        text = " ".join(command("plan", *FLAGS, *COUNTS).out.split())
        order = [
            "Mechanism. tally. Questions are public",
            "a plan of gradients is made as well",
            "What a tally promises.",
            "Tallies: noise",
            "25 * 16.8 / 30 % 8.99 / 16 % 4.87 / 8.8 % 2.71 / 4.9 %",
            "50 23.8 / 30 % 12.7 / 16 % 6.89 / 8.8 % 3.83 / 4.9 %",
            "* Least noise: privacy.answers_per_respondent=25. Counting more than people give",
            "noise of a proportion, a group 8.8 %",
            "Alignment that privacy is expected to cost",
            "4 .011 .050",
            "the built-in sample data",
            "--set privacy.mechanism=tally --set privacy.answers_per_respondent=25",
        ]
        places = [text.index(each) for each in order]
        assert places == sorted(places)

    def test_where_people_answer_all_there_is_nothing_more_to_count(self, command: Command) -> None:
        text = " ".join(command("plan", *FLAGS, "--questions", 72).out.split())
        assert "72 (all) *" in text
        assert "Counting more than people give" not in text

    def test_pairs_go_by_gradients_and_say_why(self, command: Command) -> None:
        outcome = command("plan", *FLAGS, *STEPS, "--kind", "pair", *COUNTS)
        text = " ".join(outcome.out.split())
        assert "Mechanism. gradients. The texts of pairs are private" in text
        assert "Tallies" not in text
        assert "This plan" in text

    def test_distributed_mode_is_told_that_it_has_no_tally(
        self, figures: Callable[..., dict[str, Any]]
    ) -> None:
        found = figures(*COUNTS, "--mode", "distributed")
        assert found["mechanism"]["recommended"] == "gradients"
        assert "mode = local" in found["mechanism"]["reason"]

    def test_weights_and_distributions_count(self, figures: Callable[..., dict[str, Any]]) -> None:
        plain = figures("--questions", 72)["tally"]["best"]["noise_std"]
        assert plain == pytest.approx(1.08121 * (72 * (1 - 3 / 16)) ** 0.5, rel=1e-4)
        weighted = figures("--questions", 72, "--largest-weight", 3)["tally"]["best"]
        survey = figures("--questions", 72, "--kind", "survey", "--options", "3.5")["tally"]
        assert weighted["noise_std"] == pytest.approx(3 * plain, rel=1e-4)
        # Distributions keep the totals of their questions.
        assert survey["best"]["noise_std"] == pytest.approx(1.08121 * (2 * 72) ** 0.5, rel=1e-3)
        assert survey["options"] == [4] * 36 + [3] * 36

    @pytest.mark.parametrize(
        ("more", "words"),
        [
            ((), "a tally needs --questions, gradients need --sampling-rate"),
            (("--rounds", 3), "gradients need --sampling-rate, --survivors, --colluding"),
            ((*COUNTS, "--rounds", 3), "gradients need --sampling-rate"),
            (("--mechanism", "gradients", *COUNTS), "gradients need --sampling-rate, --rounds"),
            (("--mechanism", "tally"), "a tally needs --questions"),
            (("--mechanism", "tally", "--kind", "pair"), "texts of pairs are private"),
            (
                ("--mechanism", "tally", "--kind", "survey", "--unit", "record", *COUNTS),
                "one country's answer",
            ),
            (("--mechanism", "tally", "--mode", "distributed", *COUNTS), "use mode = local"),
            (("--mechanism", "noise"), "mechanism = 'noise' is not offered"),
            (("--kind", "rank"), "kind = 'rank' is not offered"),
            (("--questions", 0), "--questions 0"),
            ((*COUNTS, "--answers", 73), "--answers 73"),
            ((*COUNTS, "--options", "3,a"), "--options '3,a'"),
            ((*COUNTS, "--options", "3,4"), "2 options are listed for 72 questions"),
            ((*COUNTS, "--largest-weight", 0), "largest_weight"),
            ((*COUNTS, "--epsilon", 51), "epsilon = 51"),
            ((*COUNTS, "--units", 0), "units_per_group"),
            ((*COUNTS, "--groups", 10**6), "groups"),
            ((*COUNTS, "--delta", 0.1), "those of all 9 groups"),
        ],
        ids=str,
    )
    def test_refusals_are_one_line(
        self, command: Command, more: tuple[object, ...], words: str
    ) -> None:
        outcome = command("plan", *FLAGS, *more)
        assert (outcome.code, outcome.out) == (2, "")
        assert len(outcome.err.splitlines()) == 1, outcome.err
        assert words in outcome.err

    def test_a_tally_is_forecast_without_torch(self) -> None:
        code = (
            "import sys, fedaccord\n"
            f"sys.argv = ['fedaccord', 'plan', *{[*map(str, (*FLAGS, *COUNTS, '--json'))]}]\n"
            "try:\n    fedaccord.main()\n"
            "except SystemExit as ended:\n    assert ended.code == 0\n"
            "assert not {'torch', 'opacus', 'matplotlib'} & set(sys.modules)"
        )
        root = Path(__file__).parents[3]
        ran = subprocess.run(
            [sys.executable, "-c", code], cwd=root, check=False, capture_output=True
        )
        assert ran.returncode == 0, ran.stderr


@pytest.fixture
def canvases(monkeypatch: pytest.MonkeyPatch) -> list[Canvas]:
    """The canvases that were saved."""
    kept: list[Canvas] = []
    save = Canvas.save

    def keep(self: Canvas, path: Path, *, height: float) -> None:
        save(self, path, height=height)
        kept.append(self)

    monkeypatch.setattr(Canvas, "save", keep)
    return kept


class TestPicture:
    @pytest.mark.parametrize(
        "more",
        [
            COUNTS,
            (*COUNTS, *STEPS),
            (*COUNTS, "--epsilon", 3.8),
            ("--questions", 300, "--kind", "survey", "--mechanism", "tally", "--epsilon", 0.3),
            ("--questions", 1300, "--answers", 13, "--epsilon", 50),
        ],
        ids=lambda more: " ".join(map(str, more)),
    )
    def test_texts_stay_apart_and_on_the_canvas(
        self, command: Command, tmp_path: Path, canvases: list[Canvas], more: tuple[object, ...]
    ) -> None:
        assert command("plan", *FLAGS, *more, "--out", tmp_path, "--json").code == 0
        with Image.open(tmp_path / "plan.png") as picture:
            assert picture.size[0] == WIDTH * DPI
        width, height = canvases[0].figure.get_size_inches() * DPI
        boxes = [(t.get_text(), t.get_window_extent().padded(-1.5)) for t in texts(canvases[0])]
        assert len(boxes) > 15
        for text, box in boxes:
            inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
            assert inside, f"{text!r} leaves the canvas"
        for (one, first), (two, second) in combinations(boxes, 2):
            assert not first.overlaps(second), f"{one!r} covers {two!r}"

    def test_it_shows_the_figures(
        self,
        figures: Callable[..., dict[str, Any]],
        tmp_path: Path,
        canvases: list[Canvas],
    ) -> None:
        found = figures(*COUNTS)
        draw_plan(tmp_path / "plan.png", found)
        noise, loss = canvases[0].figure.axes
        rows = [row for row in found["tally"]["rows"] if row["answers_per_respondent"] == 25]
        lines = {tuple(line.get_ydata()): line for line in noise.lines if len(line.get_ydata()) > 2}
        assert len(lines) == 2  # 10 counted, and 25: more of them would be the same line.
        own = lines[tuple(100 * row["noise_of_proportion"] for row in rows)]
        assert own.get_color() == ACCENT
        drawn = {tuple(line.get_ydata()) for line in loss.lines}
        assert tuple(row["expected_loss"] for row in rows) in drawn
        assert tuple(row["expected_loss"] for row in found["gradients"]) in drawn
        hollow = [line for line in loss.lines if line.get_markerfacecolor() == "white"]
        assert [float(line.get_xdata()[0]) for line in hollow] == [1.0]
        words = " ".join(text.get_text() for text in texts(canvases[0]))
        assert "a tally should cost .011 of alignment, gradients .050" in words
        assert "10 counted" in words
        assert "25 or more" in words

    def test_nothing_to_draw_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="neither"):
            draw_plan(tmp_path / "plan.png", {"tally": None})
