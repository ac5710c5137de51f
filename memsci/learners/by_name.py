"""Learners by name, with the settings that they will have."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from memsci.config import LARGE, SMALL, Embedding, Encoding, GateRule, Settings, Tuning
from memsci.errors import MemsciError, check_in
from memsci.learners import finetune, in_context, mega, rag  # noqa: F401 (each enters its learners)
from memsci.learners.base import LEARNERS, Learner
from memsci.measures import plugins
from memsci.memory import Memory
from memsci.models.base import OWN, SHIPPED, Base


@dataclass(frozen=True, kw_only=True)
class Given:
    """The settings of one learner, every default filled in; ``given.encoding`` is ``given.parts["encoding"]``,
    and None where the learner does not read it.

    Parameters
    ----------
    name
        Name of the learner.
    parts
        Its settings by name: those that its method `reads`, see `memsci.measures.methods.Method`.
    seed
        Seed of the run.
    """

    name: str
    parts: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0

    def __getattr__(self, part: str) -> Any:
        if any(part in kind.method.reads for kind in LEARNERS.values()):
            return self.parts.get(part)
        raise AttributeError(f"No learner reads a setting {part!r}.")

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain JSON values."""
        plain = {name: value.to_dict() if isinstance(value, Settings) else value for name, value in self.parts.items()}
        return {"name": self.name, **plain, "seed": self.seed}


def learner(name: str) -> type[Learner]:
    """The class of the learner of this name."""
    plugins.load()
    check_in("learner", name, LEARNERS)
    return LEARNERS[name]


def resolve(
    name: str,
    base_name: str,
    encoding: Encoding | None = None,
    embedding: Embedding | None = None,
    rule: GateRule | None = None,
    seed: int = 0,
    *,
    tuning: Tuning | None = None,
    size: int | None = None,
    memories: Iterable[Memory] = (),
    **overrides: Any,
) -> Given:
    """The settings that a learner will have; no model is needed.

    Parameters
    ----------
    name
        Name of the learner, one of `memsci.measures.methods.names()`.
    base_name
        Name of the base: what is not given is `embedded()` for the shipped model and `paper()` for any other, but for those
        of a real size below `LARGE` (see `size`).
    encoding
        How memories are trained. Whole-model tuning takes its learning rate, and Full batch its mini-batch, from
        `tuning`, and so does LoRA if there is one for it.
    embedding, rule
        f and the gate of MEGa; RAG takes f and the similarity.
    seed
        Seed of the run.
    tuning
        What the baselines do otherwise than `encoding`.
    size
        Parameters of the base, if they are known. From `SMALL` up to `LARGE` what is not given is what `memsci.MEGa` has
        there: `Encoding.suited`, and, where neither embedding nor rule is given, `practical()`.
    memories
        Those that will be learnt, to whose wordings and length that encoding is fitted.
    overrides
        Single values in place of those: any of `settings(name)`, such as ``lr``, ``beta``, ``k``. They come last.
    """
    kind, shipped = learner(name), base_name in OWN
    real = _real(base_name, size)
    practical = real and embedding is None and rule is None
    usual = Encoding.embedded() if shipped else Encoding.suited(size, memories) if real else Encoding.paper()
    parts = kind.preset(
        {
            "encoding": encoding or usual,
            "embedding": embedding or (Embedding.practical() if practical else Embedding.paper()),
            "rule": rule or (GateRule.practical() if practical else GateRule.paper()),
            "tuning": tuning or (Tuning.embedded() if shipped else Tuning.paper()),
        }
    )
    owners = _owners(kind, parts)
    for option, value in overrides.items():
        if not owners:
            raise MemsciError(f"{name} has no settings; {option!r} was given.")
        check_in(f"a setting of {name}", option, owners)
        part = owners[option]
        parts[part] = value if option == part else dataclasses.replace(parts[part], **{option: value})
    return Given(name=name, parts=parts, seed=seed)


def _real(base_name: str, size: int | None) -> bool:
    """Whether a base is neither the shipped one, nor a toy, nor of the size of the paper's."""
    return base_name not in OWN and size is not None and SMALL <= size < LARGE


def settings(name: str) -> list[str]:
    """Names of all settings that the learner of this name reads, each of which `resolve` and `make` take by name."""
    return list(_owners(learner(name), resolve(name, SHIPPED).parts))


def _owners(kind: type[Learner], parts: Mapping[str, Any]) -> dict[str, str]:
    """Of each value that may be overridden, the part that it belongs to: of several with such a field, the first."""
    owners: dict[str, str] = {}
    for part, value in parts.items():
        names = [one.name for one in dataclasses.fields(value)] if isinstance(value, Settings) else [part]
        owners = {**owners, **{name: part for name in names if name not in {*owners, *kind.unread}}}
    return owners


def make(
    name: str,
    base: Base,
    encoding: Encoding | None = None,
    embedding: Embedding | None = None,
    rule: GateRule | None = None,
    seed: int = 0,
    *,
    tuning: Tuning | None = None,
    memories: Iterable[Memory] | None = None,
    **overrides: Any,
) -> Learner:
    """The learner of this name on this base, which it never changes; parameters are those of `resolve`.

    An encoding that neither is given nor could be fitted to `memories` is fitted to those that are learnt first, in its
    number of epochs.

    Examples
    --------
    ::

        learner = make("Full+L2", memsci.load(), strength=1.0)
        learner.learn(memsci.data.builtin("episodic", 0))
        learner.answer("Who filmed the talent show?")
    """
    size = base.model.num_parameters()
    known = {"tuning": tuning, "size": size, "memories": memories or ()}
    given = resolve(name, base.name, encoding, embedding, rule, seed, **known, **overrides)
    made = learner(name).build(base, given.seed, **given.parts)
    made.suits = encoding is None and memories is None and "epochs" not in overrides and _real(base.name, size)
    return made
