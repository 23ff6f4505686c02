"""Reward models: the scores of other libraries, of the same files, for the same pairs."""

import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from peft import PeftModel
from safetensors.torch import load_file, save_file
from tokenizers import processors
from torch import nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from alignment.config import ContextConfig, PredictorConfig
from alignment.data.answers import GroupAnswers
from alignment.data.records import PairRecord, Question, parse_record
from alignment.model.encoders.base_model import load_base
from alignment.model.encoders.encoder_files import EncoderError
from alignment.model.folder import load_predictor, save_predictor
from alignment.model.predictor import Predictor
from alignment.model.stated import ModelFolderError
from alignment.model.vector import to_vector
from alignment.reward.reward import RewardModel

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*is_gradient_checkpointing.*:FutureWarning", "ignore:`is_gradient_checkpointing`"
)

THINGS = ("tea", "coffee", "war", "peace", "tax")
TEXTS = [
    (f"do you like {one} ?", f" yes , {one} is the best{' , yes' * (number % 4)}", f" no {number}")
    for number, one in enumerate(THINGS * 4)
]
TALKS = [
    (
        [{"role": "system", "content": "be brief"}] * (number % 2)
        + [{"role": "user", "content": prompt}],
        [{"role": "assistant", "content": first.strip()}],
        [{"role": "assistant", "content": second.strip()}],
    )
    for number, (prompt, first, second) in enumerate(TEXTS)
]
#: A kind of encoder, its texts, and whether a chat template reads them.
READERS = [
    ("llama", TEXTS, True),
    ("chat llama", TEXTS, False),
    ("chat llama", TALKS, True),
    ("typed bert", TEXTS, True),
]
NAMES = ["llama", "no template", "conversations", "bert"]


