"""Materials, controls, and interference: what twins share, what a session is, and a planted effect found."""

from __future__ import annotations

import dataclasses
import re

import matplotlib
import pandas as pd
import pytest
import torch
from conftest import DATA, make_model, make_tokenizer

from memsci import experiments, phenomena
from memsci.adapters.study import sentences
from memsci.config import Embedding, Encoding, GateRule
from memsci.errors import MemsciError
from memsci.learners import MEGa, make
from memsci.measures.text_match import contains
from memsci.memory import Memory
from memsci.models.base import Base
from memsci.phenomena import controls, materials
from memsci.phenomena.controls import Probe, Session
from memsci.phenomena.experiment import EXPERIMENTS, PLAIN, material, measure, suited
from memsci.phenomena.interference import PAIRS, measured, sessions
from memsci.runs.tables import per_list

matplotlib.use("Agg")
pytestmark = pytest.mark.filterwarnings("ignore:.*recalls of .* were cut off")
MEMORIES = [Memory(f"{name} has a {thing}.", id=name) for name, thing in
            (("Nora", "kite"), ("Omar", "drum"), ("Lena", "boat"), ("Ivan", "lamp"))]  # fmt: skip
QUICK = Encoding(rank=2, epochs=2, lr=1e-2)


@pytest.fixture
def tiny(monkeypatch) -> Base:
    monkeypatch.setattr(Encoding, "paper", classmethod(lambda cls: QUICK))
    return Base(make_model(), make_tokenizer(), name="tiny")


def probe(memory: Memory, **options: str) -> Probe:
    return Probe(memory.id, f"What has {memory.id}?", options or {"right": "a kite", "wrong": "a drum"}, memory.id)


# Materials


@pytest.mark.parametrize("plain", [False, True])
def test_twins_share_all_but_the_fact_that_the_cue_asks_for(plain):
    seen = set()
    for number in range(20):
        for pair in materials.pairs(number, plain=plain):
            for k, (twin, answer) in enumerate(zip(pair.twins, pair.answers)):
                other = pair.answers[1 - k]
                assert contains(twin.text, answer) and not contains(twin.text, other)
                assert not contains(twin.text, pair.foil) and not contains(pair.cue, answer)
            one, two = (twin.text for twin in pair.twins)
            changed = [one[: m.start()] + pair.answers[1] + one[m.end() :] for m in re.finditer(pair.answers[0], one, re.I)]
            article = lambda text: re.sub(r"\b[Aa]n\b", "a", text).lower()
            assert article(two) in map(article, changed)
            assert len(set(pair.answers) | {pair.foil}) == 3 and pair.other.label != pair.twins[0].label
        assert len({pair.other.label for pair in materials.pairs(number, plain=plain)}) == 4
        seen.add(materials.person(number).name)
        assert materials.person(number).name in materials.pairs(number, plain=plain)[0].cue
    assert len(seen) == 20


def test_in_plain_english_pairs_of_a_list_tell_nothing_of_each_other_and_what_is_weighed_is_a_sentence():
    for number in range(10):
        pairs = materials.pairs(number, plain=True)
        for pair in pairs:
            name = materials.person(number).name
            assert name in pair.twins[0].text and not any(contains(pair.other.text, part) for part in name.split())
            assert pair.told[:2] == tuple(twin.text for twin in pair.twins) and contains(pair.told[2], pair.foil)
            texts = [text for one in pairs if one is not pair for text in (*one.told, one.other.text, one.cue)]
            assert not any(contains(text, value) for text in texts for value in (*pair.answers, pair.foil))
        made, _ = sessions(pairs, plain=True)
        assert made[0].probes[0].options == dict(zip("BCD", pairs[0].told))
        assert made[3].probes[0].options == dict(zip("BCD", (pairs[0].told[1], pairs[0].told[0], pairs[0].told[2])))
        assert sessions(pairs)[0][0].probes[0].options == dict(zip("BCD", (*pairs[0].answers, pairs[0].foil)))


def test_in_plain_english_an_event_is_one_sentence_in_one_wording():
    for name in (name for name in EXPERIMENTS if name.endswith(PLAIN)):
        for memory in material(name, 2):
            assert not memory.paraphrases and len(sentences(memory.text.removeprefix("According to "))) == 1
        assert material(name, 2) != material(name.removesuffix(PLAIN), 2)
        said = EXPERIMENTS[name].protocol  # nothing of the other material is left in it
        assert not any(words in said for words in ("short context", "other words", "paraphrases", "log p(answer)"))
        plain, own = ([one.text for one in phenomena.ABOUT[n].claims] for n in (name, name.removesuffix(PLAIN)))
        assert plain == own


