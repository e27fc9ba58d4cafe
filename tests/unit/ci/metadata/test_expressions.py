"""Every token of moment.js and how it escapes text: values that moment 2.30.1 itself gave, in the locale "en"."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from ci_buildx.ci.metadata.expressions import convert_zone, format_date
from ci_buildx.errors import InputError

LAST_OF_A_YEAR = datetime(2024, 12, 31, 13, 59, 59, 999000, tzinfo=UTC)
"""In the first week of 2025, by both ways to count."""
FIRST_OF_A_YEAR = datetime(2022, 1, 2, 10, 35, 5, 45000, tzinfo=timezone(timedelta(hours=5, minutes=30)))
"""A Sunday: in the last ISO week of 2021, and in the second week of the locale."""
TOKENS = {
    "M": ("12", "1"),
    "Mo": ("12th", "1st"),
    "MM": ("12", "01"),
    "MMM": ("Dec", "Jan"),
    "MMMM": ("December", "January"),
    "Q": ("4", "1"),
    "Qo": ("4th", "1st"),
    "D": ("31", "2"),
    "Do": ("31st", "2nd"),
    "DD": ("31", "02"),
    "DDD": ("366", "2"),
    "DDDo": ("366th", "2nd"),
    "DDDD": ("366", "002"),
    "d": ("2", "0"),
    "do": ("2nd", "0th"),
    "dd": ("Tu", "Su"),
    "ddd": ("Tue", "Sun"),
    "dddd": ("Tuesday", "Sunday"),
    "e": ("2", "0"),
    "E": ("2", "7"),
    "w": ("1", "2"),
    "wo": ("1st", "2nd"),
    "ww": ("01", "02"),
    "W": ("1", "52"),
    "Wo": ("1st", "52nd"),
    "WW": ("01", "52"),
    "YY": ("24", "22"),
    "YYYY": ("2024", "2022"),
    "YYYYY": ("02024", "02022"),
    "YYYYYY": ("+002024", "+002022"),
    "Y": ("2024", "2022"),
    "y": ("2024", "2022"),
    "yy": ("2024", "2022"),
    "yyy": ("2024", "2022"),
    "yyyy": ("2024", "2022"),
    "yo": ("2024th", "2022nd"),
    "N": ("AD", "AD"),
    "NN": ("AD", "AD"),
    "NNN": ("AD", "AD"),
    "NNNN": ("Anno Domini", "Anno Domini"),
    "NNNNN": ("AD", "AD"),
    "gg": ("25", "22"),
    "gggg": ("2025", "2022"),
    "ggggg": ("02025", "02022"),
    "GG": ("25", "21"),
    "GGGG": ("2025", "2021"),
    "GGGGG": ("02025", "02021"),
    "A": ("PM", "AM"),
    "a": ("pm", "am"),
    "H": ("13", "10"),
    "HH": ("13", "10"),
    "h": ("1", "10"),
    "hh": ("01", "10"),
    "k": ("13", "10"),
    "kk": ("13", "10"),
    "m": ("59", "35"),
    "mm": ("59", "35"),
    "s": ("59", "5"),
    "ss": ("59", "05"),
    "S": ("9", "0"),
    "SS": ("99", "04"),
    "SSS": ("999", "045"),
    "SSSS": ("9990", "0450"),
    "SSSSS": ("99900", "04500"),
    "SSSSSS": ("999000", "045000"),
    "SSSSSSS": ("9990000", "0450000"),
    "SSSSSSSS": ("99900000", "04500000"),
    "SSSSSSSSS": ("999000000", "045000000"),
    "Z": ("+00:00", "+05:30"),
    "ZZ": ("+0000", "+0530"),
    "X": ("1735653599", "1641099905"),
    "x": ("1735653599999", "1641099905045"),
    "hmm": ("159", "1035"),
    "hmmss": ("15959", "103505"),
    "Hmm": ("1359", "1035"),
    "Hmmss": ("135959", "103505"),
    "LT": ("1:59 PM", "10:35 AM"),
    "LTS": ("1:59:59 PM", "10:35:05 AM"),
    "L": ("12/31/2024", "01/02/2022"),
    "l": ("12/31/2024", "1/2/2022"),
    "LL": ("December 31, 2024", "January 2, 2022"),
    "ll": ("Dec 31, 2024", "Jan 2, 2022"),
    "LLL": ("December 31, 2024 1:59 PM", "January 2, 2022 10:35 AM"),
    "lll": ("Dec 31, 2024 1:59 PM", "Jan 2, 2022 10:35 AM"),
    "LLLL": ("Tuesday, December 31, 2024 1:59 PM", "Sunday, January 2, 2022 10:35 AM"),
    "llll": ("Tue, Dec 31, 2024 1:59 PM", "Sun, Jan 2, 2022 10:35 AM"),
}
TEXTS = {
    "[YYYY]": "YYYY",
    "[a] MM [b]": "a 12 b",
    "[a] ]": "a] ",
    "\\MM": "MM",
    "\\LT": "LT",
    "YYY": "242024",
    "GGG": "25G",
    "G": "G",
    "g": "g",
    "DDDDD": "36631",
    "YYYYMMDD-HHmm": "20241231-1359",
    "w|": "w|",
    "foo bar": "foo bpmr",
    "[LT] LT": "LT 1:59 PM",
    "[": "[",
    "[]": "",
    "\\[MM]": "[12]",
    "ddd]": "Tue]",
    "[a[b]MM": "[pmb12",
    "QQ": "44",
    "SSSSSSSSSS": "9990000009",
    "ZZZ": "+0000+00:00",
}


@pytest.mark.parametrize("token", TOKENS)
def test_tokens(token: str) -> None:
    assert (format_date(LAST_OF_A_YEAR, token), format_date(FIRST_OF_A_YEAR, token)) == TOKENS[token]


@pytest.mark.parametrize("pattern", TEXTS)
def test_escapes_and_what_is_no_token(pattern: str) -> None:
    assert format_date(LAST_OF_A_YEAR, pattern) == TEXTS[pattern]


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        ("UTC", "2024-12-31 13:59 +00:00 UTC UTC"),
        ("Asia/Tokyo", "2024-12-31 22:59 +09:00 JST JST"),
        ("america/los_angeles", "2024-12-31 05:59 -08:00 PST PST"),
        ("Asia/Kathmandu", "2024-12-31 19:44 +05:45 +0545 +0545"),
    ],
)
def test_time_zones(zone: str, expected: str) -> None:
    """Their names as moment-timezone knows them, in any case of letters."""
    assert format_date(convert_zone(LAST_OF_A_YEAR, zone, source="x"), "YYYY-MM-DD HH:mm Z z zz") == expected


def test_an_unknown_time_zone_is_refused() -> None:
    with pytest.raises(InputError, match="x: unknown time zone 'Mars/Olympus'"):
        convert_zone(LAST_OF_A_YEAR, "Mars/Olympus", source="x")
