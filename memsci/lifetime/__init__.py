"""What happens to memories after they were learnt: they sleep into one adapter, are merged, and split again.

Functions here are given a mind (a `memsci.MEGa`); its own methods `sleep`, `merge` and `split` call them. The base never
changes, and a memory changes over to another adapter only when that is known to recall it. *Not in the paper*, which
leaves consolidation open (Discussion).
"""

from __future__ import annotations

from memsci.lifetime.merging import curve, merge, split
from memsci.lifetime.policies import Alike, Chosen, Extra, Oldest, Used
from memsci.lifetime.slow import Sleep, fold
from memsci.lifetime.transfer import sleep

__all__ = ["Alike", "Chosen", "Extra", "Oldest", "Sleep", "Used", "curve", "fold", "merge", "sleep", "split"]