@pytest.mark.parametrize("name", sorted(name for name in EXPERIMENTS if name.endswith(PLAIN)))
def test_in_plain_english_one_list_runs(name, tiny, monkeypatch):
    monkeypatch.setattr(MEGa, "recall", lambda self, texts, gate=None: ["It was so."] * len(texts))
    monkeypatch.setattr(MEGa, "answer", lambda self, texts, gate=None: ["It was so."] * len(texts))
    found = measure(name, "MEGa", tiny, 0)
    assert set(found["phenomenon"]) == {name} and set(found["protocol"]) == {EXPERIMENTS[name].protocol}
    assert found["value"].notna().all() and "MEGa" in set(found["method"])


def test_a_phenomenon_has_the_material_that_suits_the_base(tiny, monkeypatch):
    assert suited("cues", tiny) == "cues"  # it is too small to read English
    monkeypatch.setattr(tiny.model, "num_parameters", lambda: 135_000_000)
    assert suited("cues", tiny) == "cues_plain"
    assert suited("cues", Base(tiny.model, tiny.tokenizer, name="memsci/base-2")) == "cues"


def test_material_follows_from_the_number_of_the_list_alone():
    assert materials.pairs(3) == materials.pairs(3) != materials.pairs(4)
    assert materials.pairs(3, name="other") != materials.pairs(3)


def test_lures_are_of_one_kind_and_share_no_fact():
    pair = materials.kinds(materials.rng("x"), 1)
    event = materials.stories.draw_event(pair[0], materials.rng("x"), materials.person(0))
    lure = materials.lure(event, materials.rng("y"))
    assert lure.kind == event.kind and lure.person == event.person
    assert all(lure.facts[slot] != event.facts[slot] for slot in event.facts)


# Sessions are subsets


@pytest.mark.parametrize(
    ("embedding", "rule"),
    [(Embedding.paper(), GateRule.paper()), (Embedding(kind="words"), GateRule(beta=50, similarity="cosine")),
     (Embedding.paper(), GateRule(top_k=1))],
)  # fmt: skip
def test_a_subset_has_the_gate_of_a_store_with_these_alone(tiny, embedding, rule):
    all_, some = (MEGa(tiny, encoding=QUICK, embedding=embedding, gate=rule) for _ in range(2))
    all_.encode(MEMORIES, progress=False)
    some.encode(MEMORIES[1:3], progress=False)
    asked = ["What has Omar?", "What has Nora?"]
    gate, alone = all_.gate(asked, only=["Lena", "Omar"]), some.gate(asked)
    table = lambda one: one.frame().set_index(["query", "id"])["weight"].sort_index()
    expected = table(alone).reindex(table(gate).index, fill_value=0.0)
    assert gate.ids == ("Omar", "Lena") and table(gate).tolist() == expected.tolist()
    assert all_.logprob(asked, ["a drum"] * 2, gate=gate)["logprob"].tolist() == pytest.approx(
        some.logprob(asked, ["a drum"] * 2)["logprob"].tolist(), abs=1e-5
    )
    with pytest.raises(MemsciError, match="Olga"):
        all_.gate(asked, only=["Olga"])


def test_mega_is_asked_about_each_session_as_if_it_had_learnt_no_other(tiny):
    studied = MEMORIES[:2], MEMORIES[1:]
    sessions = [Session(str(k), tuple(some), (probe(some[0]), probe(some[1]))) for k, some in enumerate(studied)]
    told = controls.ask("MEGa", tiny, sessions).set_index(["session", "method", "place"])
    assert len(told) == 12 and set(told.index.get_level_values("method")) == set(controls.GATES)
    for k, some in enumerate(studied):
        alone = MEGa(tiny)
        alone.encode(some, progress=False)
        questions = [probe(memory).question for memory in some[:2]]
        gates = {"MEGa": None, "MEGa, true gate": alone.true_gate([memory.id for memory in some[:2]])}
        for name, gate in gates.items():
            expected = alone.logprob(questions, ["a kite"] * 2, gate=gate)["logprob"]
            assert told.loc[k, name]["logprob right"].tolist() == pytest.approx(expected.tolist(), abs=1e-5)
            assert told.loc[k, name]["answer"].tolist() == alone.answer(questions, gate=gate)


@pytest.mark.parametrize("method", ["Full", "LoRA"])
def test_what_orders_have_in_common_is_learnt_once_with_the_same_result(tiny, method):
    a, b, c, _ = MEMORIES
    orders = [(a, b), (a, b, c), (b, a), (a, c)]
    sessions = [Session(str(k), study, (probe(a),)) for k, study in enumerate(orders)]
    steps = []
    told = controls.ask(method, tiny, sessions, report=lambda done, total: steps.append((done, total)))
    assert steps[-1] == (6, 6)
    for k, study in enumerate(orders):
        fresh = make(method, tiny)
        fresh.learn(study, progress=False)
        weighed = fresh.logprob(probe(a).question, "a kite")["logprob"].item()
        assert told["logprob right"][k] == pytest.approx(weighed, abs=1e-4)


