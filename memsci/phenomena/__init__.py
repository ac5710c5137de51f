"""Classic experiments on human memory, on memories in weights. Each is one call and gives a `Phenomenon`.

    r = memsci.phenomena.free_recall(base, lists=20)
    r.table, r.human, r.events        # tidy; people's values with their sources; psifr's form or None
    r.test()                          # claim, estimate, interval, p, verdict, by_construction
    r.figure()
    r.save("free-recall")             # csv and json; memsci.phenomena.open brings it back

None of it is in the paper.
"""

from __future__ import annotations

from memsci.phenomena import context, curves, fit
from memsci.phenomena.context import Parameters
from memsci.phenomena.controls import attribute
from memsci.phenomena.cues import cues
from memsci.phenomena.experiment import EXPERIMENTS, Experiment
from memsci.phenomena.false_memory import false_memory
from memsci.phenomena.fan import fan
from memsci.phenomena.forgetting import forgetting
from memsci.phenomena.human_qa import human_qa, humanlikeness
from memsci.phenomena.interference import interference
from memsci.phenomena.lifetime import lifetime
from memsci.phenomena.lists import list_length
from memsci.phenomena.misinformation import misinformation
from memsci.phenomena.people import long, people, psych101
from memsci.phenomena.recall import along, capacity, free_recall
from memsci.phenomena.recognition import recognition
from memsci.phenomena.reference import human
from memsci.phenomena.result import ABOUT, COLUMNS, Claim, Phenomenon, about, open, tidy
from memsci.phenomena.strength import list_strength

__all__ = [
    "ABOUT", "COLUMNS", "EXPERIMENTS", "Claim", "Experiment", "Parameters", "Phenomenon", "about", "along", "attribute",
    "capacity", "context", "cues", "curves", "false_memory", "fan", "fit", "forgetting", "free_recall", "human", "human_qa",
    "humanlikeness", "interference", "lifetime", "list_length", "list_strength", "long", "misinformation", "open",
    "people", "psych101", "recognition", "tidy",
]  # fmt: skip