@pytest.fixture(scope="module")
def rewarder(
    encoder_folder: Callable[[str], str],
    make_predictor: Callable[..., Predictor],
    shake: Callable[[nn.Module, int], None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Predictor]:
    """A trained reward; the BERT's tokenizer writes a prompt and a response as BERT's does."""
    folder = tmp_path_factory.mktemp("pairs") / "bert"
    shutil.copytree(encoder_folder("bert"), folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.backend_tokenizer.post_processor = processors.BertProcessing(
        ("[SEP]", 3), ("[CLS]", 2)
    )
    tokenizer.save_pretrained(folder)
    file = folder / "tokenizer_config.json"
    named = {"model_input_names": ["input_ids", "token_type_ids", "attention_mask"]}
    file.write_text(json.dumps({**json.loads(file.read_text()), **named}))

    def make(kind: str, **shape: Any) -> Predictor:
        encoder = str(folder) if kind == "typed bert" else encoder_folder(kind)
        settings = {"encoder": encoder, "max_tokens": 150, "lora_layers": 2, **shape}
        predictor = make_predictor(scores="reward", **settings)
        shake(predictor, 1)
        return predictor

    return make


def questions_of(texts: list[Any]) -> list[Question]:
    return [question for question, _ in read(texts)]


def read(texts: list[Any]) -> list[tuple[Question, int]]:
    """Questions, and the place of the first response in each."""
    found = []
    for prompt, first, second in texts:
        record = parse_record({"group": "a", "prompt": prompt, "chosen": first, "rejected": second})
        assert isinstance(record, PairRecord)
        found.append((record.question, record.target.index(1.0)))
    return found


def ours(predictor: Predictor, texts: list[Any]) -> torch.Tensor:
    """Scores of first and second responses: (pairs, 2) float64."""
    asked = read(texts)
    scores = predictor.prior([question for question, _ in asked]).scores
    return torch.stack([row[[at, 1 - at]] for row, (_, at) in zip(scores, asked, strict=True)])


def elsewhere(predictor: Predictor, folder: Path) -> tuple[Any, Any]:
    """A model and its tokenizer, loaded as the documentation of PEFT has it."""
    config = predictor.config
    depth = {"num_hidden_layers": config.depth} if config.depth else {}
    base = AutoModelForSequenceClassification.from_pretrained(
        config.encoder, num_labels=1, dtype=torch.float32, **depth
    )
    tokenizer = AutoTokenizer.from_pretrained(folder / "adapter")
    base.config.pad_token_id = tokenizer.pad_token_id
    return PeftModel.from_pretrained(base, folder / "adapter").eval(), tokenizer


def strangers(model: Any, tokenizer: Any, texts: list[Any], *, bert: bool) -> torch.Tensor:
    """Scores of first and second responses, all in one padded batch: (pairs, 2) float32."""
    pairs = [(prompt, response) for prompt, *both in texts for response in both]
    if bert:
        prompts, responses = map(list, zip(*pairs, strict=True))
        inputs = tokenizer(prompts, responses, return_tensors="pt", padding=True)
        assert set(inputs["token_type_ids"].unique().tolist()) == {0, 1}
    else:
        whole = [
            p + r if isinstance(p, str) else tokenizer.apply_chat_template(p + r, tokenize=False)
            for p, r in pairs
        ]
        inputs = tokenizer(
            whole,
            return_tensors="pt",
            padding=True,
            padding_side="right",
            add_special_tokens=False,
            return_token_type_ids=False,
        )
    assert not inputs["attention_mask"].all()
    with torch.no_grad():
        return model(**inputs).logits[:, 0].reshape(-1, 2)


@pytest.fixture(autouse=True, scope="module")
def quiet() -> None:
    logging.getLogger("transformers").setLevel(logging.ERROR)


# --- the same scores --------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [0, 2])
@pytest.mark.parametrize(("kind", "texts", "chat"), READERS, ids=NAMES)
def test_twenty_pairs_score_here_as_where_others_load_them(
    rewarder: Callable[..., Predictor],
    tmp_path: Path,
    kind: str,
    texts: list[Any],
    chat: bool,
    depth: int,
) -> None:
    predictor = rewarder(kind, depth=depth, chat_template=chat)
    save_predictor(predictor, tmp_path, ContextConfig())
    expected = strangers(*elsewhere(predictor, tmp_path), texts, bert="bert" in kind)
    found = ours(predictor, texts)
    assert found.shape == (20, 2) and found.std() > 1e-2
    assert (found - expected).abs().max() < 1e-4
    again, _ = load_predictor(tmp_path)
    assert again.config == predictor.config
    assert torch.equal(ours(again, texts), found)
    # What is made of one text alone, and what a reward model says of it.
    (question, at), *_ = read(texts)
    alone = predictor(predictor.batch([question]))[0, [at, 1 - at]]
    assert (alone - expected[0]).abs().max() < 1e-4


@pytest.mark.parametrize(("kind", "texts", "chat"), READERS[:3], ids=NAMES[:3])
def test_trl_is_rewarded_alike(
    rewarder: Callable[..., Predictor],
    tmp_path: Path,
    kind: str,
    texts: list[Any],
    chat: bool,
) -> None:
    """As a GRPOTrainer computes what a sequence classifier among its reward_funcs says."""
    from transformers import LlamaConfig, LlamaForCausalLM
    from trl import GRPOConfig, GRPOTrainer

    predictor = rewarder(kind, chat_template=chat)
    save_predictor(predictor, tmp_path, ContextConfig())
    model, tokenizer = elsewhere(predictor, tmp_path)
    if kind == "llama":  # trl hands over all that a tokenizer gives
        tokenizer.model_input_names = ["input_ids", "attention_mask"]
    shape = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    small = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), num_attention_heads=1, **shape))
    trainer = GRPOTrainer(
        model=small,
        reward_funcs=model.merge_and_unload(),
        reward_processing_classes=tokenizer,
        args=GRPOConfig(
            output_dir=str(tmp_path / "out"),
            use_cpu=True,
            report_to="none",
            bf16=False,
            per_device_train_batch_size=2,
            num_generations=2,
            disable_tqdm=True,
            # trl turns it on by a name that transformers gives up.
            activation_checkpointing=False,
        ),
        train_dataset=Dataset.from_list([{"prompt": texts[0][0]}]),
        processing_class=tokenizer,
    )
    rows = [(prompt, response) for prompt, *both in texts for response in both]
    prompts, completions = map(list, zip(*rows, strict=True))
    given = [{"prompt": prompt} for prompt in prompts]
    rewards = trainer._calculate_rewards(given, prompts, completions, [[0]] * len(rows))
    found = ours(predictor, texts)
    assert (found - rewards.cpu().reshape(-1, 2)).abs().max() < 1e-4


def test_the_reward_model_of_a_published_folder_says_the_same(
    rewarder: Callable[..., Predictor], tmp_path: Path
) -> None:
    """The way of a user; an answer that a context hardly counts moves no score."""
    predictor = rewarder("llama")
    with torch.no_grad():
        predictor.head.directions.weight.zero_()
    save_predictor(predictor, tmp_path, ContextConfig(strength=1e-9))
    (question, *_) = questions_of(TEXTS)
    context = GroupAnswers(group="a", questions=(question,), targets=((1.0, 0.0),), counts=(1,))
    model = RewardModel.load(tmp_path, [context])
    prompts = [prompt for prompt, *both in TEXTS for _ in both]
    scores = model.scores(prompts, [response for _, *both in TEXTS for response in both])
    expected = strangers(*elsewhere(predictor, tmp_path), TEXTS, bert=False)
    assert np.abs(scores.reshape(-1, 2) - expected.numpy()).max() < 1e-4


