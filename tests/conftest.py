"""Fixtures: tiny random models and a tokenizer, all made in memory."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import memsci  # noqa: F401  # isort: skip  (before torch, whose threads then wait as it says)
import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from memsci.adapters.lora import Adapter
from memsci.adapters.mixture import mixture

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)  # several workers share the cores

# The authors' published files and MMLU, where they are at hand.
DATA = Path(os.environ.get("MEMSCI_DATA") or Path(__file__).parents[2] / "shared" / "data")

SPECIAL = ["<|bos|>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "<|pad|>"]
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ '<|' + m['role'] + '|>' }}{{ m['content'] }}{{ '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
ARCHITECTURES = ("Llama", "Qwen2", "Gemma", "Mistral", "GPTNeoX", "GPT2")


# Files, and single tests, that take more than a second or two: `make test-fast` leaves them out.
SLOW = (
    "test_cluster", "test_llama", "test_shipped_runs", "test_widgets_explorer", "test_an_experiment",
    "test_runs_of_other_partitions_are_added_as_if_they_had_been_one", "test_a_run_is_found_and_drawn_without_torch",
    "test_only_what_was_made_by_committed_code", "test_what_is_shipped_of_a_run_draws_its_figures",
    "test_a_run_killed_half_way", "test_a_killed_process_loses_its_cell", "test_a_cell_that_always_kills_its_process",
    "test_an_error_in_a_cell_is_kept", "test_two_runners_at_once", "test_two_processes_give_the_tables_of_one",
    "test_a_killed_run_resumes", "test_a_run_stopped_by_its_time_limit", "test_a_worker_that_is_told_to_stop",
    "test_a_run_is_drawn_again_without_torch", "test_a_figure_is_drawn_again_from_its_table_without_torch",
    "test_the_demo_on_smollm2", "test_a_writer_killed", "test_writers_killed", "test_training_rows_tell_nothing",
    "test_site", "test_howto", "test_responses_in_parts", "test_lifetime_leak", "test_lifetime_sleep", "test_phenomena_fit",
    "test_phenomena_recall", "test_the_right_memory_is_found_with_sentence", "test_the_hybrid_on_the_papers",
    "test_what_the_terminal_cannot_show", "test_the_program_itself_shows", "test_where_torch_came_first",
    "test_from_the_folder_of_a_model", "test_two_writers_at_once", "test_the_order_of_study_is_nothing",
    "test_each_runs_is_tested", "test_it_runs_is_tested", "test_twins_share_all", "test_both_strengths_are_in_one_store",
    "test_an_order_that_is_none_is_seldom", "test_only_who_has_the_token", "test_from_table_to_answer_with_a_real_model",
    "test_words_on_the_papers", "test_examples_give_what_they_say[memsci.phenomena.recognition]", "test_the_wheel_holds",
    "test_the_package_and_the_program", "test_light_layers_load_no_torch", "test_no_message_that_reaches",
    "test_smollm2_speaks", "test_cells_that_another_run", "test_words_that_the_shipped_base", "test_no_sort_of_row",
    "test_opening_and_asking_take_no_memory", "test_every_help_has", "test_a_cell_whose_folder_is_removed",
    "test_shutting_little", "test_partitions_are_the_same_in_any_process", "test_by_count_asks_each",
    "test_every_wording_states", "test_the_command_line_runs_lists", "test_the_everyday_demo_asks",
    "test_the_demo_of_the_world", "test_a_huge_strength", "test_the_interval_covers",
    "test_learners_of_a_phenomenon_are_some", "test_answers_are_found_in_the_text", "test_what_fails_outside_a_cell",
    "test_a_run_of_learners_has_its_figures", "test_in_plain_english_one_list_runs", "test_a_run_that_was_stopped_goes_on",
    "test_from_a_table_to_a_figure_and_a_mixed_model", "test_a_life_of_the_run_sleeps",
    "test_without_sleep_every_memory_has", "test_what_orders_have_in_common_is_learnt_once",
    "test_optional_packages_are_imported", "test_every_runtime_dependency_is_used",
    "test_settings_are_those_of_the_condition", "test_a_finished_base_with_a_dead_token",
    "test_a_finished_run_is_left_as_it_is",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    slow = set()
    for item in items:
        if any(name.startswith(SLOW) for name in (item.path.stem, item.name)):
            item.add_marker("slow")
            slow.add(item.path)
    # Notebooks first, then files with slow tests: two processes then end together, however few tests such a file has.
    items.sort(key=lambda item: (item.path.suffix != ".ipynb", item.path not in slow))


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level fast tokenizer (one token per byte) with a chat template and an end-of-turn token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = Tokenizer(models.BPE(vocab={char: i for i, char in enumerate(alphabet)}, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.add_special_tokens(SPECIAL)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        bos_token="<|bos|>",
        eos_token="<|end|>",
        pad_token="<|pad|>",
        additional_special_tokens=["<|user|>", "<|assistant|>", "<|system|>"],
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def make_model(architecture: str = "Llama", *, seed: int = 0, width: int = 32, layers: int = 2, vocab: int = 262):
    """A tiny random causal model of one of `ARCHITECTURES`, float32, frozen, in eval mode.

    Weights are drawn larger than usual, so that attention and gates are far from uniform.
    """
    torch.manual_seed(seed)
    common = {"vocab_size": vocab, "initializer_range": 0.2, "eos_token_id": None, "bos_token_id": None}
    if architecture == "GPT2":
        config = transformers.GPT2Config(n_embd=width, n_layer=layers, n_head=4, n_positions=512, **common)
    else:
        config = getattr(transformers, f"{architecture}Config")(
            hidden_size=width,
            intermediate_size=2 * width + 16,
            num_hidden_layers=layers,
            num_attention_heads=4,
            max_position_embeddings=512,
            pad_token_id=0,
            **common,
            **({} if architecture == "GPTNeoX" else {"num_key_value_heads": 2, "head_dim": width // 4}),
        )
    model = getattr(
        transformers,
        f"{architecture}{'LMHead' if architecture == 'GPT2' else 'For'}{'Model' if architecture == 'GPT2' else 'CausalLM'}",
    )(config)
    return model.eval().requires_grad_(False)


def random_adapter(model, paths, *, rank: int = 4, alpha: float | None = None, rslora: bool = True, seed: int = 0):
    """An adapter whose B is not zero, so that it does something."""
    from memsci.adapters.lora import init_adapter
    from memsci.config import Encoding

    generator = torch.Generator().manual_seed(seed)
    fresh = init_adapter(model, paths, Encoding(rank=rank, alpha=alpha, rslora=rslora), generator)
    deltas = {p: (A, torch.randn(B.shape, generator=generator) * 0.2) for p, (A, B) in fresh.deltas.items()}
    return Adapter(deltas, fresh.rank, fresh.alpha, fresh.rslora, fresh.transposed)


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return make_tokenizer()


@pytest.fixture
def model():
    return make_model()


@pytest.fixture
def base(model, tokenizer):
    from memsci.models.base import Base

    return Base(model, tokenizer, name="tiny")


@pytest.fixture
def opened(monkeypatch) -> list[torch.Tensor]:
    """The gates under which the model is run, in turn."""
    seen = []

    def spy(model, stack, weights, passes=0):
        seen.append(weights)
        return mixture(model, stack, weights, passes)

    monkeypatch.setattr("memsci.learners.mega.mixture", spy)
    return seen
