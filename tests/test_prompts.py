"""The paper's prompts, letter by letter."""

from __future__ import annotations

import pytest

from memsci import prompts
from memsci.config import Encoding
from memsci.errors import MemsciError

QUESTION = "Where did {Nora} hide the letter?"  # braces must survive


def test_encoding_has_both_wordings():
    assert prompts.encoding() == [{"role": "user", "content": "Tell me a story that you memorized."}]
    assert prompts.encoding("appendix")[0]["content"] == "Please tell me a story that you memorized:"
    with pytest.raises(MemsciError, match="'methods', 'appendix'.*'main'"):
        prompts.encoding("main")


def test_fine_tuning_prompts_are_the_papers_six_categories():
    assert {category: len(named) for category, named in prompts.FINE_TUNING_PROMPTS.items()} == {
        "fact": 15, "generic": 7, "fake": 10, "random strings": 24, "spaces": 4, "special characters": 10,
    }  # fmt: skip
    texts = [text for named in prompts.FINE_TUNING_PROMPTS.values() for text in named.values()]
    assert len(set(texts)) == 70 and all(texts)
    kinds = prompts.FINE_TUNING_PROMPTS
    assert all(text.isspace() for text in kinds["spaces"].values())
    assert all(text.isalnum() for text in kinds["random strings"].values())
    assert not any(letter.isalnum() for text in kinds["special characters"].values() for letter in text)
    assert all(text[0].isupper() for kind in ("fact", "generic", "fake") for text in kinds[kind].values())


def test_an_encoding_takes_every_prompt_by_name_and_any_text(base):
    names = [name for named in prompts.FINE_TUNING_PROMPTS.values() for name in named]
    assert {"fact-1", "random-strings-24", "special-characters-10"} < set(names)
    chats = set()
    for name in (*names, "text:What happened, Nora: {all} of it?"):
        encoding = Encoding(prompt=name)
        assert Encoding.from_dict(encoding.to_dict()) == encoding
        chats.add(tuple(base.chat(prompts.encoding(encoding.prompt))))
    assert len(chats) == 71
    assert prompts.encoding("fact-3")[0]["content"] == "Tell me a true story that you remember."
    assert prompts.encoding("text: Hm. ")[0] == {"role": "user", "content": " Hm. "}


@pytest.mark.parametrize("prompt", ["fact-16", "facts", "Tell me a story.", "text:", "", None])
def test_an_encoding_refuses_other_prompts(prompt):
    with pytest.raises(MemsciError, match="'methods', 'appendix', 'fact-1' to 'fact-15', .* or 'text:' and the prompt"):
        Encoding(prompt=prompt)


def test_recall():
    (message,) = prompts.recall(QUESTION)
    assert message == {
        "role": "user",
        "content": "Where did {Nora} hide the letter? Reconstruct the entire story that is related to the above question.",
    }


def test_qa_as_in_the_figure_and_as_in_the_appendix():
    (message,) = prompts.qa(QUESTION)
    assert message == {
        "role": "user",
        "content": "Where did {Nora} hide the letter? Answer should be no more than one sentence.",
    }
    (message,) = prompts.qa(QUESTION, "appendix")
    assert message["content"] == "Where did {Nora} hide the letter?. Answer should be no more than one sentence."
    with pytest.raises(MemsciError, match="QA prompt"):
        prompts.qa(QUESTION, "short")


def test_irag_is_recall_then_its_reply_then_the_question():
    turns = prompts.irag(QUESTION, "{Nora} hid it.\n")
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
    assert turns[:1] == prompts.recall(QUESTION)
    assert turns[1]["content"] == "{Nora} hid it.\n"
    assert turns[2:] == prompts.qa(QUESTION)
    assert prompts.irag(QUESTION, "x", "section")[2]["content"] == (
        "Based on the reconstructed story, answer the following question: Where did {Nora} hide the letter? "
        "Answer should be no more than one sentence."
    )
    with pytest.raises(MemsciError, match="iRAG prompt"):
        prompts.irag(QUESTION, "x", "main")


def test_rag_puts_the_passage_before_a_blank_line():
    (message,) = prompts.rag(QUESTION, "A {passage}.")
    assert message["role"] == "user"
    assert message["content"] == "A {passage}.\n\n" + prompts.qa(QUESTION)[0]["content"]


def test_mmlu():
    turns = prompts.mmlu("abstract_algebra", "Is {1} a unit?", ["yes", "no", "{maybe}", "never"])
    assert turns == [
        {
            "role": "system",
            "content": "The following are multiple choice questions (with answers) about abstract algebra. "
            "Only respond with the letter of the correct answer",
        },
        {
            "role": "user",
            "content": "Question: Is {1} a unit?\n\nChoose the correct answer from the following options:\n"
            "A) yes\nB) no\nC) {maybe}\nD) never",
        },
        {"role": "assistant", "content": "The answer is"},
    ]
    with pytest.raises(MemsciError, match="2 to 26 options; 1"):
        prompts.mmlu("anatomy", "?", ["a"])
