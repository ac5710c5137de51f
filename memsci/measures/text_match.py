"""Reading texts by rule: words, numbers and dates in one form, and where sentences end.

`metrics.judge` rests on the functions here. Each text goes through the same steps (characters, tokens, numbers,
units, dates, ranges), so that different ways of writing one thing end as the same tokens; tokens are then compared
whole.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import regex

from memsci.errors import MemsciError
from memsci.prompts import without_thoughts
from memsci.words import UNSPACED

_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_NUMBERS = {word: n for n, word in enumerate(_UNITS)} | {word: 10 * n for n, word in enumerate(_TENS, start=2)}
_POWERS = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9}
_IRREGULAR = {
    "first": "one",
    "second": "two",
    "third": "three",
    "fifth": "five",
    "eighth": "eight",
    "ninth": "nine",
    "twelfth": "twelve",
}
_ORDINALS = _IRREGULAR | {word + "th": word for word in (*_UNITS, *_POWERS) if word not in _IRREGULAR.values()}
_ORDINALS |= {word[:-1] + "ieth": word for word in _TENS}

_MONTHS = "january february march april may june july august september october november december".split()
_MONTH = {name: name for name in _MONTHS} | {name[:3]: name for name in _MONTHS} | {"sept": "september"}

_CURRENCY = {"$": "dollar", "€": "euro", "£": "pound", "¥": "yen", "usd": "dollar", "eur": "euro", "gbp": "pound"}
# One form of each unit: the ways of writing it. They count only after a number.
_WRITTEN = {
    "dollar": "dollars", "euro": "euros €", "pound": "pounds £ lb lbs", "percent": "%",
    "kilometre": "km kilometer kilometers kilometres", "metre": "m meter meters metres",
    "centimetre": "cm centimeter centimeters centimetres", "millimetre": "mm millimeter millimeters millimetres",
    "kilogram": "kg kilo kilos kilograms", "gram": "g grams", "litre": "l liter liters litres",
    "mile": "mi miles", "foot": "ft feet", "minute": "min mins minutes", "hour": "h hr hrs hours",
    "second": "sec secs seconds",
    "day": "days", "week": "weeks", "month": "months", "year": "years",
}  # fmt: skip
_UNIT = {written: unit for unit, forms in _WRITTEN.items() for written in forms.split()}

_ARTICLES = {"a", "an", "the"}
_BREAKS = {",", ";"}
_ENDS = _BREAKS | {"and", "or"}  # of an item: "a" before one of them, or last, is the letter
_ORDER = {"1th", "last", "earlier", "earliest", "later", "latest", "sooner"}  # what a question of order in time asks for
# Letters that Unicode does not take apart into a plain letter and a mark.
_LETTERS = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "æ": "ae", "œ": "oe", "ı": "i", "þ": "th", "ð": "d"})

_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_SPACED = rf"(?:(?!{UNSPACED})[^\W_])"
_TOKEN = regex.compile(rf"\d+(?:[.:/]\d+)*(?!{_SPACED})|{UNSPACED}\p{{M}}*|{_SPACED}+[⁺⁻]*|[-,;$€£¥%&°]")
_OF_SPACED = regex.compile(rf"(?:(?!{UNSPACED}).)+", regex.DOTALL)
# The sign that a grade or a blood group ends with ("B+", "AB-"), which no other dash or plus is.
_SIGN = re.compile(r"(?<!\w)([a-z]{1,2})(\++|[-−])(?![\w+−-])")
_SIGNS = str.maketrans("+-−", "⁺⁻⁻")
_ATTACHED = re.compile(rf"\b(\d+(?:[.:]\d+)*)(st|nd|rd|th|am|pm|{'|'.join(w for w in _UNIT if w.isalpha())})\b")


def contains(answer: str, truth: str) -> bool:
    """Whether the true answer stands in the answer: its words whole and in order, or, if a list, item by item.

    A truth of symbols alone ("★") must stand there as it is.

    Examples
    --------
    >>> contains("It was option A.", "Option A"), contains("It was option B.", "Option A"), contains("B+", "B-")
    (True, False, False)
    """
    check_truth(truth)
    true = tokens(truth)
    if not set(true) - _BREAKS:
        return truth.strip() in answer
    if not set(true) - _ARTICLES - _BREAKS:
        # The grade "A" is no article: only its capital tells.
        return _as_it_is(truth.strip(), answer)
    said = [token for token in tokens(answer) if token not in _BREAKS]
    true = _without_articles(true)
    items = _items(true)
    if ["a"] not in items and _stands_in([token for token in true if token not in _BREAKS], said):
        return True
    return len(items) > 1 and all(_item_stands_in(item, said, answer, truth) for item in items)


def check_truth(truth: str) -> None:
    """Refuse a true answer that nothing can be judged by: one without word, number or symbol."""
    if not set(tokens(truth)) - _BREAKS and not any(unicodedata.category(sign)[0] == "S" for sign in truth):
        raise MemsciError(f"The true answer {truth!r} has no word or number in it, so nothing can be judged by it.")


def parts(answer: str, truth: str) -> list[bool]:
    """Which items of a true answer that is a list ("A, B" or "A and B") stand in the answer; a single one if it is none."""
    answer = without_thoughts(answer)
    whole = contains(answer, truth)
    said = [token for token in tokens(answer) if token not in _BREAKS]
    items = _items(_without_articles(tokens(truth)))
    return [_item_stands_in(item, said, answer, truth) for item in items] if len(items) > 1 else [whole]


def _without_articles(true: list[str]) -> list[str]:
    """The words of a true answer without its articles: "a" is one if a word of the same item follows it."""
    following = [*true[1:], ","]
    return [one for one, then in zip(true, following) if one not in _ARTICLES or (one == "a" and then in _ENDS)]


def _items(true: list[str]) -> list[list[str]]:
    """The items of a list, each by its words."""
    items: list[list[str]] = [[]]
    for token in true:
        if token in _BREAKS or token == "and":
            items.append([])
        else:
            items[-1].append(token)
    return [item for item in items if item]


def offers(question: str, truth: str) -> bool:
    """Whether a question names the true answer itself, beside others to choose from: "Which came first, A or B?"."""
    return "or" in tokens(question) and contains(question, truth)


def chooses(answer: str, question: str) -> bool:
    """Whether an answer chooses from what a question offers: it has no "or", and where the order in time is asked for
    ("Which came first, A or B?") no word that the question has not, save "it was". A sentence about A does not say when.

    Examples
    --------
    >>> question = "Which came first, the mural or the play?"
    >>> [chooses(answer, question) for answer in ("It was the mural.", "the mural or the play", "The mural was blue.")]
    [True, False, False]
    """
    said, asked = set(tokens(answer)), set(tokens(question))
    return "or" not in said and (asked.isdisjoint(_ORDER) or said <= {*asked, *_ARTICLES, *_BREAKS, "it", "was"})


def _item_stands_in(item: list[str], said: list[str], answer: str, truth: str) -> bool:
    """Whether an item of a list stands in the answer; of the letter A alone, again only the capital tells."""
    if item == ["a"] and _as_it_is("A", truth):
        return _as_it_is("A", answer)
    return _stands_in(item, said)


def _as_it_is(part: str, whole: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(part)}(?!\w|[+−-]+(?!\w))", whole) is not None


def _stands_in(part: list[str], whole: list[str]) -> bool:
    """Whether words stand among others in their order, with nothing but articles between them. 5 does not stand in -5."""
    negative = _NUMBER.fullmatch(part[0]) is not None
    for start, first in enumerate(whole, start=1):
        if first != part[0] or (negative and whole[start - 2 : start - 1] == ["minus"]):
            continue
        left = part[1:]
        for token in whole[start:]:
            if left and token == left[0]:
                left = left[1:]
            elif not left or token not in _ARTICLES:
                break
        if not left:
            return True
    return False


def tokens(text: str) -> list[str]:
    """The words of a text in one form; commas and semicolons stay, as tokens of their own.

    Of scripts that put no blanks between words (Chinese, Japanese, Thai), every character is one.

    Examples
    --------
    >>> tokens("The twenty-first of March, 2024: Zoë's $1,240.50")
    ['the', '21th', 'march', '2024', 'zoe', '1240.5', 'dollar']
    """
    words = [_plain(word) for word in _TOKEN.findall(_characters(text))]
    return _ranges(_dates(_units(_numbers(_ordinals(words)))))


def _characters(text: str) -> str:
    """Lower case without accents, apostrophes, dots in abbreviations and separators of thousands."""
    text = re.sub(r"(?<=\d)[\u00a0\u2009\u202f'’](?=\d{3}(?!\d))", "", text)  # 850 000, as written outside English
    text = unicodedata.normalize("NFKC", text).replace("、", ",")
    text = _OF_SPACED.sub(_without_accents, text).casefold().translate(_LETTERS)
    text = _SIGN.sub(lambda match: match[0].translate(_SIGNS), text)
    text = re.sub(r"[‐‑‒–—―−]", "-", text).replace("’", "'").replace("‘", "'")
    text = re.sub(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d])", lambda match: match[0].replace(",", ""), text)
    text = re.sub(r"\b([^\W\d_])\.(?:\s?(?=[^\W\d_]\.)|(?=[^\W\d_]\b))", r"\1", text)  # u.s. us., j. k. jk.
    text = re.sub(r"(?<=\w)'s\b|(?<=\w)'", "", text)  # nora's nora, o'brien obrien
    text = re.sub(r"\bus\.?(?=\$)", "", text).replace("per cent", "percent").replace("°c", "° celsius")
    text = re.sub(r"([$€£]\s?\d[\d.]*)\s?(k|m|bn)\b", _short_power, text)
    text = re.sub(r"\bk(?:m/|p)h\b", "km per hour", re.sub(r"\bmph\b", "miles per hour", text))
    text = re.sub(r"\b(\d{4})-(\d{2})-(\d{2})\b", _iso_date, text)
    text = re.sub(r"(?<!\S)(?<!\d\s)-(?=\d)", "minus ", text)
    # A dash is a token between two numbers (a score, a range), elsewhere a space.
    text = re.sub(r"(?<!\d)\s*-|-\s*(?!\d)", " ", re.sub(r"(?<=\d)\s*-\s*(?=\d)", "-", text))
    return _ATTACHED.sub(r"\1 \2", text)


def _without_accents(match: regex.Match[str]) -> str:
    return "".join(c for c in unicodedata.normalize("NFKD", match[0]) if not unicodedata.combining(c))


def _short_power(match: re.Match[str]) -> str:
    return match[1] + {"k": " thousand", "m": " million", "bn": " billion"}[match[2]]


def _iso_date(match: re.Match[str]) -> str:
    year, month, day = match.groups()
    return f"{int(day)} {_MONTHS[int(month) - 1]} {year}" if 1 <= int(month) <= 12 else match[0]


def _plain(word: str) -> str:
    if _NUMBER.fullmatch(word) and "." in word:
        return word.rstrip("0").rstrip(".")  # 6.50 = 6.5
    return {"&": "and", "°": "degree", "degrees": "degree"}.get(word, word)


def _ordinals(words: list[str]) -> list[str]:
    """`3`, `rd` as one token `3th`, like every ordinal."""
    out: list[str] = []
    for word in words:
        if out and out[-1].isdigit() and word in ("st", "nd", "rd", "th"):
            out[-1] += "th"
        else:
            out.append(word)
    return out


def _numbers(words: list[str]) -> list[str]:
    """Number words in digits: `fifty five` 55, `two hundred and forty` 240, `3 million` 3000000, `third` 3th."""
    out: list[str] = []
    i = 0
    while i < len(words):
        value, used = _read_number(words[i : i + 20])
        out.append(value if used else words[i])
        i += used or 1
    return out


def _read_number(words: Sequence[str]) -> tuple[str, int]:
    """The longest number at the start, in digits, and how many words it takes (0: there is none)."""
    total, part, used, last, ordinal = 0.0, 0.0, 0, "", False
    for k, written in enumerate(words):
        word = _ORDINALS.get(written, written)
        following = _ORDINALS.get(words[k + 1], words[k + 1]) if k + 1 < len(words) else ""
        if word == "and" and last in ("hundred", "thousand") and following in _NUMBERS:
            continue
        if word in _NUMBERS and (last in _POWERS or not last or last in _TENS and 0 < _NUMBERS[word] < 10):
            part += _NUMBERS[word]
        elif word == "hundred" and last not in _POWERS:
            part = (part or 1) * 100
        elif word in _POWERS and word != "hundred" and (last not in _POWERS or last == "hundred"):
            total, part = total + (part or 1) * _POWERS[word], 0.0
        elif _NUMBER.fullmatch(word) and not last and following in _POWERS:
            part = float(word)
        else:
            break
        used, last, ordinal = k + 1, word, written in _ORDINALS
        if ordinal:
            break
    return f"{total + part:.15g}{'th' * ordinal}", used


def _units(words: list[str]) -> list[str]:
    """`$240`, `USD 240`, `240 US dollars` as 240 dollar; any unit after a number in its one form."""
    out: list[str] = []
    i = 0
    while i < len(words):
        word, following = words[i], words[i + 1] if i + 1 < len(words) else ""
        if word in _CURRENCY and _NUMBER.fullmatch(following):
            out += [following, _CURRENCY[word]]
            i += 2
            continue
        if out and _NUMBER.fullmatch(out[-1]):
            if word == "us" and following in ("dollar", "dollars"):
                word, i = following, i + 1
            word = _UNIT.get(word, _CURRENCY.get(word, word))
        out.append(word)
        i += 1
    return out


def _dates(words: list[str]) -> list[str]:
    """Every date as `14th march [2024]`, every range of days as `12th-18th august [2024]`.

    The day is an ordinal, so that the number in "3 May" is not taken for a count of three.
    """
    text = " ".join(words)
    start, end, year = r"(?<!\S)", r"(?!\S)", r"(?: ,(?= \d{4}(?!\S)))?"
    day = r"(0?[1-9]|[12]\d|3[01])(?:th)?"
    month = rf"({'|'.join(sorted(_MONTH, key=len, reverse=True))})"

    def write(first: str, last: str, name: str) -> str:
        days = f"{int(first)}th" + (f"-{int(last)}th" if last else "")
        return f"{days} {_MONTH[name]}"

    text = re.sub(rf"{start}between ([^,;]*?\d[^,;]{{0,15}}?) and (?=(?:[a-z]+ )?\d)", r"between \1 to ", text)
    to = rf"(?: (?:of )?{month} (?:to|until) | (?:-|to|and|until) )"
    text = re.sub(
        rf"{start}{day}{to}{day} (?:of )?{month}{year}{end}",
        lambda m: write(m[1], m[3], m[4]) if m[2] in (None, m[4]) else m[0],
        text,
    )
    # "May 3 and 5" is a range of days only where nothing but a year follows: not in "on May 3 and 5 dogs".
    to = rf"(?:(?:-|to|until) (?:\1 )?{day}(?! (?:of )?{month})|and {day}(?=$|(?: ,)? \d{{4}}{end}))"
    text = re.sub(rf"{start}{month} {day} {to}{year}{end}", lambda m: write(m[2], m[3] or m[5], m[1]), text)
    text = re.sub(rf"{start}{day} (?:of )?{month}{year}{end}", lambda m: write(m[1], "", m[2]), text)
    text = re.sub(rf"(?<!\dth ){start}{month} (?:the )?{day}(?! -){year}{end}", lambda m: write(m[2], "", m[1]), text)
    # From one month to another: the two dates are enough, whatever stands between them.
    date = rf"\d+th (?:{'|'.join(_MONTHS)})"
    text = re.sub(rf"{start}({date}(?: \d{{4}})?) (?:-|to|and|until) (?={date}{end})", r"\1 ", text)
    return text.split()


def _ranges(words: list[str]) -> list[str]:
    """`3 - 2` and `3 to 2` as one token `3-2`: neither of its numbers stands there alone."""
    number = r"\d[\d.:/]*"
    return re.sub(rf"(?<!\S)({number}) (?:-|to) (?={number}(?!\S))", r"\1-", " ".join(words)).split()


# ---------------------------------------------------------------------------------------------------------------------
# Sentences

# Before a name: the full stop never ends a sentence. With a capital only, for "fig" and "gen" are words too.
_TITLES = set("Dr Mr Mrs Ms Prof Rev Hon Gen Col Maj Capt Cmdr Lt Sgt Pvt Gov Sen Rep Pres Messrs Mme Mlle Fig Vol".split())
_INSIDE = set("vs cf approx ca nos pp".split())
# May stand at the end of a sentence: the next word decides.
_EITHER = set("st mt ft jr sr inc ltd co corp etc al dept ave rd blvd bros jan feb aug sept oct nov dec".split())
_STARTERS = set(
    "he she it they we you the this that these those his her their its our there then when where while after before "
    "but and so however later in on at as".split()
)
_END = re.compile(r"[.!?…]+[\"'”’»)\]]*\s+(?=\S)|[。！？](?=\S)|(?<=[^\W\d_])[.!?](?=[A-Z][a-z])|\s*\n\s*")
_QUOTES = "\"'“”‘’«»()[]"


def one_sentence(text: str) -> bool:
    """Whether a text is at most one sentence.

    A sentence ends at ``.``, ``!``, ``?`` or ``…`` before a space, or at a line break, if more text follows. The full
    stop of an abbreviation (Dr., St., U.S., p.m.), of an initial (J. Smith), of a decimal (3.5) or after a number at
    the very start (1. Nora) is no end, unless an abbreviation that may stand last is followed by a word that usually
    begins a sentence.
    """
    text = text.strip()
    for match in _END.finditer(text):
        mark = match[0].strip().strip(_QUOTES)
        before = text[: match.start()].split()[-1].lstrip(_QUOTES) if text[: match.start()].strip() else ""
        after = text[match.end() :].lstrip(_QUOTES)
        if mark == ".":
            joined = _is_abbreviation(before, after) or text[: match.start()].isdigit()
        elif mark in ("。", "！", "？") or match[0].count("\n") > 1:
            joined = False
        else:
            joined = after[:1].islower()  # "Help!" he cried; well... it was; a line that was wrapped
        if not joined:
            return False
    return True


def _is_abbreviation(before: str, after: str) -> bool:
    """Whether the full stop after the word `before` belongs to it, given the text that follows."""
    following = re.match(r"\w*", after)[0]
    if before in _TITLES or before in _INSIDE or (before in ("No", "no", "Mar") and following.isdigit()):
        return True
    dotted = re.fullmatch(r"[A-Z]|[^\W\d_]{1,3}(?:\.-?[^\W\d_]{1,2})+", before) is not None
    begins = following[:1].isupper() and following.casefold() in _STARTERS
    return (dotted or before.casefold() in _EITHER) and not begins
