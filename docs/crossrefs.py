"""Names of memsci in docstrings lead to where they are described; one that is none stops the build."""

from __future__ import annotations

import re

from griffe import AliasResolutionError, Extension, Module

NAME = re.compile(r"(?<![`\[])`memsci\.(\w+(?:\.\w+)*)(?:\(\))?`(?!`)")


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
                obj.docstring.value = NAME.sub(lead, obj.docstring.value)
            for member in obj.members.values():
                if not member.is_alias:
                    visit(member)

        assert isinstance(pkg, Module)
        visit(pkg)