def test_a_context_is_in_the_order_of_study(tiny):
    learner = make("In context", tiny)
    learner.learn(MEMORIES[:3], progress=False)
    assert "kite.\n\nOmar has a drum.\n\nLena has a boat.\n\nWho?" in learner._turns(["Who?"], None)[0][-1]["content"]
    newest = make("In context", tiny, newest=1)
    newest.learn(MEMORIES[:3], progress=False)
    assert newest._turns(["Who?"], None)[0][-1]["content"].startswith("Lena has")
    with pytest.raises(MemsciError, match="newest"):
        make("In context", tiny, newest=0)


def test_gates_of_several_sessions_are_one_gate():
    gate = lambda ids, *weights: controls.Gate(
        torch.tensor([weights]), torch.tensor([weights], dtype=torch.float64), ids, ids, 1.0
    )
    both = controls.joined([gate(("b", "a"), 0.25, 0.75), gate(("c",), 1.0)], ("a", "b", "c"), ("A", "B", "C"))
    assert both.weights.tolist() == [[0.75, 0.25, 0], [0, 0, 1]] and both.labels == ("A", "B", "C")


# Interference


def planted(says) -> pd.DataFrame:
    """Responses of a learner that answers by a function of what it studied and is asked."""
    made, asked = sessions(materials.pairs(0, 2))
    rows = []
    for number, session in enumerate(made):
        for place, one in enumerate(session.probes):
            answer, strength = says(session.study, one.options)
            logprobs = {f"logprob {name}": strength[name] for name in "BCD"}
            rows.append({"session": number, "place": place, "condition": session.condition, "method": "Full",
                         "item": one.item, "question": one.question,
                         "studied": " ".join(memory.id for memory in session.study),
                         "answer": answer, "recalled": None, **logprobs})  # fmt: skip
    return pd.DataFrame(rows).merge(asked, on=["session", "place"])


def latest(study, options):
    """Remembers of all facts that fit the cue the one learnt last."""
    texts = [memory.text for memory in study]
    place = {name: max((k for k, text in enumerate(texts) if contains(text, options[name])), default=-1) for name in "BCD"}
    return options[max(place, key=place.get)], {name: float(at) for name, at in place.items()}


def earliest(study, options):
    return latest(study[::-1], options)


@pytest.mark.parametrize(("says", "ri", "pi"), [(latest, 1.0, 0.0), (earliest, 0.0, 1.0)])
def test_a_learner_that_overwrites_has_retroactive_interference_alone(says, ri, pi):
    table = measured(planted(says))
    harm = table[table["measure"] == "harm"].set_index("condition")["value"]
    assert harm.to_dict() == {"RI": ri, "PI": pi}
    foil = table[table["measure"] == "harm, foil"].set_index("condition")["value"]
    assert foil.to_dict() == {"RI": 0.0, "PI": 0.0}  # both facts are still known better than one never learnt
    shares = {"answer", "intrusion", "both", "known"}
    assert set(table["measure"]) == shares | {"logprob", "harm", "harm, nats", "harm, foil"}


def test_replies_go_out_as_transcripts_with_what_was_learnt_before_each():
    table = measured(planted(latest))
    result = phenomena.Phenomenon("interference", phenomena.tidy(table, phenomenon="interference", list=0))
    known = {memory.id: memory.text for pair in materials.pairs(0, 2) for memory in (*pair.twins, pair.other)}
    assert set(" ".join(result.trials["studied"]).split()) == set(known)
    assert set(result.trials["reply"]) == {"answer"} and result.trials["response"].notna().all()
    made, _ = sessions(materials.pairs(0, 2))
    assert result.trials["studied"].nunique() == len(made)
    silent = phenomena.Phenomenon("fan", phenomena.tidy([{"measure": "slope", "value": 1.0}], phenomenon="fan", list=0))
    assert silent.trials.empty
    with pytest.raises(MemsciError, match="Nothing is said in fan"):
        phenomena.psych101(silent)


