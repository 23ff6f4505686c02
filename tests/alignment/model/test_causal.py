"""Causal models: their texts, their implicit rewards beside plain DPO, and what is published."""

import json
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn.functional import logsigmoid
from transformers import AutoModelForCausalLM, AutoTokenizer

from alignment.config import ContextConfig, PredictorConfig
from alignment.data.answers import NO_ANSWERS, GroupAnswers
from alignment.data.records import Question
from alignment.model.encoders.causal import ResponseEncoder
from alignment.model.encoders.encoder_files import EncoderError, model_fingerprint
from alignment.model.encoding import pad_targets
from alignment.model.folder import load_predictor, save_predictor
from alignment.model.prediction import ContextPredictor
from alignment.model.predictor import Predictor
from alignment.model.vector import to_vector
from alignment.training.gradients import UnitGradients
from alignment.training.objectives import cross_entropy
from alignment.training.private_layout import MicroBatchShape, private_layout

KINDS = ("gpt2", "llama")
BETA = 0.3


@pytest.fixture
def make(
    encoder_folder: Callable[[str], str], make_predictor: Callable[..., Predictor]
) -> Callable[..., Predictor]:
    """A predictor on a tiny causal model; keywords go to its configuration."""

    def made(kind: str = "gpt2", **shape: object) -> Predictor:
        settings = {"encoder": encoder_folder(kind), "scores": "policy", "beta": BETA, **shape}
        return make_predictor(**settings)

    return made


def pair(prompt: str, *responses: str) -> Question:
    return Question(question_id=prompt, text=prompt, options=responses, together=False)


PAIRS = (
    pair("do you like tea ?", "yes , tea is good", "no"),
    pair("more tax or less tax ?", "less", "more , and war for all the state"),
    pair("say yes .", "yes", "no , never"),
)
#: Which response of each was preferred.
CHOSEN = (0, 1, 1)
TARGETS = [tuple(float(i == chosen) for i in range(2)) for chosen in CHOSEN]


def causal_loss(predictor: Predictor, questions: Sequence[Question] = PAIRS) -> Tensor:
    """The way the project goes: scores, then cross-entropy."""
    return cross_entropy(predictor(predictor.batch(questions)), pad_targets(TARGETS, 2)).mean()


# --- beside plain DPO ------------------------------------------------------------------------


class PlainDpo:
    """DPO as the paper writes it: two models, one text at a time, nothing cached or padded."""

    def __init__(self, folder: str, adapted: nn.Module) -> None:
        self._adapted = adapted
        self._reference = AutoModelForCausalLM.from_pretrained(folder).eval()
        self._tokenizer = AutoTokenizer.from_pretrained(folder)

    def _log_probability(self, model: nn.Module, prompt: str, response: str) -> Tensor:
        before, said = (
            self._tokenizer(text, add_special_tokens=False)["input_ids"]
            for text in (prompt, response)
        )
        ids = [self._tokenizer.bos_token_id, *before, *said, self._tokenizer.eos_token_id]
        logits = model(input_ids=torch.tensor([ids])).logits[0]
        total = torch.zeros(())
        for place in range(1 + len(before), len(ids)):
            total = total + logits[place - 1].log_softmax(-1)[ids[place]]
        return total

    def _log_ratio(self, prompt: str, response: str) -> Tensor:
        with torch.no_grad():
            base = self._log_probability(self._reference, prompt, response)
        return self._log_probability(self._adapted, prompt, response) - base

    def loss(self, questions: Sequence[Question], chosen: Sequence[int]) -> Tensor:
        losses = []
        for question, best in zip(questions, chosen, strict=True):
            better, worse = question.options[best], question.options[1 - best]
            margin = self._log_ratio(question.text, better) - self._log_ratio(question.text, worse)
            losses.append(-logsigmoid(BETA * margin))
        return torch.stack(losses).mean()


