"""Checks of theme files against ``FORMAT.md``: ``python -m memsci.world.check FILE...`` prints problems and samples."""

from __future__ import annotations

import itertools
import random
import sys
from pathlib import Path

from . import grammar
from .grammar import PERSON_WORDS, Kind


def problems(kind: Kind, setting: str, pools: set[str]) -> list[str]:
    """What is wrong with a kind, in words; empty when it keeps all rules that a program can check."""
    episodic, (frames_wanted, asks_wanted) = setting != "semantic", (2, 1) if setting == "plain" else (4, 2)
    found = []
    say = lambda text: found.append(f"{kind.name}: {text}")
    slots, person = set(kind.slots), PERSON_WORDS if episodic else frozenset()
    if not 5 <= len(slots) <= 6:
        say(f"{len(slots)} slots, five or six are wanted")
    for pool in set(kind.slots.values()) - pools:
        say(f"no pool is called {pool!r}")
    if len(set(kind.slots.values())) < len(slots):
        say("two slots draw from the same pool")
    facts = {}
    for part, frames in (("opening", kind.opening), ("closing", kind.closing)):
        if setting == "plain" and part == "closing" and not frames:
            facts[part] = set()
            continue
        if len(frames) < frames_wanted:
            say(f"{part}: {len(frames)} frames, at least {frames_wanted} are wanted")
        named = [grammar.slots_in(frame) - person for frame in frames]
        facts[part] = set.union(*named)
        for frame, slots_named in zip(frames, named):
            if slots_named != named[0]:
                say(f"{part}: {frame!r} names {sorted(slots_named)}, the first frame {sorted(named[0])}")
            if slots_named - slots:
                say(f"{part}: unknown slots {sorted(slots_named - slots)}")
            if any(frame.count("{" + slot + "}") + frame.count("{a:" + slot + "}") > 1 for slot in slots_named):
                for options in itertools.islice(expansions(frame), 4):
                    if any(options.count("{" + slot + "}") + options.count("{a:" + slot + "}") > 1 for slot in slots_named):
                        say(f"{part}: a slot stands twice in {options!r}")
                        break
            for option in expansions(frame):
                if grammar.slots_in(option) - person != slots_named:
                    say(f"{part}: the wording {option!r} leaves out a slot")
                    break
            if episodic and part == "opening" and "{name}" not in frame:
                say(f"opening without {{name}}: {frame!r}")
    if facts["opening"] & facts["closing"]:
        say(f"stated twice: {sorted(facts['opening'] & facts['closing'])}")
    if slots - facts["opening"] - facts["closing"]:
        say(f"never stated: {sorted(slots - facts['opening'] - facts['closing'])}")
    asked = [question.slot for question in kind.questions]
    if len(asked) < 4 or len(set(asked)) < len(asked) or not set(asked) <= slots:
        say(f"questions are about {asked}: four or more different slots are wanted")
    for question in kind.questions:
        if len(question.ask) < asks_wanted:
            say(f"question about {question.slot}: {len(question.ask)} phrasings, at least {asks_wanted} wanted")
        context = set.intersection(*(grammar.slots_in(frame) for frame in question.ask))
        for frame in question.ask:
            named = grammar.slots_in(frame)
            if question.slot in named:
                say(f"the question gives its answer away: {frame!r}")
            if len(named - person) < 2 or (episodic and "name" not in named):
                say(f"too little context: {frame!r} (name and two other slots are wanted)")
            if named - person - slots:
                say(f"unknown slots {sorted(named - person - slots)} in {frame!r}")
            if not frame.endswith("?"):
                say(f"no question mark: {frame!r}")
        for frame in question.reply:
            named = grammar.slots_in(frame)
            if question.slot not in named:
                say(f"the reply lacks the answer: {frame!r}")
            if named - context - person - {question.slot}:
                say(f"the reply {frame!r} uses {sorted(named - context - person - {question.slot})}, not in every ask")
    return found


def expansions(frame: str) -> list[str]:
    """The frame with its choices taken first, second, ... in step: enough to see every alternative once."""
    width = max((len(match.split("|")) for match in grammar._CHOICE.findall(frame)), default=1)
    take = lambda index: grammar._CHOICE.sub(lambda match: (alts := match[1].split("|"))[min(index, len(alts) - 1)], frame)
    return [take(index) for index in range(width)]


def main(paths: list[str]) -> int:
    """Print the problems of each file, then samples of every kind."""
    from . import stories

    pools = set(stories.pool_names())
    failures = 0
    for path in map(Path, paths):
        setting = path.resolve().parent.name
        if setting not in (*grammar.SETTINGS, "plain"):
            raise SystemExit(f"{path} is in no folder of the world: {', '.join(grammar.SETTINGS)} or plain.")
        kinds = grammar.parse_kinds(path.read_text(encoding="utf-8"))
        for kind in kinds:
            for problem in problems(kind, setting, pools):
                failures += 1
                print("PROBLEM", problem)
        for kind in kinds:
            rng = random.Random(kind.name)
            try:
                event = stories.draw_event(kind, rng, stories.draw_person(rng) if setting != "semantic" else None)
                lengths = [len(stories.tell(event, rng).split()) for _ in range(40)]
                distinct = len(stories.wordings(event, rng, 2 if setting == "plain" else 10))
            except (KeyError, ValueError) as error:
                print("PROBLEM", kind.name, repr(error))
                continue
            print(f"\n{kind.label}: {sum(lengths) / 40:.0f} words ({min(lengths)} to {max(lengths)}), {distinct} wordings")
            for _ in range(3):
                print("  ", stories.tell(event, rng))
            for question in stories.questions(event, rng):
                print("   Q", question.text, "| A", question.answer, "| R", question.reply)
    print(f"\n{failures} problems")
    return failures


if __name__ == "__main__":
    sys.exit(1 if main(sys.argv[1:]) else 0)
