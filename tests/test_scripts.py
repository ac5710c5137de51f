"""Scripts that put no blanks between words: what is learnt, cued, found and judged goes by their characters."""

from __future__ import annotations

import random

import pytest
from conftest import make_model

import memsci
from memsci import data
from memsci.adapters import study
from memsci.config import Embedding, Encoding
from memsci.gate import calibrate
from memsci.gate.embed import embedder
from memsci.lifetime import rehearse
from memsci.measures import metrics
from memsci.memory import Memory, short
from memsci.models.base import Base
from memsci.words import stretch, words

CHINESE = "诺拉在三月五日把一封信藏在旧钢琴里，因为她不想让弟弟看到。后来她忘了它。"
JAPANESE = "三月五日、ノラは手紙を古いピアノの中に隠した。その後、彼女はそれを忘れた。"
THAI = "โนราซ่อนจดหมายไว้ในเปียโนเก่าเมื่อวันที่ห้ามีนาคม"
UNSPACED = (CHINESE, JAPANESE, THAI)


@pytest.mark.parametrize(
    "text", [one.text for one in data.everyday()] + ["Zoë’s “café”,\tin 3,5\n\n— so;", "편지를 피아노에 숨겼다."]
)
def test_words_of_other_scripts_are_what_blanks_part(text):
    assert words(text) == text.split()
    assert stretch(text, 1, 4) == " ".join(text.split()[1:4]) and stretch(text, 0, None) == " ".join(text.split())


@pytest.mark.parametrize("text", UNSPACED)
def test_words_of_such_a_script_are_its_characters(text):
    assert "".join(words(text)) == text == stretch(text, 0, None) and len(words(text)) > 20
    assert stretch(text, 2, 5) == "".join(words(text)[2:5]) in text
    assert stretch(text, 99, 100) == ""
    assert short(text, quote=False) == "".join(words(text)[:6]) + "…"


@pytest.mark.parametrize("text", UNSPACED)
def test_cues_are_a_part_of_the_text(text):
    memory, draw = Memory(text), random.Random(0)
    assert text not in memory.label
    halves, owners = calibrate.cues([memory])
    assert "".join(halves) == text and owners == [memory.id] * 2
    for _ in range(20):
        asked, told = study.recall_lesson(text, draw)
        assert told == text and text not in asked[-1]["content"]
        asked, told = study.gap_lesson(text, draw)
        gap = asked[-1]["content"].split(" Answer")[0]
        assert told in text and study.GAP in gap and len(gap) > len(told) / 2


def test_sentences_end_without_a_blank():
    assert study.sentences(CHINESE) == [CHINESE[:29], CHINESE[29:]]
    assert study.sentences("他说：“再见。”然后走了。") == ["他说：“再见。”然后走了。"]


def test_a_text_takes_as_many_steps_as_one_of_its_length():
    english = " ".join(["word"] * len(words(CHINESE)))
    assert Encoding.suited(135_000_000, [Memory(CHINESE)]) == Encoding.suited(135_000_000, [Memory(english)])


@pytest.mark.parametrize(
    "said, true, right",
    [
        ("他把信藏在钢琴里。", "钢琴", True),
        ("他把信藏在桌子里。", "钢琴", False),
        ("在琴钢里", "钢琴", False),
        ("在三月五日", "３月", False),
        ("それは3月5日です", "３月５日", True),
        ("がっこうへ行く", "かっこう", False),
        ("がっこうへ行く", "がっこう", True),
        ("ไว้ในเปียโน", "เปียโน", True),
        ("ไว้ในตู้", "เปียโน", False),
        ("她买了书和钢琴", "钢琴、书", True),
        ("她买了书", "钢琴、书", False),
        ("住在Fernhill附近", "Fernhill", True),
    ],
)
def test_an_answer_is_found_in_a_reply(said, true, right):
    assert metrics.contains(said, true) is right and metrics.judge(said, true) is right


def test_words_in_common_make_texts_alike():
    own, other, foreign = embedder(None, Embedding(kind="words"))(["诺拉把信藏在钢琴里", "信藏在哪里？", "他买了三本书"])
    assert own @ other > 0.2 > own @ foreign == 0


def test_what_was_recalled_of_a_text_is_a_share():
    assert rehearse.share(CHINESE.replace("弟弟", "哥哥"), CHINESE) == pytest.approx(1 - 2 / len(words(CHINESE)))
    first, second = rehearse.starts([CHINESE, CHINESE.replace("旧", "新")])
    assert first != second and first in CHINESE and first != CHINESE


@pytest.mark.parametrize("text", ["下雪。", "Snow.", "Ada sang twice."])
def test_a_short_text_is_not_its_own_cue(text, tokenizer, monkeypatch):
    asked, recall = [], memsci.prompts.recall
    monkeypatch.setattr("memsci.learners.mega.prompts.recall", lambda cue: asked.append(cue) or recall(cue))
    mind = memsci.MEGa(Base(make_model(), tokenizer, name="tiny"), encoding=Encoding(rank=2, epochs=1, batch_size=2))
    mind.encode([Memory(text)], progress=False)
    assert asked and not any(text.rstrip(".。") in cue for cue in asked)
