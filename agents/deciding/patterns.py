"""Where a text names a person, an account or a secret: the patterns that are built in; pure.

Each finder takes time in proportion to the text, whatever the text is. What they find is a guess:
digits that only look like a card's are taken for one, and a phone number without a country's code
or signs between its digits is not seen.
"""

import re
from collections.abc import Callable, Iterator

__all__ = ["FINDERS", "Finder", "Span"]

#: Begin and end of what was found, as indexes of the text.
Span = tuple[int, int]
Finder = Callable[[str], Iterator[Span]]

#: RFC 5321 §4.5.3.1.1: 64 characters before the @; RFC 1035 §2.3.4: 63 in a label.
EMAIL = re.compile(
    r"(?<![\w.%+\-])[\w%+](?:[\w.%+'\-]{0,62}[\w%+\-])?"
    r"@(?:[^\W_](?:[\w\-]{0,61}[^\W_])?\.){1,8}[^\W\d_]{2,63}"
)
#: ITU-T E.164: a country's code and at most 15 digits, with what people write between them.
INTERNATIONAL = r"(?:\+|\b00)[1-9](?:[ ().\-/]{0,3}\d){6,14}"
#: With a leading zero or a code in brackets, and something between the digits.
NATIONAL = r"(?:\(0?\d{1,5}\)[ \-/]?|\b0\d{1,5}[ \-/])\d(?:[ \-/]?\d){4,11}"
#: North America.
AMERICAN = r"(?:\(\d{3}\) ?|\b\d{3}[ .\-])\d{3}[ .\-]\d{4}"
#: A date to people, which would pass as a number of a phone.
DATE = r"\d{1,2}(?P<sign>[ \-/])\d{1,2}(?P=sign)(?:(?:19|20)\d{2}\b|(?<! )\d{2}(?![\d \-/]))"
PHONE = re.compile(rf"(?<![\w+.\-/])(?!{DATE})(?:{INTERNATIONAL}|{AMERICAN}|{NATIONAL})(?!\w)")
#: Digits in groups; ISO/IEC 7812: a card's number has 13 to 19.
DIGITS = re.compile(r"\d+(?:[ -]\d+)*")
CARD_LENGTHS = range(13, 20)
#: ISO 13616: a country, two check digits, 11 to 30 more, in groups where people write it.
IBAN = re.compile(r"(?<![^\W_])[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}", re.IGNORECASE | re.ASCII)
FEWEST_IN_IBAN = 15
#: Keys and tokens by how their issuers begin them; of what is said before them only the secret.
KEYS = (
    r"\bsk-[A-Za-z0-9_\-]{16,}",
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    r"\bgh[pousr]_[A-Za-z0-9]{36,255}",
    r"\bgithub_pat_[A-Za-z0-9_]{22,255}",
    r"\bxox[abeprs]-[A-Za-z0-9\-]{10,}",
    r"\bAIza[A-Za-z0-9_\-]{35}",
    r"(?<![A-Za-z0-9_\-])eyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]*",
    r"-----BEGIN (?:[A-Z]{1,9} )?PRIVATE KEY-----[A-Za-z0-9+/=\s]*-----END [A-Z ]+-----",
    r"(?<=[Bb]earer )[A-Za-z0-9._~+/\-]{16,}=*",
    r"(?i:secret_?access_?key)[\"']?\s{0,3}[=:]\s{0,3}[\"']?(?P<secret>[A-Za-z0-9/+=]{40})\b",
)
KEY = re.compile("|".join(KEYS))


def _emails(text: str) -> Iterator[Span]:
    if "@" in text:
        yield from (found.span() for found in EMAIL.finditer(text))


def _phones(text: str) -> Iterator[Span]:
    yield from (found.span() for found in PHONE.finditer(text))


def _cards(text: str) -> Iterator[Span]:
    """Find groups of digits that together have a card's length and check digit (Luhn)."""
    for found in DIGITS.finditer(text):
        if found.end() - found.start() < CARD_LENGTHS.start:
            continue
        groups = [one.span() for one in re.finditer(r"\d+", found[0])]
        first = 0
        while first < len(groups):
            last = _last_of_card(found[0], groups, first)
            if last is not None:
                yield found.start() + groups[first][0], found.start() + groups[last][1]
                first = last
            first += 1


def _last_of_card(text: str, groups: list[Span], first: int) -> int | None:
    digits, last = "", None
    for number in range(first, len(groups)):
        begin, end = groups[number]
        if len(digits) + end - begin >= CARD_LENGTHS.stop:
            break
        digits += text[begin:end]
        if len(digits) in CARD_LENGTHS and _passes_luhn(digits):
            last = number
    return last


def _passes_luhn(digits: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        doubled = int(digit) * (1 + place % 2)
        total += doubled - 9 if doubled > 9 else doubled  # noqa: PLR2004 - ISO/IEC 7812-1 annex B
    return total % 10 == 0 and set(digits) != {"0"}


def _ibans(text: str) -> Iterator[Span]:
    """Find account numbers whose check digits are right; words that follow are no part of one."""
    begin = 0
    while found := IBAN.search(text, begin):
        end = found.end()
        while end > found.start() and not _is_iban(text, found.start(), end):
            end -= 1
        if end > found.start():
            yield found.start(), end
        begin = max(end, found.start() + 1)


def _is_iban(text: str, begin: int, end: int) -> bool:
    if text[end - 1] == " " or (text[end : end + 1].isalnum()):
        return False
    plain = text[begin:end].replace(" ", "").upper()
    if len(plain) < FEWEST_IN_IBAN:
        return False
    # ISO 7064 MOD 97-10: the first four signs go to the end, letters count from 10.
    number = "".join(str(int(sign, 36)) for sign in plain[4:] + plain[:4])
    return int(number) % 97 == 1


def _keys(text: str) -> Iterator[Span]:
    for found in KEY.finditer(text):
        yield found.span("secret" if found["secret"] else 0)


#: In the order in which they are asked: what one has found the next does not see.
FINDERS: dict[str, Finder] = {
    "key": _keys,
    "email": _emails,
    "iban": _ibans,
    "card": _cards,
    "phone": _phones,
}
