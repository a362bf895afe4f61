"""Writes objectives/density-ratio.json: scikit-learn's classifier as TRL 0.24's BCOTrainer fits it, and the weights that the trainer makes of it.

Needs scikit-learn 1.9.1 beside requirements.txt, and TRL 0.24 unpacked:

    TRL_OLD=.../trl-0.24 python make_density.py
"""

import ast
import json
import os
import types
from pathlib import Path

import torch
from sklearn.linear_model import LogisticRegression

FOLDER = Path(__file__).parent / "objectives"


def trl_weights(clf: LogisticRegression, embeddings: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """BCOTrainer._get_udm_weight and ._get_chosen_prob, in one process."""
    tree = ast.parse((Path(os.environ["TRL_OLD"]) / "trl/trainer/bco_trainer.py").read_text())
    node = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "BCOTrainer")
    node.bases, node.decorator_list, node.keywords = [], [], []
    node.body = [part for part in node.body if isinstance(part, ast.FunctionDef) and part.name in ("_get_udm_weight", "_get_chosen_prob")]
    scope = {"torch": torch}
    exec("from __future__ import annotations\n" + ast.unparse(node), scope)
    trainer = scope["BCOTrainer"]()
    same = lambda value, **_: value
    trainer.accelerator = types.SimpleNamespace(process_index=0, pad_across_processes=same, gather=same, reduce=same)
    trainer.embedding_tokenizer = types.SimpleNamespace(pad_token_id=0)
    trainer.clf = clf
    trainer.args = types.SimpleNamespace(min_density_ratio=low, max_density_ratio=high)
    return trainer._get_udm_weight(embeddings)


def main() -> None:
    torch.manual_seed(21)
    labels = [i % 3 == 0 for i in range(60)]
    shift = torch.tensor([0.8, -0.5, 0.0, 0.3, 0.0])
    embeddings = torch.stack([torch.randn(5) + (shift if label else 0) for label in labels])
    clf = LogisticRegression(class_weight="balanced", tol=1e-10, max_iter=10_000).fit(embeddings.double().numpy(), labels)
    found = {
        "labels": labels,
        "embeddings": embeddings.tolist(),
        "weights": clf.coef_[0].tolist(),
        "bias": clf.intercept_[0].item(),
        "shares": clf.predict_proba(embeddings.double().numpy())[:, 1].tolist(),
        "ratios": trl_weights(clf, embeddings, 0.5, 3.0).tolist(),
    }
    (FOLDER / "density-ratio.json").write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