def test_the_last_token_that_is_no_padding_speaks(
    rewarder: Callable[..., Predictor], tmp_path: Path
) -> None:
    """Where the end of a turn pads as well, others take the token before it."""
    predictor = rewarder("chat llama")
    tokenizer = predictor.encoder.tokenizer
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    ends = "{% for m in messages %}<|im_start|>{{ m['content'] }}<|im_end|>{% endfor %}"
    tokenizer.chat_template = ends
    save_predictor(predictor, tmp_path, ContextConfig())
    model, theirs = elsewhere(predictor, tmp_path)
    assert theirs.chat_template == ends
    expected = strangers(model, theirs, TALKS, bert=False)
    predictor.questions = predictor._text_encoder()
    assert (ours(predictor, TALKS) - expected).abs().max() < 1e-4


def test_options_of_a_survey_are_scored_apart(
    rewarder: Callable[..., Predictor], survey: tuple[Question, ...]
) -> None:
    for kind in ("bert", "llama"):
        predictor = rewarder(kind)
        scores = predictor.prior(survey).scores
        turned = replace(survey[2], options=survey[2].options[::-1])
        assert torch.allclose(predictor.prior([turned]).scores[0].flip(0), scores[2], atol=1e-5)
        assert scores[2].std() > 1e-2


def test_an_untrained_reward_has_no_preference(
    rewarder: Callable[..., Predictor], make_predictor: Callable[..., Predictor]
) -> None:
    fresh = make_predictor(encoder=rewarder("llama").config.encoder, scores="reward")
    assert not fresh.prior(questions_of(TEXTS)).scores.any()


def asked_of(prompt: str, *responses: str) -> Question:
    return Question(question_id=prompt, text=prompt, options=responses, together=False)


# --- published --------------------------------------------------------------------------------


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_packaged_encoder_is_read_as_others_read_it_and_names_no_place(
    shake: Callable[[nn.Module, int], None], tmp_path: Path
) -> None:
    """The default one, whose tokenizer tells prompt and response apart."""
    predictor = Predictor(PredictorConfig(scores="reward"))
    shake(predictor, 1)
    save_predictor(predictor, tmp_path, ContextConfig())
    for name, content in contents(tmp_path).items():
        assert b"/tmp" not in content, name
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "adapter")
    prompt, response, _ = TEXTS[0]
    inputs = tokenizer(prompt, response, return_tensors="pt")
    (text, _) = predictor.questions.sequences(asked_of(prompt, response, "no"))
    assert list(text.token_ids) == inputs["input_ids"][0].tolist()
    with torch.no_grad():
        theirs = predictor.encoder._base.bert(**inputs).pooler_output
    batch = predictor.batch([asked_of(prompt, response)])
    assert torch.allclose(predictor.pooled(batch)[0], theirs, atol=1e-5)
    alike = {**inputs, "token_type_ids": torch.zeros_like(inputs["input_ids"])}
    with torch.no_grad():
        assert not torch.allclose(
            predictor.encoder._base.bert(**alike).pooler_output, theirs, atol=1e-3
        )


def test_publishing_gives_the_same_bytes_and_names_no_place(
    rewarder: Callable[..., Predictor], tmp_path: Path
) -> None:
    predictor = rewarder("chat llama")
    for name in ("one", "two"):
        save_predictor(predictor, tmp_path / name, ContextConfig())
    first, second = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert first == second
    assert {"adapter/tokenizer.json", "adapter/tokenizer_config.json"} <= set(first)
    # The encoder is a folder here, and is written as it was given; nothing else names a place.
    encoder = predictor.config.encoder.encode()
    for name, content in first.items():
        if name not in ("head.safetensors", "adapter/adapter_config.json"):
            assert b"/tmp" not in content and encoder not in content, name
    settings = json.loads(first["adapter/adapter_config.json"])
    assert (settings["task_type"], settings["modules_to_save"]) == ("SEQ_CLS", ["score"])


