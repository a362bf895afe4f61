"""Statistics by scipy and numpy: intervals, tests, curves, for test/evaluate/statistics.test.ts. Run with scipy (requirements.txt)."""

import json
from pathlib import Path

import numpy as np
from scipy import optimize, special, stats

random = np.random.default_rng(7)
z = stats.norm.ppf(0.975)


def wilson(successes, total):
    interval = stats.binomtest(successes, total).proportion_ci(0.95, method="wilson")
    return {"successes": successes, "total": total, "low": interval.low, "high": interval.high}


def sign(wins, losses):
    return {"wins": wins, "losses": losses, "p": stats.binomtest(wins, wins + losses, 0.5).pvalue}


def curve(m, n, shift, rounded):
    rewards = np.concatenate([random.normal(shift, 1, m), random.normal(0, 1, n)])
    if rounded:
        rewards = np.round(rewards, 1)
    labels = [True] * m + [False] * n
    area = stats.mannwhitneyu(rewards[:m], rewards[m:]).statistic / (m * n)

    def statistic(t):
        extra = (m + n) / 2 - 1
        return t * (1 - t) * (1 + extra * ((1 - t) / (2 - t) + t / (1 + t))) / (m * n)

    def beyond(t):
        return abs(t - area) - z * np.sqrt(statistic(t))

    low = optimize.brentq(beyond, 1e-12, area - 1e-9)
    high = optimize.brentq(beyond, area + 1e-9, 1 - 1e-12) if area < 1 else 1
    return {"rewards": rewards.tolist(), "labels": labels, "area": area, "low": low, "high": high}


def bootstrap(values, method):
    interval = stats.bootstrap((values,), np.mean, n_resamples=100_000, method=method, random_state=1).confidence_interval
    return {"low": interval.low, "high": interval.high}


def logistic(count):
    x = np.tanh(random.normal(0, 1, count))
    y = (random.random(count) < special.expit(0.4 + 1.5 * x)).astype(float)
    y[::7] = 0.5

    def loss(w):
        eta = w[0] + w[1] * x
        return np.sum(np.logaddexp(0, eta) - y * eta) + np.sum(np.square(w)) / 50

    found = optimize.minimize(loss, np.zeros(2), method="BFGS", options={"gtol": 1e-10})
    return {"x": x.tolist(), "y": y.tolist(), "intercept": found.x[0], "slope": found.x[1]}


skewed = random.exponential(1, 60)
means = [random.normal(3, 2, n).tolist() for n in (2, 5, 12, 40)]
result = {
    "wilson": [wilson(*pair) for pair in [(0, 10), (1, 10), (5, 10), (81, 263), (29, 29), (300, 512)]],
    "sign": [sign(*pair) for pair in [(5, 5), (8, 2), (0, 12), (300, 212), (1000, 900), (40, 120)]],
    "curves": [curve(30, 40, 0.8, False), curve(25, 12, 0.5, True), curve(8, 9, 6, False)],
    "bootstrap": {"values": skewed.tolist(), "bca": bootstrap(skewed, "BCa"), "percentile": bootstrap(skewed, "percentile")},
    "logistic": logistic(200),
    "means": [
        {"values": v, "interval": list(stats.t.interval(0.95, len(v) - 1, np.mean(v), stats.sem(v)))} for v in means
    ],
    "normal": [{"x": x, "probability": stats.norm.cdf(x)} for x in (-4.0, -1.5, 0.0, 0.3, 2.7)],
}
folder = Path(__file__).parent / "statistics"
folder.mkdir(exist_ok=True)
(folder / "expected.json").write_text(json.dumps(result))
