"""Names of memsci in docstrings lead to where they are described; one that is none stops the build. Parameters that a
docstring leaves to another ("Parameters are those of …") are shown in full."""

from __future__ import annotations

import re
from textwrap import indent

from griffe import AliasResolutionError, DocstringSectionKind, Extension, Function, Module

NAME = re.compile(r"(?<![`\[])`memsci\.(\w+(?:\.\w+)*)(?:\(\))?`(?!`)")
SHARED = re.compile(r"^Parameters are those of `memsci\.(\S+)`\.(.*)$", re.MULTILINE)


def parameters(source: Function, function: Function) -> str:
    """What the docstring of `source` says of the parameters that both have."""
    sections = {section.kind: section.value for section in source.docstring.parse("numpy")}
    told = [one for one in sections[DocstringSectionKind.parameters] if one.name in function.parameters]
    return "\n".join(["Parameters", "----------", *(f"{one.name}\n{indent(one.description, '    ')}" for one in told)])


class CrossReferences(Extension):
    def on_package(self, *, pkg, **kwargs):
        def lead(name: re.Match) -> str:
            try:
                found = pkg[name[1]]
                return f"[{name[0]}][{found.canonical_path}]" if found.docstring else name[0]
            except (KeyError, AliasResolutionError):
                return f"[{name[0]}][memsci.{name[1]}]"  # of which the build then warns

        def visit(obj) -> None:
            if obj.docstring:
                told = lambda match: f"{match[2]}\n\n{parameters(pkg[match[1]], obj)}"
                obj.docstring.value = NAME.sub(lead, SHARED.sub(told, obj.docstring.value))
            for member in obj.members.values():
                if not member.is_alias:
                    visit(member)

        assert isinstance(pkg, Module)
        visit(pkg)