def test_another_process_publishes_the_same_bytes(
    rewarder: Callable[..., Predictor], tmp_path: Path
) -> None:
    predictor = rewarder("llama")
    save_predictor(predictor, tmp_path / "here", ContextConfig())
    code = (
        "import sys; from pathlib import Path\n"
        "from alignment.model.folder import load_predictor, save_predictor\n"
        "save_predictor(*[load_predictor(Path(sys.argv[1]))[0], Path(sys.argv[2])],"
        " load_predictor(Path(sys.argv[1]))[1])"
    )
    root = Path(__file__).parents[3]
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "here"), str(tmp_path / "there")],
        check=True,
        cwd=root,
        env={"PYTHONPATH": str(root), "PYTHONHASHSEED": "7", "HF_HUB_OFFLINE": "1"},
    )
    assert contents(tmp_path / "there") == contents(tmp_path / "here")


def change(file: Path, name: str) -> None:
    tensors = load_file(file)
    (key,) = [key for key in tensors if key.endswith(name)][:1]
    tensors[key] = tensors[key].clone()
    tensors[key].view(-1)[0] += 1e-3
    # With the metadata that were there.
    from safetensors import safe_open

    with safe_open(str(file), framework="pt") as opened:
        metadata = opened.metadata()
    save_file(tensors, str(file), metadata=metadata)


@pytest.mark.parametrize(
    ("kind", "file", "name"),
    [
        ("llama", "head.safetensors", "score.weight"),
        ("llama", "adapter/adapter_model.safetensors", "model.score.weight"),
        ("bert", "adapter/adapter_model.safetensors", "classifier.bias"),
        ("bert", "adapter/adapter_model.safetensors", "classifier.weight"),
    ],
)
def test_a_folder_that_would_score_otherwise_elsewhere_is_refused(
    rewarder: Callable[..., Predictor], tmp_path: Path, kind: str, file: str, name: str
) -> None:
    save_predictor(rewarder(kind), tmp_path, ContextConfig())
    change(tmp_path / file, name)
    with pytest.raises(ModelFolderError, match="of two models") as caught:
        load_predictor(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_without_its_last_layer_is_refused(
    rewarder: Callable[..., Predictor], tmp_path: Path
) -> None:
    save_predictor(rewarder("llama"), tmp_path, ContextConfig())
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    save_file({n: t for n, t in load_file(file).items() if "score" not in n}, str(file))
    with pytest.raises(ModelFolderError, match="of two models"):
        load_predictor(tmp_path)


def test_a_reward_of_a_head_alone_comes_back(
    rewarder: Callable[..., Predictor], tmp_path: Path
) -> None:
    predictor = rewarder("llama", lora_rank=0)
    save_predictor(predictor, tmp_path, ContextConfig())
    again, _ = load_predictor(tmp_path)
    assert np.array_equal(to_vector(again), to_vector(predictor))
    assert torch.equal(ours(again, TEXTS), ours(predictor, TEXTS))


# --- refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["roberta", "mpnet", "electra", "distilbert", "modernbert"])
def test_a_classifier_with_an_untrained_layer_is_refused_in_one_line(
    encoder_folder: Callable[[str], str], kind: str
) -> None:
    """Every party would draw another one."""
    with pytest.raises(EncoderError, match="lacks weights") as caught:
        Predictor(PredictorConfig(encoder=encoder_folder(kind), scores="reward"))
    assert "\n" not in str(caught.value)


def test_a_classifier_whose_last_layer_is_no_linear_one_is_refused(
    encoder_folder: Callable[[str], str], tmp_path: Path
) -> None:
    """Also where all of its weights are there."""
    from transformers import RobertaForSequenceClassification

    source = encoder_folder("roberta")
    shutil.copytree(source, tmp_path / "whole")
    with torch.random.fork_rng(devices=[]):
        model = RobertaForSequenceClassification.from_pretrained(source, num_labels=1)
    model.save_pretrained(tmp_path / "whole")
    load_base(str(tmp_path / "whole"), AutoModelForSequenceClassification)
    with pytest.raises(EncoderError, match="ends in no single linear layer") as caught:
        Predictor(PredictorConfig(encoder=str(tmp_path / "whole"), scores="reward"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lora_layers": 0}, "lora_layers = 0 with scores = 'reward'"),
        ({"depth": 1}, "depth = 1 is less than lora_layers = 2"),
        ({"depth": 5}, "lacks weights .*lower depth = 5"),
    ],
)
def test_a_shape_that_is_no_reward_is_refused(
    rewarder: Callable[..., Predictor], change: dict[str, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        rewarder("llama", **change)
    assert "\n" not in str(caught.value)