def test_a_transcript_of_a_list():
    pairs = materials.pairs(3, PAIRS, name="interference")
    made, asked = sessions(pairs)
    answers = [
        {"session": number, "place": place, "condition": session.condition, "method": "MEGa", "item": one.item,
         "studied": " ".join(memory.id for memory in session.study), "question": one.question, "answer": one.options["B"],
         "recalled": "<<all>> of it", **{f"logprob {name}": 0.0 for name in "BCD"}}
        for number, session in enumerate(made) for place, one in enumerate(session.probes)
    ]  # fmt: skip
    table = phenomena.tidy(
        measured(pd.DataFrame(answers).merge(asked, on=["session", "place"])), phenomenon="interference", list=3
    )
    texts = phenomena.psych101(phenomena.Phenomenon("interference", table))
    assert texts[["experiment", "participant"]].values.tolist() == [["interference", "MEGa, list 3"]]
    parts = texts["text"].item().split("You learn:\n")[1:]
    assert len(parts) == len(made)
    for part, session in zip(parts, made):
        assert part.startswith("\n".join(f"- {memory.text}" for memory in session.study))
        assert f"{session.probes[0].question}\nYou answer <<{session.probes[0].options['B']}>>." in part
        assert "You recall <<<all> of it>>." in part


def test_every_pair_is_learnt_in_both_orders_against_both_controls():
    made, asked = sessions(materials.pairs(1, 3))
    assert [session.condition for session in made] == ["A–B, A–C", "A–B, D–E", "D–E, A–C"] * 2
    assert all(len(session.study) == 6 for session in made)
    one, two = ([memory.id for memory in session.study] for session in (made[0], made[3]))
    assert one == two[3:] + two[:3]
    counts = asked.groupby(["order", "asked"]).size()
    assert counts.tolist() == [6, 6, 6, 6]
    for session in made:
        for one in session.probes:
            told = next(memory for memory in session.study if memory.id == one.about)
            assert contains(told.text, one.options["B"]) or contains(told.text, one.options["C"])


def test_the_order_of_study_is_nothing_to_mega(tiny, monkeypatch):
    short = lambda number, count, name, plain: tuple(
        materials.Pair(f"What has {k}?", (Memory(f"{k} has a kite.", id=f"{k}b"), Memory(f"{k} has a drum.", id=f"{k}c")),
                       ("a kite", "a drum"), "a lamp", Memory(f"{k} is old.", id=f"{k}e")) for k in "xy"
    )  # fmt: skip
    monkeypatch.setattr(materials, "pairs", short)
    found = phenomena.interference(tiny, lists=5, methods=["MEGa", "Base"], progress=False)
    tests = found.test().set_index("claim")
    assert tests.loc["MEGa: RI is PI", ["estimate", "verdict", "by_construction"]].tolist() == [0.0, "holds", True]
    assert tests.loc["Full: RI above PI", "verdict"] == "not run"
    assert set(found.table["method"]) == {"Base", *controls.GATES} and found.table["list"].nunique() == 5
    assert found.figure().axes[0].get_title(loc="left") == "one reply per cue"
    # The means of lists, which is what a run publishes, say the same.
    lists = per_list(found.table.assign(dataset="interference")).rename(columns={"partition": "list"})
    again = phenomena.Phenomenon("interference", phenomena.tidy(lists, phenomenon="interference"))
    pd.testing.assert_frame_equal(again.test(), found.test())


def test_it_is_refused_before_anything_is_learnt(tiny):
    with pytest.raises(MemsciError, match="a learner of interference must be one of"):
        phenomena.interference(tiny, lists=2, methods=["Full+EWC"])
    with pytest.raises(MemsciError, match="lists"):
        phenomena.interference(tiny, lists=0)


# As an experiment


@pytest.mark.parametrize("name", experiments.PHENOMENA)
def test_each_phenomenon_is_an_experiment(name, monkeypatch):
    experiment = experiments.load(name)
    assert experiment.datasets == (name,) and experiment.title == phenomena.ABOUT[name].title
    known = EXPERIMENTS[name]
    assert set(experiment.methods) <= set(known.methods) <= {*controls.LEARNERS, "Full batch"}
    assert name.endswith(PLAIN) or len(experiment.methods) == len(known.methods)  # on a public model only what is quick
    if name == "human_qa" and not (DATA / "human").is_dir():
        pytest.skip("no answers of people: set MEMSCI_DATA")
    monkeypatch.setenv("MEMSCI_DATA", str(DATA))
    memories = material(name, 0)
    assert len({memory.id for memory in memories}) == len(memories) > 0 and known.probes > 0
    with pytest.raises(MemsciError, match="settings of its own"):
        dataclasses.replace(experiment, common="rank=3")
    with pytest.raises(MemsciError, match="belong together with the measure"):
        dataclasses.replace(experiment, datasets=("episodic",))


def test_phenomena_are_all_entered():
    assert set(experiments.PHENOMENA) == set(EXPERIMENTS) <= set(phenomena.ABOUT)
