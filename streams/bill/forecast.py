"""What a month will cost, from the days that are known; pure."""

import calendar
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from statistics import linear_regression

__all__ = ["TREND_DAYS", "Trend", "day_at_rate", "trend_of"]

#: Days that make the trend, today not among them: it is not over.
TREND_DAYS = 14
FEWEST_DAYS = 3


def day_at_rate(spent_usd: Decimal, hour_usd: Decimal, now: datetime) -> Decimal:
    """Say what a day (UTC) comes to where it goes on as in the last hour.

    `spent_usd` is what it has cost until now, `hour_usd` what the last hour did.
    """
    midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    left_h = Decimal((midnight - now).total_seconds()) / 3600
    return spent_usd + hour_usd * left_h


@dataclass(frozen=True, slots=True)
class Trend:
    """Dollars of the days that are known, and of those from today to the end of the month."""

    days: Mapping[date, float]
    expected: Mapping[date, float]
    #: Dollars that each day costs more than the one before.
    slope: float
    made_of: str

    def so_far(self, today: date) -> float:
        """What the month has cost until now."""
        return sum(usd for day, usd in self.days.items() if day >= today.replace(day=1))

    def rest(self, today: date) -> float:
        """What it will cost yet: the days to come, and what is left of today."""
        left = max(0.0, self.expected[today] - self.days.get(today, 0.0))
        return left + sum(usd for day, usd in self.expected.items() if day > today)


def trend_of(days: Mapping[date, float], today: date) -> Trend:
    """Go on with the trend of the last two weeks to the end of the month.

    `days` holds what each day cost, today included as far as it has come; days between the first
    of them and today that are not there cost nothing.
    """
    begin = max(min(days), today - timedelta(days=TREND_DAYS))
    known = [
        days.get(begin + timedelta(days=number), 0.0) for number in range((today - begin).days)
    ]
    length = calendar.monthrange(today.year, today.month)[1]
    ahead = {today + timedelta(days=n): len(known) + n for n in range(length - today.day + 1)}
    if len(known) >= FEWEST_DAYS:
        slope, base = linear_regression(range(len(known)), known)
        expected = {day: max(0.0, base + slope * x) for day, x in ahead.items()}
        return Trend(days, expected, slope, f"the trend of {len(known)} days")
    level = sum(known) / len(known) if known else days.get(today, 0.0)
    made_of = f"the mean of {max(1, len(known))} days: too few for a trend"
    return Trend(days, dict.fromkeys(ahead, level), 0.0, made_of)
