"""Tiny encoders in Hugging Face format, made on the fly, and questions they can read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import nn
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    ElectraConfig,
    ElectraModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    ModernBertConfig,
    ModernBertModel,
    MPNetConfig,
    MPNetModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
)
from transformers.utils import logging

from alignment.config import PredictorConfig
from alignment.data.records import Question
from alignment.model.predictor import Predictor

LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = (
    "yes no both tea coffee is good bad the for of and to do you like want more less war peace "
    "free ask green red blue north south state market tax care east west . ? ! ,"
).split()
#: First, second, padding, unknown and mask: the order fixes the ids.
BERT_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ROBERTA_TOKENS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
#: Kinds that write text.
CAUSAL = ("gpt2", "llama", "chat llama")
#: What a chat template marks turns and calls by, and one added token that is no special one.
MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CALL = "<tool_call>"
#: As ChatML: every message in a turn of its own, names and tool calls within it.
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}"
    "{% if m['name'] %} {{ m['name'] }}{% endif %}{{ '\\n' + m['content'] }}"
    "{% for call in m['tool_calls'] or [] %}<tool_call>{{ call | tojson }}{% endfor %}"
    "<|im_end|>{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant{{ '\\n' }}{% endif %}"
)

EncoderFolder = Callable[[str], str]
MakePredictor = Callable[..., Predictor]
Shake = Callable[[nn.Module, int], None]


def _save_tokenizer(folder: Path, *, roberta: bool, causal: bool) -> int:
    special = ROBERTA_TOKENS if roberta else BERT_TOKENS
    start, padding, end, unknown, mask = (
        special if roberta else [special[i] for i in (2, 0, 3, 1, 4)]
    )
    pieces = [*special, *WORDS, *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=unknown))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    fast: Any = PreTrainedTokenizerFast
    named = {"cls_token": start, "sep_token": end, "mask_token": mask}
    if causal:
        named = {"bos_token": start, "eos_token": end}
    fast(tokenizer_object=tokenizer, pad_token=padding, unk_token=unknown, **named).save_pretrained(
        folder
    )
    return len(vocabulary)


def _save_chat_tokenizer(folder: Path) -> int:
    """Bytes, a few pairs of them, and tokens that no text may forge."""
    merges = [("e", "s"), ("y", "es"), ("t", "h"), ("th", "e")]
    pieces = [*MARKS, *sorted(pre_tokenizers.ByteLevel.alphabet()), *map("".join, merges)]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    fast: Any = PreTrainedTokenizerFast
    start, opened, closed = MARKS
    made = fast(
        tokenizer_object=tokenizer,
        bos_token=opened,
        eos_token=closed,
        pad_token=closed,
        unk_token=start,
        model_input_names=["input_ids", "attention_mask"],
    )
    made.add_tokens([CALL])
    made.chat_template = CHATML
    made.save_pretrained(folder)
    return len(made)


def _model(kind: str, vocabulary: int) -> PreTrainedModel:
    shape: dict[str, Any] = {
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 160,
    }
    roberta_ids: dict[str, Any] = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
    modern: dict[str, Any] = {
        "pad_token_id": 0,
        "bos_token_id": 2,
        "eos_token_id": 3,
        "cls_token_id": 2,
        "sep_token_id": 3,
        "global_attn_every_n_layers": 2,
        "local_attention": 8,
    }
    distil: dict[str, Any] = {"dim": 32, "n_layers": 4, "n_heads": 4, "hidden_dim": 48}
    wide: dict[str, Any] = {"n_embd": 32, "n_layer": 4, "n_head": 4, "n_positions": 160}
    ends: dict[str, Any] = {"bos_token_id": 2, "eos_token_id": 3}
    makers: dict[str, Callable[[], PreTrainedModel]] = {
        "bert": lambda: BertModel(BertConfig(**shape)),
        "electra": lambda: ElectraModel(ElectraConfig(**shape, embedding_size=16)),
        "roberta": lambda: RobertaModel(RobertaConfig(**shape, **roberta_ids)),
        "mpnet": lambda: MPNetModel(MPNetConfig(**shape, **roberta_ids)),
        "deep mpnet": lambda: MPNetModel(
            MPNetConfig(**{**shape, "num_hidden_layers": 6}, **roberta_ids)
        ),
        "distilbert": lambda: DistilBertModel(
            DistilBertConfig(vocab_size=vocabulary, max_position_embeddings=160, **distil)
        ),
        "modernbert": lambda: ModernBertModel(ModernBertConfig(**shape, **modern)),
        "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=vocabulary, **wide, **ends)),
        "llama": lambda: LlamaForCausalLM(LlamaConfig(**shape, **ends, num_key_value_heads=2)),
        "chat llama": lambda: LlamaForCausalLM(
            LlamaConfig(**{**shape, "max_position_embeddings": 512}, num_key_value_heads=2)
        ),
    }
    return makers[kind]()


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> EncoderFolder:
    """Folder of a tiny encoder of some kind: width 32, 4 layers (deep: 6), made once."""
    made: dict[str, str] = {}
    quiet: Any = logging.disable_progress_bar
    quiet()

    def folder(kind: str) -> str:
        if kind not in made:
            path = tmp_path_factory.mktemp(kind)
            roberta = "roberta" in kind or "mpnet" in kind
            if kind == "chat llama":
                vocabulary = _save_chat_tokenizer(path)
            else:
                vocabulary = _save_tokenizer(path, roberta=roberta, causal=kind in CAUSAL)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                _model(kind, vocabulary).save_pretrained(path)
            made[kind] = str(path)
        return made[kind]

    return folder


@pytest.fixture(scope="session")
def bert(encoder_folder: EncoderFolder) -> str:
    return encoder_folder("bert")


@pytest.fixture(scope="session")
def make_predictor(bert: str) -> MakePredictor:
    """A predictor on the tiny BERT; keywords go to its configuration."""

    def make(*, seed: int = 0, **shape: object) -> Predictor:
        settings = {"encoder": bert, "head_width": 16, "max_tokens": 64, **shape}
        return Predictor(PredictorConfig(**settings), seed=seed)

    return make


@pytest.fixture(scope="session")
def shake() -> Shake:
    """Draw all trainable values anew, so that no adapter is the identity."""

    def draw(module: nn.Module, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in module.parameters():
                if parameter.requires_grad:
                    parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)

    return draw


@pytest.fixture(scope="session")
def survey() -> tuple[Question, ...]:
    """Questions of 2, 3 and 4 options."""
    asked = (
        ("do you like tea ?", ("yes", "no")),
        ("is war good or bad for the state ?", ("good", "bad", "both of the two")),
        ("more tax or less tax ?", ("more", "less", "i do not care", "ask the market")),
    )
    return tuple(
        Question(question_id=f"q{number}", text=text, options=options)
        for number, (text, options) in enumerate(asked)
    )


@pytest.fixture(scope="session")
def pairs() -> tuple[Question, ...]:
    """Two questions of two responses each, and one response stands in both."""
    return tuple(
        Question(question_id=f"p{number}", text="say yes .", options=options, together=False)
        for number, options in enumerate(
            [("no , never ever , not for all the tea", "yes"), ("yes", "you ask for more ?")]
        )
    )
