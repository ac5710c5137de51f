"""Means over partitions with their spread, and differences between methods: plain functions of tidy tables.

One partition is one independent repetition of an experiment, so everything is first averaged within it. The paper reports
mean ± SD over 20 partitions; the intervals, paired differences and tests here are ours (*not stated in the paper*).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri, stdtrit
from scipy.stats import rankdata

from memsci.errors import MemsciError, check_columns, check_in

RESAMPLES = 10_000  # of the bootstrap
FEWEST_UNITS = 5  # that an interval is made of
EXACT_UNITS = 22  # up to here all 2^(n-1) changes of sign are counted; 2^21 sums take 16 MB
FLIPS = 100_000  # drawn at random beyond
ORDERS = 10_000  # drawn, where ranks are compared


def mean_table(
    frame: pd.DataFrame,
    by: str | Sequence[str] | None = None,
    value: str = "value",
    unit: str = "partition",
    within: str | Sequence[str] = (),
    confidence: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Mean, SD and confidence interval over units, one row per group.

    With x_u the average within unit u of n: mean = Σ_u x_u / n, SD² = Σ_u (x_u − mean)² / (n − 1). The interval is the
    expanded percentile bootstrap (Hesterberg 2015, The American Statistician 69: 371–386): the quantiles a and 1 − a of the
    means of 10,000 resamples of n units with replacement, with a = Φ(√(n / (n − 1)) t) and t the quantile
    (1 − confidence) / 2 of Student's t with n − 1 degrees of freedom.

    Parameters
    ----------
    frame
        Tidy table, e.g. of scores.
    by
        Columns whose values make a group; None: all but unit, value and within. Missing values are a group like any other.
    value
        Column of numbers or truth values.
    unit
        Column of what was repeated independently.
    within
        Columns that are averaged over first, within the unit: with "subject", each subject counts alike whatever its size.
        Missing values among them are one group, so that scores of several metrics may be given whole.
    confidence
        Between 0 and 1.
    seed
        Of the resampling: an interval depends on the group's own numbers and the seed alone.

    Returns
    -------
    pandas.DataFrame
        The columns `by`, then mean, sd, low, high and n (units), groups in the order of their first rows. With a single unit
        sd is missing, with fewer than five low and high.

    Notes
    -----
    Of normal values, nominal 95 % intervals held the true mean in 91 % of cases with five units, 95 % with eight and 94 %
    with twenty; plain percentiles in 83, 90 and 92 % (docs/lab-notes.md). The widest that a bootstrap can give is the range
    of the units, which holds the mean of a symmetric distribution in 1 − 2^(1−n) of cases, 88 % with four: hence none there.

    Examples
    --------
    >>> scores = pd.DataFrame({"method": "MEGa", "partition": [0, 0, 1, 2], "value": [1, 0, 1, 1]})
    >>> mean_table(scores, "method").round(3).to_dict("records")
    [{'method': 'MEGa', 'mean': 0.833, 'sd': 0.289, 'low': nan, 'high': nan, 'n': 3}]
    """
    _check_confidence(confidence)
    within, made = _columns(within), ["mean", "sd", "low", "high", "n"]
    by = [name for name in frame.columns if name not in (unit, value, *within)] if by is None else _columns(by)
    _check_free(by, made)
    averages = unit_means(frame, by, value, unit, within)
    rows = []
    for group, part in averages.groupby(by, sort=False, dropna=False) if by else [((), averages)]:
        x = part[value].to_numpy()
        rows.append((*group, *_spread(x, confidence, seed), len(x)))
    return pd.DataFrame(rows, columns=[*by, *made])


