"""A win rate at equal lengths by scikit-learn, for test/evaluate/statistics.test.ts. Run with scikit-learn and numpy."""

import json
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

PRIOR_VARIANCE = 25.0
random = np.random.default_rng(11)
count = 300
baseline = random.integers(20, 400, count)
candidate = np.maximum(1, baseline + random.normal(60, 90, count).round().astype(int))
difference = candidate - baseline
x = np.tanh(difference / difference.std())
won = random.random(count) < 1 / (1 + np.exp(0.6 - 1.8 * x))  # a judge who likes long replies, and the candidate less
points = np.where(random.random(count) < 0.1, 0.5, won.astype(float))

# The intercept is a column, so that the prior holds for it too. A tie is half a win and half a loss.
columns = np.column_stack([np.ones(count), x])
fit = LogisticRegression(C=PRIOR_VARIANCE, fit_intercept=False, tol=1e-12, max_iter=10_000)
fit.fit(np.vstack([columns, columns]), np.repeat([1, 0], count), sample_weight=np.concatenate([points, 1 - points]))
rate = fit.predict_proba(np.array([[1.0, 0.0]]))[0, 1]
result = {"candidate": candidate.tolist(), "baseline": baseline.tolist(), "points": points.tolist(), "raw": points.mean(), "rate": rate}
(Path(__file__).parent / "statistics" / "length_control.json").write_text(json.dumps(result))
print({key: result[key] for key in ("raw", "rate")})