@pytest.mark.parametrize("layers", [1, 2, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_gradient_are_those_of_plain_dpo(
    make: Callable[..., Predictor],
    shake: Callable[[nn.Module, int], None],
    kind: str,
    layers: int,
) -> None:
    predictor = make(kind, lora_layers=layers)
    shake(predictor, 1)
    plain = PlainDpo(predictor.config.encoder, predictor.encoder.model)
    results = []
    for loss in (causal_loss(predictor), plain.loss(PAIRS, CHOSEN)):
        predictor.zero_grad()
        loss.backward()
        gradients = [p.grad.ravel() for _, p in predictor.trainable() if p.grad is not None]
        results.append((loss.item(), torch.cat(gradients)))
    (ours, gradient), (expected, plainly) = results
    assert abs(expected - math.log(2)) > 1e-3
    assert ours == pytest.approx(expected, rel=1e-5)
    assert plainly.norm() > 1e-2
    assert (gradient - plainly).norm() < 1e-5 * plainly.norm()


@pytest.mark.parametrize("kind", KINDS)
def test_an_untrained_causal_model_has_no_preference(
    make: Callable[..., Predictor], kind: str
) -> None:
    predictor = make(kind)
    assert predictor(predictor.batch(PAIRS)).abs().max() < 1e-6
    assert causal_loss(predictor).item() == pytest.approx(math.log(2), abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_scores_do_not_depend_on_padding_or_on_what_is_read(
    make: Callable[..., Predictor], shake: Callable[[nn.Module, int], None], kind: str
) -> None:
    predictor = make(kind)
    shake(predictor, 1)
    scores = predictor(predictor.batch(PAIRS))
    assert scores.abs().max() > 1e-2
    assert (predictor(predictor.batch(PAIRS, length=64)) - scores).abs().max() < 1e-5
    alone = torch.cat([predictor(predictor.batch([question])) for question in PAIRS])
    assert (alone - scores).abs().max() < 1e-5


def test_the_options_of_a_survey_are_responses_of_a_line_of_their_own(
    make: Callable[..., Predictor],
    shake: Callable[[nn.Module, int], None],
    survey: tuple[Question, ...],
) -> None:
    predictor = make()
    shake(predictor, 1)
    scores = predictor(predictor.batch(survey))
    apart = [pair(question.text + "\n", *question.options) for question in survey]
    assert torch.equal(scores, predictor(predictor.batch(apart)))
    assert (scores < -1e8).sum(dim=1).tolist() == [2, 1, 0]


# --- computed once ---------------------------------------------------------------------------


def test_a_step_asks_neither_the_frozen_layers_nor_the_base_model_again(
    make: Callable[..., Predictor], shake: Callable[[nn.Module, int], None]
) -> None:
    predictor = make(lora_layers=1)
    predictor.batch(PAIRS)
    ran: list[int] = []
    for index, layer in enumerate(predictor.encoder._layers):
        layer.register_forward_hook(lambda *_, index=index: ran.append(index))
    before = causal_loss(predictor)
    shake(predictor, 1)
    assert abs(causal_loss(predictor).item() - before.item()) > 1e-3
    assert ran == [3, 3]  # one pass a step, of the adapted layer


def test_only_the_tokens_of_responses_become_logits(make: Callable[..., Predictor]) -> None:
    predictor = make()
    batch = predictor.batch(PAIRS[:1])
    output, made = predictor.encoder.__dict__["_output"], []
    output.register_forward_hook(lambda _, __, given: made.append(tuple(given.shape)))
    predictor(batch)
    assert batch.read is not None and batch.read.shape[1] < batch.mask.shape[1]
    texts, read = batch.read.shape
    # What goes into the output layer, then the logits of one text after the other.
    width, vocabulary = predictor.encoder.hidden_size, output.weight.shape[0]
    assert made == [(texts, read, width), *[(read, vocabulary)] * texts]


@pytest.mark.parametrize("kind", KINDS)
def test_text_by_text_scores_and_gradients_are_those_of_all_logits_at_once(
    make: Callable[..., Predictor], shake: Callable[[nn.Module, int], None], kind: str
) -> None:
    predictor = make(kind)
    shake(predictor, 1)
    encoder: Any = predictor.encoder
    assert encoder._plain_output
    found = []
    for encoder._plain_output in (True, False):
        scores = predictor(predictor.batch(PAIRS))
        named = [parameter for _, parameter in predictor.trainable()]
        gradients = torch.autograd.grad(causal_loss(predictor), named)
        found.append((scores.detach(), torch.cat([each.flatten() for each in gradients])))
    (scores, slopes), (expected, wanted) = found
    assert expected.std() > 1e-3 and wanted.abs().max() > 1e-3
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(slopes, wanted, rtol=1e-3, atol=1e-6)


def test_a_model_that_bounds_its_logits_makes_them_itself(make: Callable[..., Predictor]) -> None:
    encoder: Any = make().encoder
    output = encoder.__dict__["_output"]
    model = encoder.model.get_base_model()
    whole = model.forward

    def bounded(*positional: Any, **named: Any) -> Any:
        given = whole(*positional, **named)
        given.logits = 30 * torch.tanh(given.logits / 30)
        return given

    assert encoder._ends_with(output)
    model.forward = bounded
    assert not encoder._ends_with(output)


def test_the_reference_is_the_base_model_whatever_the_adapters_are(
    make: Callable[..., Predictor], shake: Callable[[nn.Module, int], None]
) -> None:
    fresh, moved = make(), make()
    shake(moved, 1)
    reference = [each.batch(PAIRS).hidden[..., -1] for each in (fresh, moved)]
    assert torch.equal(*reference) and reference[0].min() < -1
    assert not reference[0][:, 0].any()
    assert all(parameter.requires_grad for _, parameter in moved.trainable())


# --- texts -----------------------------------------------------------------------------------


@pytest.fixture
def tokenizer(encoder_folder: Callable[[str], str]) -> Any:
    return AutoTokenizer.from_pretrained(encoder_folder("gpt2"))


def test_a_text_is_prompt_response_and_end(tokenizer: Any) -> None:
    first, second = ResponseEncoder(tokenizer, 32).sequences(pair("say yes .", "yes", "no tea"))
    assert tokenizer.convert_ids_to_tokens(list(first.token_ids))[-2:] == ["yes", "[SEP]"]
    assert first.spans == ((len(first.token_ids) - 2, len(first.token_ids)),)
    begun = first.spans[0][0]
    assert second.token_ids[:begun] == first.token_ids[:begun]
    assert tokenizer.decode(second.token_ids[begun:]) == "no tea [SEP]"
    assert first.token_ids[0] == tokenizer.bos_token_id


def test_a_long_text_loses_the_start_of_the_prompt_and_the_end_of_the_response(
    tokenizer: Any,
) -> None:
    encoder = ResponseEncoder(tokenizer, 17)
    prompt, response = "tea coffee tax war peace free " * 3, "yes no good bad more less " * 3
    whole = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt, response)]
    (both,) = encoder.sequences(pair(prompt, response))
    # 16 beside the start: at most three quarters for the response, which loses its end.
    assert both.token_ids == (tokenizer.bos_token_id, *whole[0][-4:], *whole[1][:12])
    assert both.spans == ((5, 17),)
    (short,) = encoder.sequences(pair(prompt, "yes"))
    assert short.token_ids[1:15] == tuple(whole[0][-14:])
    assert short.token_ids[15:] == (whole[1][0], tokenizer.eos_token_id)


def test_something_stands_before_every_response(tokenizer: Any) -> None:
    tokenizer.bos_token = None
    (bare,) = ResponseEncoder(tokenizer, 32).sequences(pair("say", "yes"))
    assert bare.token_ids[0] != tokenizer.eos_token_id
    (empty,) = ResponseEncoder(tokenizer, 32).sequences(pair("", "yes"))
    assert empty.token_ids[0] == tokenizer.eos_token_id and empty.spans == ((1, 3),)


def test_a_response_cannot_spell_its_own_end(tokenizer: Any) -> None:
    (text,) = ResponseEncoder(tokenizer, 32).sequences(pair("say", "yes [SEP] no"))
    assert text.token_ids.count(tokenizer.eos_token_id) == 1


# --- published -------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_a_published_causal_model_loads_with_peft_and_here(
    make: Callable[..., Predictor],
    shake: Callable[[nn.Module, int], None],
    tmp_path: Path,
    kind: str,
) -> None:
    predictor = make(kind)
    shake(predictor, 1)
    files = save_predictor(predictor, tmp_path, ContextConfig())
    assert files[0] == "head.safetensors" and len(files) == 3
    with safe_open(str(tmp_path / "head.safetensors"), framework="np") as file:
        assert list(file.keys()) == []
    settings = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert settings["task_type"] == "CAUSAL_LM"

    base = AutoModelForCausalLM.from_pretrained(predictor.config.encoder)
    elsewhere = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    batch = predictor.batch(PAIRS)
    with torch.no_grad():
        logits = elsewhere(input_ids=batch.token_ids, attention_mask=batch.mask).logits
        ours = predictor.encoder(batch.token_ids, batch.mask)
    assert (logits - ours)[batch.mask.bool()].abs().max() < 1e-5

    again, _ = load_predictor(tmp_path)
    assert np.array_equal(to_vector(again), to_vector(predictor))
    assert again.config == predictor.config
    assert torch.equal(again(again.batch(PAIRS)), predictor(batch))