def unit_means(
    frame: pd.DataFrame,
    by: str | Sequence[str],
    value: str = "value",
    unit: str = "partition",
    within: str | Sequence[str] = (),
) -> pd.DataFrame:
    """What `mean_table` takes its means over: one row per group and unit, with the columns `by`, unit and value.

    Groups are in the order of their first rows, and within each the units by number or letter. Parameters are those of
    `mean_table`; given this table, `mean_table` and `paired` say the same as given `frame`, without `within`.
    """
    by, within = _columns(by), _columns(within)
    used = [*by, unit, *within, value]
    check_columns("The table", used, frame.columns)
    if twice := [name for name in used if used.count(name) > 1]:
        raise MemsciError(f"The column {twice[0]!r} is named twice: by, within, unit and value are different columns.")
    if frame.empty:
        raise MemsciError("The table has no rows, so there is nothing to average.")
    values = pd.to_numeric(frame[value], errors="coerce").astype(float)
    if bad := int((~np.isfinite(values)).sum()):
        raise MemsciError(
            f"{bad} of {len(frame)} rows have no finite number in {value!r}. Leave those rows out on purpose, or measure "
            "what is missing."
        )
    if frame[unit].isna().any():
        raise MemsciError(f"Some rows have no {unit!r}, so it is unknown which repetition they belong to.")
    averages = frame[[*by, unit, *within]].assign(**{value: values})
    for keys in ([*by, unit, *within], [*by, unit]) if within else ([*by, unit],):
        averages = averages.groupby(keys, sort=False, dropna=False)[value].mean().reset_index()
    units = {one: place for place, one in enumerate(sorted(averages[unit].unique().tolist(), key=_natural))}
    if not by:
        return averages.sort_values(unit, key=lambda column: column.map(units), ignore_index=True)
    first = averages.groupby(by, sort=False, dropna=False).ngroup()
    order = np.lexsort([averages[unit].map(units), first])
    return averages.iloc[order].reset_index(drop=True)


