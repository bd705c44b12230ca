"""Makes data_metrics.json: figures of scikit-learn, scipy for squeeze-data's metrics.

    python data_metrics.py > data_metrics.json        # scikit-learn, scipy, numpy
"""

import json

import numpy as np
from scipy.stats import binomtest, pearsonr, spearmanr
from sklearn import metrics

draw = np.random.default_rng(1)
cases = []
for classes, n in ((2, 60), (5, 80)):
    right = draw.integers(0, classes, n)
    answers = np.where(draw.random(n) < 0.7, right, draw.integers(0, classes, n))
    scores = draw.standard_normal((n, classes)).astype(np.float32)
    ranks = (scores > scores[np.arange(n), right][:, None]).sum(1)
    cases.append(dict(
        answers=answers.tolist(), right=right.tolist(), scores=scores.ravel().tolist(), top2=float((ranks < 2).mean()),
        accuracy=metrics.accuracy_score(right, answers),
        f1=metrics.f1_score(right, answers, average="binary" if classes == 2 else "macro"),
        matthews=metrics.matthews_corrcoef(right, answers),
        mean_iou=metrics.jaccard_score(right, answers, average="macro"),
    ))
wilson = []
for correct, n in ((980, 1000), (5, 5), (0, 7), (2530, 3080)):
    ci = binomtest(correct, n).proportion_ci(0.95, method="wilson")
    wilson.append((correct, n, ci.low, ci.high))
values = []
a = draw.standard_normal(50).astype(np.float32)
b = (a + draw.standard_normal(50)).astype(np.float32)
for x, y in ((a, b), (np.round(a), np.round(b))):
    x, y = x.astype(np.float32), y.astype(np.float32)
    values.append((x.tolist(), y.tolist(), pearsonr(x.astype(float), y.astype(float))[0], spearmanr(x, y)[0]))
print(json.dumps(dict(cases=cases, wilson=wilson, values=values)))