def test_a_fingerprint_covers_what_a_causal_model_is(make: Callable[..., Predictor]) -> None:
    config = make().config
    shapes: tuple[dict[str, Any], ...] = ({}, {"beta": 0.1}, {"scores": "head"})
    found = {model_fingerprint(PredictorConfig(**{**vars(config), **each})) for each in shapes}
    assert len(found) == 3


# --- what a causal model lacks ------------------------------------------------------------------


def test_only_adapters_are_trained(make: Callable[..., Predictor]) -> None:
    predictor = make()
    assert all(".lora_" in name for name, _ in predictor.trainable())
    frozen = private_layout(predictor, freeze_a=True)
    assert frozen.names and all(".lora_B." in name for name in frozen.names)


def test_a_causal_model_reads_no_context(
    make: Callable[..., Predictor], shake: Callable[[nn.Module, int], None]
) -> None:
    predictor = make()
    shake(predictor, 1)
    context = GroupAnswers(group="a", questions=PAIRS[:1], targets=tuple(TARGETS[:1]), counts=(1,))
    predict = ContextPredictor(predictor, ContextConfig())
    for refused in (predict.read, predict.require_context):
        with pytest.raises(ValueError, match="context of 1 answers, but a causal model reads none"):
            refused(context)
    rows = predict(PAIRS, NO_ANSWERS)
    assert predict(PAIRS, context) == rows
    expected = torch.softmax(predictor(predictor.batch(PAIRS)), dim=-1)
    assert np.allclose(rows, expected.detach().numpy(), atol=1e-6)