def within_table(
    frame: pd.DataFrame,
    condition: str | Sequence[str] = "condition",
    value: str = "value",
    unit: str = "participant",
    confidence: float = 0.95,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> pd.DataFrame:
    """Mean of each condition with an interval for comparisons within units (Cousineau 2005, as Morey 2008 corrects it).

    From the average x_uc of each unit in each of k conditions its own level is taken away: y_uc = x_uc − x̄_u + x̄. The
    interval is the mean of y in a condition ± t · SD(y) · √(k / (k − 1)) / √n, with t of n − 1 degrees of freedom. It tells
    whether conditions differ in the same units, and nothing of how far units differ.

    Near an end of a bounded scale such an interval would reach beyond it, an aberration (Newcombe 1998, Statistics in
    Medicine 17: 857–872). With `bounds` it is cut there, the truncated interval of a bounded mean (Evans, Hansen and Stark
    2003, Berkeley statistics report 617); to do so within units is *ours*. No mean can lie beyond, so that which means an
    interval holds and which intervals overlap stays the same. Its length then tells less of the spread.

    Parameters
    ----------
    frame
        Tidy table in which every unit has every condition, e.g. scores of one metric.
    condition
        Column or columns whose values make a condition.
    value, unit, confidence
        As in `mean_table`.
    bounds
        Least and greatest value that there can be, (0, 1) of shares.

    Returns
    -------
    pandas.DataFrame
        The columns `condition`, then mean, sd (of x, between units), low, high and n (units), conditions in the order of
        their first rows.

    Examples
    --------
    >>> people = pd.DataFrame({"participant": [1, 1, 2, 2, 3, 3], "condition": ["near", "far"] * 3,
    ...                        "value": [5, 4, 9, 8, 2, 0]})
    >>> within_table(people).round(2).to_dict("records")[0]
    {'condition': 'near', 'mean': 5.33, 'sd': 3.51, 'low': 4.32, 'high': 6.35, 'n': 3}
    """
    _check_confidence(confidence)
    by = _columns(condition)
    _check_free(by, ["mean", "sd", "low", "high", "n"])
    averages = unit_means(frame, by, value, unit)
    if not averages[value].between(*bounds).all():
        raise MemsciError(f"Some values lie beyond the bounds {bounds}, so these do not bound them. Leave bounds out.")
    wide = averages.set_index([unit, *by])[value].unstack(by, sort=False)
    if (gaps := wide.isna()).any(axis=None):
        who = gaps.index[gaps.any(axis=1)].tolist()[0]
        raise MemsciError(
            f"{unit} {who!r} has no values in condition {gaps.columns[gaps.loc[who]][0]!r}: an interval within units needs "
            "every unit in every condition. For conditions between units, take mean_table."
        )
    n, k = wide.shape
    if k < 2:
        raise MemsciError(f"There is one condition only, {wide.columns[0]!r}: there is nothing to compare within units.")
    own = wide.sub(wide.mean(axis=1), axis=0) + wide.to_numpy().mean()
    error = own.std(ddof=1) * np.sqrt(k / (k - 1) / n) * stdtrit(n - 1, (1 + confidence) / 2) if n > 1 else np.nan
    means = wide.mean()
    low, high = ((means + sign * error).clip(*bounds) for sign in (-1, 1))
    made = pd.DataFrame({"mean": means, "sd": wide.std(ddof=1), "low": low, "high": high})
    return made.assign(n=n).reset_index().rename_axis(columns=None)


def paired(
    frame: pd.DataFrame,
    method: str,
    against: str,
    value: str = "value",
    unit: str = "partition",
    by: str | Sequence[str] = (),
    column: str = "method",
    within: str | Sequence[str] = (),
    confidence: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Difference between two methods on the same units, with its interval and an exact test, one row per group.

    d_u = x_u(method) − x_u(against). The test turns the sign of every d_u in all 2ⁿ ways: p is the share of them whose sum
    is as far from zero as the sum observed (two-sided; it assumes no more than that d is symmetric about zero if the
    methods are alike). Beyond 22 units 100,000 ways are drawn at random, and p = (1 + count) / (1 + drawn).

    Parameters
    ----------
    frame
        Tidy table in which both methods stand.
    method, against
        Two values of `column`.
    value, unit, within, confidence, seed
        As in `mean_table`.
    by
        Columns whose values make a group of their own; groups that have neither of the methods are left out.
    column
        The column in which methods are named.

    Returns
    -------
    pandas.DataFrame
        The columns `by`, then method, against, difference (mean of d), sd, low, high, p, wins (units with d > 0), losses
        (d < 0) and n. With fewer than five units low and high are missing. One unit has no test: sd and p are missing, and
        a warning tells so.
    """
    _check_confidence(confidence)
    by = _columns(by)
    made = ["method", "against", "difference", "sd", "low", "high", "p", "wins", "losses", "n"]
    _check_free(by, made)
    averages = unit_means(frame, [*by, column], value, unit, within)
    for name in (method, against):
        check_in(column, name, averages[column].unique().tolist())
    rows = []
    for group, part in averages.groupby(by, sort=False, dropna=False) if by else [((), averages)]:
        sides = [part.loc[part[column] == name].set_index(unit)[value] for name in (method, against)]
        if not len(sides[0]) and not len(sides[1]):
            continue
        if alone := sorted(set(sides[0].index) ^ set(sides[1].index), key=str):
            has = method if alone[0] in sides[0].index else against
            raise MemsciError(
                f"{method!r} and {against!r} must be measured on the same values of {unit!r}; only {has!r} has {alone[0]!r}"
                f"{f' (group {group})' if by else ''}. Measure both there, or leave those rows out."
            )
        d = (sides[0] - sides[1]).to_numpy()
        mean, sd, low, high = _spread(d, confidence, seed)
        p = sign_flip(d, seed) if len(d) > 1 else np.nan
        rows.append((*group, method, against, mean, sd, low, high, p, int((d > 0).sum()), int((d < 0).sum()), len(d)))
    if alone := sum(row[-1] == 1 for row in rows):
        what = "One" if len(rows) == 1 else f"{alone} of {len(rows)} differences"
        warnings.warn(
            f"{what} {'unit has' if len(rows) == 1 else 'rest on one unit, which has'} no test, so p is missing: the same "
            f"difference has to be seen on several values of {unit!r}. With n of them no p is below 2 / 2ⁿ, so take six or "
            "more.",
            stacklevel=2,
        )
    return pd.DataFrame(rows, columns=[*by, *made])


def share_interval(share: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share over n independent units (*not in the paper*).

    (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n), with z the normal quantile. Where each unit's value is itself a mean
    of several answers, right or wrong, it is too wide rather than too narrow: their variance is p(1 − p) at most.

    Examples
    --------
    >>> [round(end, 3) for end in share_interval(1.0, 50)]
    [0.929, 1.0]
    """
    _check_confidence(confidence)
    z = float(ndtri((1 + confidence) / 2))
    middle, half = share + z * z / (2 * n), z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    ends = [float(end / (1 + z * z / n)) for end in (middle - half, middle + half)]
    return (ends[0] if share > 0 else 0.0), (ends[1] if share < 1 else 1.0)


def sign_flip(differences: Sequence[float], seed: int = 0) -> float:
    """Two-sided p of the sign-flip permutation test of n paired differences; see `paired`.

    The smallest p that n differences can give is 2 / 2ⁿ.

    Examples
    --------
    >>> sign_flip([0.1, 0.2, 0.1, 0.3, 0.2])
    0.0625
    """
    d = np.asarray(differences, dtype=float)
    if d.ndim != 1 or not len(d) or not np.isfinite(d).all():
        raise MemsciError(f"At least one finite difference is needed to test; given: {d.tolist()}.")
    # Sums that are equal on paper may differ in the last bits.
    observed = abs(d.sum()) - 1e-12 * np.abs(d).sum()
    if len(d) <= EXACT_UNITS:
        sums = d[:1]  # its sign stays: turning all signs at once changes no distance from zero
        for value in d[1:]:
            sums = np.concatenate([sums + value, sums - value])
        return float((np.abs(sums) >= observed).mean())
    draw = np.random.default_rng(seed)
    count = sum(int((np.abs(draw.choice([-1.0, 1.0], (FLIPS // 100, len(d))) @ d) >= observed).sum()) for _ in range(100))
    return (1 + count) / (1 + FLIPS)


def rank_agreement(
    x: Sequence[float], y: Sequence[float], confidence: float = 0.95, seed: int = 0
) -> tuple[float, float, float, float]:
    """Spearman's ρ of two values of n units, its interval over units, and a permutation test: (ρ, low, high, p).

    p is the share of orders of y, drawn at random, whose ρ is as far from 0 (two-sided, (1 + count) / (1 + drawn)); the
    interval is Fisher's, of standard error √((1 + ρ²/2) / (n − 3)) (Bonett and Wright 2000). Where a side is constant there
    is no order to agree with: ρ is 0 and p 1, without an interval.

    Examples
    --------
    >>> rho, low, high, p = rank_agreement([1, 2, 3, 4, 5, 6], [10, 30, 20, 40, 50, 60])
    >>> round(rho, 3), round(p, 2)
    (0.943, 0.02)
    """
    x, y = (np.asarray(side, dtype=float) for side in (x, y))
    if x.shape != y.shape or x.ndim != 1 or not np.isfinite([*x, *y]).all():
        raise MemsciError(f"Two finite values of each unit are needed; given: {x.tolist()} and {y.tolist()}.")
    x, y = (rankdata(side) - (len(side) + 1) / 2 for side in (x, y))
    size = float(np.sqrt((x @ x) * (y @ y)))
    if not size:
        return 0.0, np.nan, np.nan, 1.0
    rho = float(np.clip((x @ y) / size, -1, 1))
    draw = np.random.default_rng(seed)
    orders = draw.permuted(np.tile(y, (ORDERS, 1)), axis=1)
    p = (1 + int((np.abs(orders @ x) >= abs(x @ y) - 1e-9 * size).sum())) / (1 + ORDERS)
    if len(x) < FEWEST_UNITS or abs(rho) == 1:
        return rho, np.nan, np.nan, p
    half = float(ndtri((1 + confidence) / 2)) * np.sqrt((1 + rho**2 / 2) / (len(x) - 3))
    low, high = np.tanh(np.arctanh(rho) + np.array([-half, half]))
    return rho, float(low), float(high), p


def holm(p: Sequence[float]) -> np.ndarray:
    """The p of each of m tests, adjusted so that all of them together err with the level chosen (Holm 1979), [m].

    In ascending order, p'_(k) = max_{j ≤ k} min(1, (m − j + 1) p_(j)).

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p, dtype=float)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(np.minimum(1, (len(p) - np.arange(len(p))) * p[order]))
    return adjusted


def _natural(value: object) -> tuple:
    """Numbers by size, before texts by letters."""
    return (0, value, "") if isinstance(value, int | float) else (1, 0, str(value))


def _spread(x: np.ndarray, confidence: float, seed: int) -> tuple[float, float, float, float]:
    """Mean, SD and bootstrap interval of one group's unit averages."""
    n = len(x)
    mean, sd = float(x.mean()), float(x.std(ddof=1)) if n > 1 else np.nan
    if n < FEWEST_UNITS:
        return mean, sd, np.nan, np.nan
    tail = float(ndtr(np.sqrt(n / (n - 1)) * stdtrit(n - 1, (1 - confidence) / 2)))
    low, high = np.quantile(x[_resamples(n, seed)].mean(axis=1), [tail, 1 - tail])
    return mean, sd, float(low), float(high)


@lru_cache(maxsize=8)
def _resamples(n: int, seed: int) -> np.ndarray:
    """Which units each resample holds, [10,000, n]; the same for all groups of one size."""
    return np.random.default_rng([seed, n]).integers(0, n, (RESAMPLES, n))


def _columns(names: str | Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _check_free(by: list[str], made: list[str]) -> None:
    if taken := [name for name in by if name in made]:
        raise MemsciError(f"A column to group by cannot be called {taken[0]!r}: the result has one of that name. Rename it.")


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise MemsciError(f"confidence must lie between 0 and 1; {confidence!r} was given.")
