"""The words of a text, in scripts with blanks between them and in scripts without."""

from __future__ import annotations

import regex

# Scripts that put no blanks between words: there a character, with its marks and what is written beside it, stands for one.
UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\u30fc\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
_WORD = regex.compile(rf"(?:(?!{UNSPACED})[^\w\s])*{UNSPACED}\p{{M}}*(?:(?!{UNSPACED})[^\w\s])*|(?:(?!{UNSPACED})\S)+")


def words(text: str) -> list[str]:
    """The words of a text; of scripts that put no blanks between them, its characters.

    >>> words("In May, Nora hid it."), words("诺拉在Fernhill。")
    (['In', 'May,', 'Nora', 'hid', 'it.'], ['诺', '拉', '在', 'Fernhill。'])
    """
    return _WORD.findall(text)


def stretch(text: str, start: int, stop: int | None) -> str:
    """The words of a text from one to another, as they stand there.

    >>> stretch("In May, Nora hid it.", 2, 4), stretch("诺拉在Fernhill。", 0, 2)
    ('Nora hid', '诺拉')
    """
    places = [match.span() for match in _WORD.finditer(text)][start:stop]
    return " ".join(text[places[0][0] : places[-1][1]].split()) if places else ""