def test_there_is_no_head_to_train_alone(make: Callable[..., Predictor]) -> None:
    predictor = make()
    layout = private_layout(predictor, adapters=False)
    assert layout.names == () and layout.dimension == len(layout.metrics)
    shape = MicroBatchShape(rows=1, length=16, options=2, apart=True)
    with pytest.raises(ValueError, match=r"no head.*warmup_rounds = 0"):
        UnitGradients(predictor, layout=layout, shape=shape, metric_scale=1.0)


# --- refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder": "all-MiniLM-L6-v2"}, "writes no text"),
        ({"lora_rank": 0}, "lora_rank = 0 must be >= 1"),
        ({"lora_layers": 0}, "lora_layers = 0 and"),
        ({"beta": 0.0}, "beta = 0.0 must be > 0"),
        ({"scores": "prize"}, "is none of head, reward, policy"),
        ({"max_tokens": 161}, "max_tokens = 161 but .* reads 160 tokens"),
        ({"lora_targets": "query"}, "names no linear module"),
    ],
)
def test_a_shape_that_is_no_causal_model_is_refused(
    make: Callable[..., Predictor], change: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        make(**change)
    assert "\n" not in str(caught.value)


def test_a_model_that_looks_ahead_is_refused(
    tmp_path: Path, encoder_folder: Callable[[str], str], make: Callable[..., Predictor]
) -> None:
    from transformers import BertConfig, BertForMaskedLM

    shutil.copytree(encoder_folder("gpt2"), tmp_path, dirs_exist_ok=True)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    torch.manual_seed(0)
    BertForMaskedLM(BertConfig(vocab_size=99, **shape)).save_pretrained(tmp_path)
    with pytest.raises(EncoderError, match="reads what comes after a token"):
        make(encoder=str(tmp_path))


def test_a_tokenizer_without_an_end_is_refused(
    tmp_path: Path, encoder_folder: Callable[[str], str], make: Callable[..., Predictor]
) -> None:
    shutil.copytree(encoder_folder("gpt2"), tmp_path, dirs_exist_ok=True)
    file = tmp_path / "tokenizer_config.json"
    settings = json.loads(file.read_text())
    settings.pop("eos_token")
    file.write_text(json.dumps(settings))
    with pytest.raises(EncoderError, match="without an end token"):
        make(encoder=str(tmp_path))


def test_a_model_without_its_output_layer_is_refused(
    tmp_path: Path, encoder_folder: Callable[[str], str], make: Callable[..., Predictor]
) -> None:
    from transformers import AutoModel

    source = encoder_folder("llama")
    shutil.copytree(source, tmp_path, dirs_exist_ok=True)
    AutoModel.from_pretrained(source).save_pretrained(tmp_path)
    with pytest.raises(EncoderError, match="lacks weights lm_head"):
        make(encoder=str(tmp_path))
