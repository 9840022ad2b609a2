"""How English numbers, years, clock times and dates are written and spoken."""

from random import Random

from training.text.sentence import Word, plain


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


ONES = _names(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
)
TENS = _names("- - twenty thirty forty fifty sixty seventy eighty ninety")
ORDINALS = {1: "first", 2: "second", 3: "third", 5: "fifth", 8: "eighth", 9: "ninth", 12: "twelfth"}
MONTHS = _names("January February March April May June July August September October November December")
MINUTES = (0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 12, 18, 27, 33, 41, 58)


def spell(n: int) -> str:
    """A whole number in words, 0 to 999,999."""
    if n < 20:
        return ONES[n]
    if n < 100:
        return TENS[n // 10] + (f" {ONES[n % 10]}" if n % 10 else "")
    big, unit, name = (n // 100, 100, "hundred") if n < 1000 else (n // 1000, 1000, "thousand")
    return f"{spell(big)} {name}" + (f" {spell(n % unit)}" if n % unit else "")


def spell_ordinal(n: int) -> str:
    """first, second … for 1 to 99."""
    if n in ORDINALS:
        return ORDINALS[n]
    if n < 20:
        return ONES[n] + "th"
    tens = TENS[n // 10]
    return f"{tens} {spell_ordinal(n % 10)}" if n % 10 else tens[:-1] + "ieth"


def ordinal_suffix(n: int) -> str:
    """st, nd, rd or th."""
    return "th" if 10 < n % 100 < 14 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")


def spell_year(year: int) -> str:
    """1066 to 2099 as years are said."""
    if 2000 <= year < 2010:
        return "two thousand" + (f" {ONES[year - 2000]}" if year > 2000 else "")
    rest = year % 100
    tail = "hundred" if rest == 0 else f"oh {ONES[rest]}" if rest < 10 else spell(rest)
    return f"{spell(year // 100)} {tail}"


def spell_clock(hour: int, minute: int) -> str:
    """7:05 as "seven oh five"."""
    if minute == 0:
        return ONES[hour]
    return f"{ONES[hour]} " + (f"oh {ONES[minute]}" if minute < 10 else spell(minute))


def figure(n: int) -> Word:
    """A number in figures."""
    return Word(str(n), spell(n))


def small_number(rng: Random) -> list[Word]:
    """1 to 60; in words below 13, as one writes."""
    n = rng.randint(1, 60)
    return plain(ONES[n]) if n < 13 else [figure(n)]


def number(rng: Random) -> list[Word]:
    """13 to 99."""
    return [figure(rng.randint(13, 99))]


def big_number(rng: Random) -> list[Word]:
    """Hundreds and thousands."""
    return [figure(rng.choice([rng.randint(100, 999), rng.randint(2, 99) * 100, rng.randint(2, 60) * 1000]))]


def digits(rng: Random) -> list[Word]:
    """Three to seven single digits."""
    return [figure(rng.randint(0, 9)) for _ in range(rng.randint(3, 7))]


def clock(rng: Random) -> list[Word]:
    """A time of day."""
    hour, minute = rng.randint(1, 12), rng.choice(MINUTES)
    if minute:
        return [Word(f"{hour}:{minute:02}", spell_clock(hour, minute))]
    if rng.random() < 0.6:
        return plain(f"{ONES[hour]} o'clock")
    return [Word(f"{hour}:00", f"{ONES[hour]} o'clock")]


def date(rng: Random) -> list[Word]:
    """A day of a month, sometimes with its year."""
    day, month, form = rng.randint(1, 31), plain(rng.choice(MONTHS)), rng.random()
    nth = Word(f"{day}{ordinal_suffix(day)}", spell_ordinal(day))
    if form < 0.5:
        return [*month, nth]
    if form < 0.75:
        return [*plain("the"), nth, *plain("of"), *month]
    with_comma = Word(nth.written + ",", nth.spoken + ",")
    full_year = rng.randint(1900, 2029)
    return [*month, with_comma, Word(str(full_year), spell_year(full_year))]


def year(rng: Random) -> list[Word]:
    """1750 to 2029."""
    n = rng.choice([rng.randint(1750, 1999), rng.randint(2000, 2029)])
    return [Word(str(n), spell_year(n))]


def price(rng: Random) -> list[Word]:
    """Whole dollars, pounds or euros."""
    n = rng.choice([rng.randint(2, 99), rng.randint(2, 99) * 10])
    return [figure(n), *plain(rng.choice(["dollars", "pounds", "euros"]))]
