"""What becomes of memories after they were learnt: they are corrected, sleep into one adapter, are merged, split and linked.

Functions here are given a mind (a `memsci.MEGa`), which has the everyday ones as methods. The base never changes, and a
memory changes over to another adapter only when that is known to recall it. *Not in the paper*, which leaves consolidation
open (Discussion).
"""

from __future__ import annotations

from memsci.lifetime.merging import curve, merge, split
from memsci.lifetime.policies import Alike, Chosen, Extra, Oldest, Used
from memsci.lifetime.slow import Sleep, fold
from memsci.lifetime.transfer import sleep

__all__ = ["Alike", "Chosen", "Extra", "Oldest", "Sleep", "Used", "curve", "fold", "merge", "sleep", "split"]
