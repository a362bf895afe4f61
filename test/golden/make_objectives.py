"""Writes objectives/: losses, rewards and gradients of TRL's and HALOs' own loss functions on given log-probabilities.

Needs the sources of HALOs, main (4831988) and legacy (61b9ee6) branches, and TRL 0.24 (for BCO, which TRL 1.16 has no longer), unpacked:

    HALOS=.../main HALOS_LEGACY=.../legacy TRL_OLD=.../trl-0.24 python make_objectives.py

The peers' trainers are not constructed: their loss methods are called on objects that hold what these methods read of a trainer, with a model that
returns the given log-probabilities. So what is computed is their code's, and how rows reach it is ours.
"""

import ast
import json
import math
import os
import sys
import types
from pathlib import Path
from unittest.mock import MagicMock

import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence
from trl import DPOTrainer, KTOTrainer
from trl.experimental.cpo import CPOTrainer
from trl.experimental.orpo import ORPOTrainer

FOLDER = Path(__file__).parent / "objectives"
# Pairs side by side: rows 0 and 1, 2 and 3, ... are the chosen and the rejected completion of a prompt.
LENGTHS = (5, 3, 1, 4, 7, 2, 3, 6)
LABELS = (True, False) * 4
MISMATCHED_LENGTHS = (3, 1, 4, 7, 2, 3, 6, 5)
CHOSEN, REJECTED = [0, 2, 4, 6], [1, 3, 5, 7]


def random_rows(lengths: tuple[int, ...], generator: torch.Generator, spread: float) -> tuple[list, list]:
    """Log-probabilities of tokens under policy and reference; some of their differences lie outside of humanline's clamp."""
    policy, reference = [], []
    for length in lengths:
        base = -0.05 - 3 * torch.rand(length, generator=generator)
        change = spread * torch.randn(length, generator=generator)
        policy.append(base.float())
        reference.append((base + change).clamp(max=-0.01).float())
    return policy, reference


def main() -> None:
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(11)
    policy, reference = random_rows(LENGTHS, generator, 1.2)
    mismatched_policy, mismatched_reference = random_rows(MISMATCHED_LENGTHS, generator, 0.7)
    mismatched_reference = [tokens - 0.05 for tokens in mismatched_reference]  # so that their mean log-ratio is above 0

    rows = Rows(policy, reference, mismatched_policy, mismatched_reference)
    FOLDER.mkdir(exist_ok=True)
    as_lists = lambda tensors: [tensor.tolist() for tensor in tensors]
    inputs = {
        "labels": LABELS,
        "policy": as_lists(policy),
        "reference": as_lists(reference),
        "mismatched_policy": as_lists(mismatched_policy),
        "mismatched_reference": as_lists(mismatched_reference),
        "values": as_lists(rows.values),
    }
    (FOLDER / "inputs.json").write_text(json.dumps(inputs) + "\n")
    cases = [*trl_cases(rows), *halos_cases(rows), *legacy_cases(rows)]
    (FOLDER / "value-head.json").write_text(json.dumps(halos_value_head()) + "\n")
    (FOLDER / "expected.json").write_text(json.dumps(cases, indent=None).replace('{"name"', '\n{"name"') + "\n")
    print(f"{len(cases)} cases:", ", ".join(case["name"] for case in cases))


class Rows:
    """The rows as leaves, padded with zeros as the peers pad them."""

    def __init__(self, policy, reference, mismatched_policy, mismatched_reference):
        self.tokens = policy
        self.reference = pad_sequence(reference, batch_first=True)
        self.mismatched_policy = pad_sequence(mismatched_policy, batch_first=True)
        self.mismatched_reference = pad_sequence(mismatched_reference, batch_first=True)
        self.mask = pad_sequence([torch.ones(len(tokens)) for tokens in policy], batch_first=True)
        self.mismatched_mask = pad_sequence([torch.ones(n) for n in MISMATCHED_LENGTHS], batch_first=True)
        self.lengths = self.mask.sum(-1)
        generator = torch.Generator().manual_seed(12)
        self.values = [0.5 * torch.randn(n, generator=generator) for n in LENGTHS]

    def fresh(self) -> tuple[list[torch.Tensor], torch.Tensor]:
        leaves = [tokens.clone().requires_grad_(True) for tokens in self.tokens]
        return leaves, pad_sequence(leaves, batch_first=True)


def case(name, peer, options, leaves, loss, losses=None, rewards=None, z0=None, **more) -> dict:
    """`losses`: by row or pair; `rewards`: by row, as our implicit reward has them."""
    loss.backward()
    found = {"name": name, "peer": peer, "options": options, "loss": loss.item()}
    if losses is not None:
        found["losses"] = losses.detach().tolist()
    if rewards is not None:
        found["rewards"] = rewards.detach().tolist()
    if z0 is not None:
        found["z0"] = float(z0)
    found["gradients"] = [(leaf.grad if leaf.grad is not None else torch.zeros_like(leaf)).tolist() for leaf in leaves]
    return found | more


def in_row_order(chosen: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
    result = torch.empty(len(LABELS), dtype=chosen.dtype)
    result[CHOSEN] = chosen.detach()
    result[REJECTED] = rejected.detach()
    return result


class Stub:
    """Stands for a trainer: what its loss method reads is set, everything else answers anything."""

    def __init__(self, cls, **fields):
        self.__dict__["cls"] = cls
        self.__dict__.update(fields)

    def __getattr__(self, name):
        attribute = getattr(self.cls, name, None)
        if isinstance(attribute, types.FunctionType):
            raw = self.cls.__dict__.get(name)
            return attribute if isinstance(raw, staticmethod) else types.MethodType(attribute, self)
        return MagicMock()


class SameTensors:
    """An accelerator of one process."""

    device = torch.device("cpu")
    num_processes = 1

    def gather_for_metrics(self, value):
        return value if isinstance(value, torch.Tensor) else torch.as_tensor(value)

    gather = gather_for_metrics

    def reduce(self, value, reduction="sum"):
        return value

    def unwrap_model(self, model):
        return model


def trl_outputs(logps: torch.Tensor):
    zeros = torch.zeros_like(logps)
    return types.SimpleNamespace(log_probs=logps, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool(), log_sum_sq_probs=zeros)


# TRL 1.16 -----------------------------------------------------------------------------------------------------------------------------


def trl_cases(rows: Rows) -> list[dict]:
    cases = [
        trl_dpo(rows, "dpo", "sigmoid", {"type": "dpo", "beta": 0.3}),
        trl_dpo(rows, "robust-dpo", "robust", {"type": "robust-dpo", "beta": 0.3, "labelSmoothing": 0.2}),
        trl_dpo(rows, "ipo", "ipo", {"type": "ipo", "beta": 0.2}),
        trl_dpo(rows, "apo-zero", "apo_zero", {"type": "apo-zero", "beta": 0.3}),
        trl_apo_unpaired(rows, {"type": "apo-zero-unpaired", "beta": 0.3, "desirableWeight": 1.3, "undesirableWeight": 0.6}),
        trl_simpo(rows, {"type": "simpo", "beta": 2.0, "gammaBetaRatio": 0.25}),
        trl_slic_hinge(rows, {"type": "slic", "margin": 1.0, "sftWeight": 0.0}),
        trl_orpo(rows, {"type": "orpo", "oddsRatioWeight": 0.3}),
        trl_bco(rows, {"type": "bco", "beta": 0.3}),
    ]
    return cases


def trl_dpo(rows: Rows, name: str, loss_type: str, options: dict) -> dict:
    """DPOTrainer._compute_loss; its loss of single pairs by batches of one."""

    def run(pairs: list[int]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        leaves, padded = rows.fresh()
        order = [CHOSEN[i] for i in pairs] + [REJECTED[i] for i in pairs]
        mask = rows.mask[order]
        completion_mask = F.pad(mask, (1, 0))
        sums = rows.reference[order].sum(-1)
        trainer = Stub(
            DPOTrainer, beta=options["beta"], label_smoothing=options.get("labelSmoothing", 0.0), loss_types=[loss_type], loss_weights=[1.0],
            f_divergence_type="reverse_kl", ld_alpha=None, precompute_ref_logps=True, use_weighting=False, aux_loss_enabled=False,
            accelerator=SameTensors(), _metrics={"train": MagicMock(), "eval": MagicMock()}, model=types.SimpleNamespace(training=True),
            _total_train_tokens=0, _tp_size=1, args=types.SimpleNamespace(discopop_tau=0.05, gradient_checkpointing_kwargs=None),
        )
        half = len(pairs)
        inputs = {
            "input_ids": torch.zeros(completion_mask.shape, dtype=torch.long), "attention_mask": torch.ones_like(completion_mask),
            "completion_mask": completion_mask, "ref_chosen_logps": sums[:half], "ref_rejected_logps": sums[half:],
        }
        model = lambda **_: trl_outputs(padded[order])
        model.training = True
        loss = DPOTrainer._compute_loss(trainer, model, inputs, False)
        return loss, leaves

    losses = torch.stack([run([i])[0].detach() for i in range(4)])
    loss, leaves = run([0, 1, 2, 3])
    ratios = (torch.stack([tokens.sum() for tokens in leaves]) - rows.reference.sum(-1)).detach()
    rewards = options["beta"] * (ratios / rows.lengths if name == "ipo" else ratios)
    return case(name, "TRL 1.16", options, leaves, loss, losses, rewards)


def trl_apo_unpaired(rows: Rows, options: dict) -> dict:
    leaves, padded = rows.fresh()
    completion_mask = F.pad(rows.mask, (1, 0))
    trainer = Stub(
        KTOTrainer, beta=options["beta"], loss_type="apo_zero_unpaired", calculate_KL=False, precompute_ref_logps=True,
        desirable_weight=options["desirableWeight"], undesirable_weight=options["undesirableWeight"], aux_loss_enabled=False,
        accelerator=SameTensors(), _metrics={"train": MagicMock(), "eval": MagicMock()}, model=types.SimpleNamespace(training=True),
        _total_train_tokens=0, _tp_size=1,
    )
    inputs = {
        "input_ids": torch.zeros(completion_mask.shape, dtype=torch.long), "attention_mask": torch.ones_like(completion_mask),
        "completion_mask": completion_mask, "label": torch.tensor(LABELS), "ref_logps": rows.reference.sum(-1),
    }
    model = lambda **_: trl_outputs(padded)
    model.training = True
    loss = KTOTrainer._compute_loss(trainer, model, inputs, False)
    ratios = torch.stack([tokens.sum() for tokens in leaves]).detach() - rows.reference.sum(-1)
    return case("apo-zero-unpaired", "TRL 1.16", options, leaves, loss, None, options["beta"] * ratios)


def cpo(loss_type: str, beta: float, **more) -> Stub:
    return Stub(CPOTrainer, beta=beta, loss_type=loss_type, label_smoothing=0.0, alpha=0.0, accelerator=SameTensors(), **more)


def trl_simpo(rows: Rows, options: dict) -> dict:
    leaves, padded = rows.fresh()
    means = padded.sum(-1) / rows.lengths
    trainer = cpo("simpo", options["beta"], simpo_gamma=options["beta"] * options["gammaBetaRatio"])
    losses, chosen, rejected = CPOTrainer.cpo_loss(trainer, means[CHOSEN], means[REJECTED])
    return case("simpo", "TRL 1.16", options, leaves, losses.mean(), losses, in_row_order(chosen, rejected))


def trl_slic_hinge(rows: Rows, options: dict) -> dict:
    """CPO's hinge is SLiC's with margin 1 at beta = 1."""
    leaves, padded = rows.fresh()
    sums = padded.sum(-1)
    losses, chosen, rejected = CPOTrainer.cpo_loss(cpo("hinge", 1.0), sums[CHOSEN], sums[REJECTED])
    return case("slic-hinge", "TRL 1.16", options, leaves, losses.mean(), losses, in_row_order(chosen, rejected))


def trl_orpo(rows: Rows, options: dict) -> dict:
    """ORPOTrainer.odds_ratio_loss, and the mean of the chosen completions' mean negative log-likelihoods, as the paper has it; `batch_nll`: that of all their tokens."""
    leaves, padded = rows.fresh()
    means = padded.sum(-1) / rows.lengths
    trainer = Stub(ORPOTrainer, beta=options["oddsRatioWeight"], accelerator=SameTensors())
    losses, chosen, rejected, *_ = ORPOTrainer.odds_ratio_loss(trainer, means[CHOSEN], means[REJECTED])
    per_pair = -means[CHOSEN] - losses
    batch_nll = -(padded[CHOSEN].sum() / rows.lengths[CHOSEN].sum()).item()
    found = case("orpo", "TRL 1.16", options, leaves, per_pair.mean(), per_pair, in_row_order(chosen, rejected))
    return found | {"batch_nll": batch_nll}


def trl_bco(rows: Rows, options: dict) -> dict:
    """BCOTrainer.bco_loss of TRL 0.24, with the running mean as two batches left it; it takes this batch in before it uses it (`delta_after`)."""
    bco = class_of(Path(os.environ["TRL_OLD"]) / "trl/trainer/bco_trainer.py", "BCOTrainer", ["bco_loss"])
    leaves, padded = rows.fresh()
    sums, reference = padded.sum(-1), rows.reference.sum(-1)
    running = RunningMean([0.3, -0.2, 0.5, 0.1, 0.0, 0.7, -0.4, 0.2])
    trainer = Stub(bco, beta=options["beta"], running=running, match_underlying_distribution=False)
    before = running.mean
    losses, chosen, rejected, delta = bco.bco_loss(
        trainer, sums[CHOSEN], sums[REJECTED], reference[CHOSEN], reference[REJECTED], None, None, do_train=False
    )
    ordered = in_row_order(losses[:4], losses[4:])
    found = case("bco", "TRL 0.24", options, leaves, losses.mean(), ordered, in_row_order(chosen, rejected), z0=delta / options["beta"])
    assert math.isclose(float(delta), before, rel_tol=1e-6)
    running.update(torch.cat((chosen, rejected)).detach())
    return found | {"running_before": [0.3, -0.2, 0.5, 0.1, 0.0, 0.7, -0.4, 0.2], "delta_after": running.mean}


class RunningMean:
    def __init__(self, values: list[float]):
        self.values = values

    def update(self, values: torch.Tensor) -> None:
        self.values = [*self.values, *values.tolist()]

    @property
    def mean(self) -> float:
        return math.fsum(self.values) / len(self.values)


def class_of(file: Path, name: str, methods: list[str]):
    """A class of a source file with some of its methods only, for files whose imports this environment lacks."""
    tree = ast.parse(file.read_text())
    node = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    node.bases, node.decorator_list, node.keywords = [], [], []
    node.body = [part for part in node.body if isinstance(part, ast.FunctionDef) and part.name in methods]
    scope = {"torch": torch, "F": F, "nn": torch.nn}
    exec("from typing import *\n" + ast.unparse(node), scope)
    return scope[name]


# HALOs, main branch -------------------------------------------------------------------------------------------------------------------


def halos_module(path: Path, name: str, package: str | None):
    """A module of trainers. Of what it imports, its own utilities are loaded, but for those that import more; the rest is not needed here."""
    for missing in ("wandb", "omegaconf", "models", "dataloader"):
        if missing not in sys.modules:
            sys.modules[missing] = MagicMock()
    prefix = f"{package}." if package else ""
    if package:
        sys.modules[package] = types.ModuleType(package)
        sys.modules[package].__path__ = []
        sys.modules.update({f"{package}.{part}": MagicMock() for part in ("models", "dataloader")})
    utils = MagicMock()
    for function in ("masked_mean", "masked_var", "entropy_from_logits", "rowwise_product", "delete_dicts"):
        setattr(utils, function, function_of(path.parent / "utils.py", function))
    sys.modules[f"{prefix}utils"] = utils
    return load_source(path, f"{prefix}{name}")


def function_of(file: Path, name: str):
    tree = ast.parse(file.read_text())
    tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    scope = {"torch": torch, "F": F}
    exec("from __future__ import annotations\n" + ast.unparse(tree), scope)
    return scope.get(name)


def load_source(file: Path, name: str):
    """A module from its source, whose annotations of types that are not installed are left unevaluated."""
    module = types.ModuleType(name)
    module.__package__ = name.rpartition(".")[0]
    sys.modules[name] = module
    text = "from __future__ import annotations\n" + file.read_text()
    exec(compile(text, str(file), "exec"), module.__dict__)
    return module


def halos_trainer(cls, options: dict, humanline: bool = False, **loss):
    config = types.SimpleNamespace(
        humanline=humanline, log_epsilon_P=options.get("humanlineLow", -1.0), log_epsilon_R=options.get("humanlineHigh", 1.5), loss=types.SimpleNamespace(**loss)
    )
    return Stub(cls, config=config, accelerator=SameTensors(), policy_dtype=torch.float32)


def halos_cases(rows: Rows) -> list[dict]:
    trainers = halos_module(Path(os.environ["HALOS"]) / "train/trainers.py", "trainers", "halos_main")
    cases = []
    for humanline in (False, True):
        more = {"humanline": True} if humanline else {}
        suffix = "-humanline" if humanline else ""
        cases += [
            halos_pairs(rows, f"dpo{suffix}", trainers.DPOTrainer, {"type": "dpo", "beta": 0.1, **more}, beta=0.1),
            halos_pairs(rows, f"cdpo{suffix}", trainers.CDPOTrainer, {"type": "cdpo", "beta": 0.1, "labelSmoothing": 0.2, **more}, beta=0.1, epsilon=0.2),
            halos_pairs(rows, f"ipo{suffix}", trainers.IPOTrainer, {"type": "ipo", "beta": 0.1, **more}, tau=0.1),
            halos_pairs(rows, f"simpo{suffix}", trainers.SimPOTrainer, {"type": "simpo", "beta": 10, "gammaBetaRatio": 0.3, **more}, beta=10.0, gamma_beta_ratio=0.3),
            halos_slic(rows, f"slic{suffix}", trainers.SLiCTrainer, {"type": "slic", "margin": 1, "sftWeight": 0.1, **more}),
            halos_kto(rows, f"kto{suffix}", trainers.KTOTrainer, {"type": "kto", "beta": 0.1, "desirableWeight": 1.0, "undesirableWeight": 1.5, **more}),
            halos_ppo(rows, f"ppo{suffix}", trainers.PPOTrainer, {"type": "ppo", "clipRange": 0.5, "klCoefficient": 0.1, **more}),
            halos_ppo_value(rows, f"ppo-value{suffix}", trainers.PPOTrainer, {"type": "ppo-value", "clipRange": 0.5, "klCoefficient": 0.1, "discount": 0.99, "advantageDecay": 0.95, "criticCoefficient": 0.01, **more}),
            halos_ppo_value(rows, f"ppo-value-far{suffix}", trainers.PPOTrainer, {"type": "ppo-value", "clipRange": 0.2, "klCoefficient": 0.05, "discount": 0.7, "advantageDecay": 0.4, "criticCoefficient": 0.8, **more}),
        ]
    return [*cases, halos_csft(rows, trainers.SFTTrainer)]


def halos_pairs(rows: Rows, name: str, cls, options: dict, **loss) -> dict:
    leaves, padded = rows.fresh()
    trainer = halos_trainer(cls, options, options.get("humanline", False), **loss)
    losses, chosen, rejected, *_ = cls.loss(trainer, {}, padded[CHOSEN], padded[REJECTED], rows.reference[CHOSEN], rows.reference[REJECTED])
    rewards = in_row_order(chosen, rejected)
    # HALOs reports r for IPO and SimPO, and beta r for the others.
    if options["type"] in ("ipo", "simpo"):
        rewards = rewards * options["beta"]
    return case(name, "HALOs", options, leaves, losses.mean(), losses, rewards)


def halos_slic(rows: Rows, name: str, cls, options: dict) -> dict:
    """HALOs' SLiC regularises token by token: its reg_loss is [pairs, tokens], which is added to every pair's hinge by broadcasting where the numbers of
    pairs and tokens allow. Here pairs are given to it one at a time, and its losses [1, tokens] are summed as `lambda` times tokens are and the
    hinge is counted once."""
    leaves, padded = rows.fresh()
    trainer = halos_trainer(cls, options, options.get("humanline", False), beta=options["margin"], lambda_coef=options["sftWeight"])
    losses, rewards = [], torch.empty(8)
    for chosen, rejected in zip(CHOSEN, REJECTED):
        both, *_ = cls.loss(trainer, {}, padded[[chosen]], padded[[rejected]])
        without, chosen_reward, rejected_reward, *_ = cls.loss(halos_trainer(cls, options, options.get("humanline", False), beta=options["margin"], lambda_coef=0.0), {}, padded[[chosen]], padded[[rejected]])
        hinge = without.flatten()[0]
        losses.append(hinge + (both - without).sum())
        rewards[chosen], rewards[rejected] = chosen_reward.item(), rejected_reward.item()
    losses = torch.stack(losses)
    return case(name, "HALOs", options, leaves, losses.mean(), losses, rewards)


def halos_kto(rows: Rows, name: str, cls, options: dict) -> dict:
    leaves, padded = rows.fresh()
    loss = {"beta": options["beta"], "desirable_weight": options["desirableWeight"], "undesirable_weight": options["undesirableWeight"]}
    trainer = halos_trainer(cls, options, options.get("humanline", False), **loss)
    losses, chosen, rejected, kl, *_ = cls.loss(
        trainer, {}, padded[CHOSEN], padded[REJECTED], rows.mismatched_policy, rows.reference[CHOSEN], rows.reference[REJECTED], rows.mismatched_reference
    )
    ordered = in_row_order(losses[:4], losses[4:])
    return case(name, "HALOs", options, leaves, losses.mean(), ordered, options["beta"] * in_row_order(chosen, rejected), kl)


def halos_ppo(rows: Rows, name: str, cls, options: dict) -> dict:
    """PPOTrainer.loss with advantages +1 and -1 and a critic without weight. Its penalty is log rho; the coefficient is negative, since ours is -log rho."""
    leaves, padded = rows.fresh()
    advantages = torch.tensor([1.0 if label else -1.0 for label in LABELS]).unsqueeze(1) * rows.mask
    trainer = halos_trainer(cls, options, options.get("humanline", False), cliprange=options["clipRange"], critic_coef=0.0, KL_coef=-options["klCoefficient"])
    zeros = torch.zeros_like(padded)
    batch = {"discounted_future_rewards": zeros, "masks": rows.mask, "logprobs": rows.reference, "advantages": advantages}
    episode = {"values": zeros, "logprobs": padded, "logits": torch.zeros(*padded.shape, 3)}
    loss, stats = cls.loss(trainer, batch, episode)
    return case(name, "HALOs", options, leaves, loss)


def halos_ppo_value(rows: Rows, name: str, cls, options: dict) -> dict:
    """PPOTrainer.compute_advantages and .loss, on given values of the states; the rewards are those of its get_global_batch_dict. The prompt's positions are
    left out, as its masks do; the sign of the penalty as above."""
    leaves, padded = rows.fresh()
    value_leaves = [values.clone().requires_grad_(True) for values in rows.values]
    values = pad_sequence(value_leaves, batch_first=True)
    trainer = halos_trainer(
        cls, options, options.get("humanline", False), cliprange=options["clipRange"], critic_coef=options["criticCoefficient"],
        KL_coef=-options["klCoefficient"], gamma=options["discount"], lam=options["advantageDecay"],
    )
    rewards = torch.zeros_like(rows.mask)
    for row, label in enumerate(LABELS):
        rewards[row, rows.mask[row].nonzero()[-1]] += 1 if label else -1
    advantages, _, returns = cls.compute_advantages(trainer, values.detach(), rewards, rows.mask)
    batch = {"discounted_future_rewards": returns, "masks": rows.mask, "logprobs": rows.reference, "advantages": advantages}
    episode = {"values": values, "logprobs": padded, "logits": torch.zeros(*padded.shape, 3)}
    loss, _ = cls.loss(trainer, batch, episode)
    cut = lambda padded: [tokens[:length].tolist() for tokens, length in zip(padded, LENGTHS)]
    found = case(name, "HALOs", options, leaves, loss, advantages=cut(advantages), returns=cut(returns))
    return found | {"value_gradients": [leaf.grad.tolist() for leaf in value_leaves]}


def halos_value_head() -> dict:
    """ValueHead of HALOs without its dropout: values of some states, and the gradients of the sum of their squares."""
    file = Path(os.environ["HALOS"]) / "train/models.py"
    tree = ast.parse(file.read_text())
    tree.body = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "ValueHead"]
    scope = {"nn": torch.nn, "torch": torch}
    exec(ast.unparse(tree), scope)
    torch.manual_seed(13)
    head = scope["ValueHead"](types.SimpleNamespace(hidden_size=6), summary_dropout_prob=0.0)
    states = torch.randn(5, 6).requires_grad_(True)
    values = head(states).squeeze(-1)
    (values**2).sum().backward()
    assert states.grad is None
    of = lambda read: {name: read(parameter).tolist() for name, parameter in head.named_parameters()}
    return {"states": states.tolist(), "values": values.tolist(), "parameters": of(lambda p: p), "gradients": of(lambda p: p.grad)}


def halos_csft(rows: Rows, cls) -> dict:
    """CSFT in HALOs is its SFTTrainer on completions that begin with a control token; its loss is the mean of rows' sums."""
    leaves, padded = rows.fresh()
    trainer = halos_trainer(cls, {})
    trainer.__dict__["policy"] = lambda *_, **__: types.SimpleNamespace(logits=torch.zeros(1))
    trainer.__dict__["get_batch_logps"] = lambda *_: padded
    accelerator = SameTensors()
    from contextlib import nullcontext

    accelerator.autocast = nullcontext
    trainer.__dict__["accelerator"] = accelerator
    batch = MagicMock()
    loss, metrics = cls.get_batch_metrics(trainer, batch)
    return case("csft", "HALOs", {"type": "csft"}, leaves, loss)


# HALOs, legacy branch -----------------------------------------------------------------------------------------------------------------


def legacy_cases(rows: Rows) -> list[dict]:
    trainers = halos_module(Path(os.environ["HALOS_LEGACY"]) / "trainers.py", "legacy_trainers", None)
    trainers.dist = types.SimpleNamespace(nn=types.SimpleNamespace(all_reduce=lambda tensor, op: tensor), ReduceOp=types.SimpleNamespace(SUM=None))
    beta = {"beta": 0.1}
    kto = {"type": "kto", **beta}
    cases = []

    def trainer(cls, **loss):
        return Stub(cls, config=types.SimpleNamespace(loss=types.SimpleNamespace(**loss)), world_size=1, rank=0, policy_dtype=torch.float32, device="cpu")

    weights = {"desirable_weight": 1.2, "undesirable_weight": 0.8}
    ours = {"desirableWeight": 1.2, "undesirableWeight": 0.8}
    reference = rows.reference.sum(-1)
    mismatched = (rows.mismatched_policy.sum(-1), rows.mismatched_reference.sum(-1))

    leaves, padded = rows.fresh()
    sums = padded.sum(-1)
    losses, chosen, rejected = trainers.KTOZeroTrainer.loss(
        trainer(trainers.KTOZeroTrainer, **beta), sums[CHOSEN], sums[REJECTED], reference[CHOSEN], reference[REJECTED]
    )
    cases.append(case("kto-zero", "HALOs legacy", {**kto, "referencePoint": "none"}, leaves, losses.mean(), in_row_order(losses[:4], losses[4:]), in_row_order(chosen, rejected)))

    leaves, padded = rows.fresh()
    sums = padded.sum(-1)
    losses, chosen, rejected, kl = trainers.KTOLogSigmoidTrainer.loss(
        trainer(trainers.KTOLogSigmoidTrainer, **beta, **weights), sums[CHOSEN], sums[REJECTED], mismatched[0], reference[CHOSEN], reference[REJECTED], mismatched[1]
    )
    cases.append(case("kto-logsigmoid", "HALOs legacy", {**kto, **ours, "valueFunction": "log-sigmoid"}, leaves, losses.mean(), in_row_order(losses[:4], losses[4:]), in_row_order(chosen, rejected), kl))

    leaves, padded = rows.fresh()
    means = padded.sum(-1) / rows.lengths
    mean_mismatched = mismatched[0] / rows.mismatched_mask.sum(-1)
    losses, chosen, rejected = trainers.KTOSurprisalTrainer.loss(
        trainer(trainers.KTOSurprisalTrainer, **beta, **weights), means[CHOSEN], means[REJECTED], mean_mismatched
    )
    cases.append(case("kto-surprisal", "HALOs legacy", {**kto, **ours, "referenceFree": True}, leaves, losses.mean(), in_row_order(losses[:4], losses[4:]), in_row_order(chosen, rejected), mean_mismatched.mean()))

    leaves, padded = rows.fresh()
    sums = padded.sum(-1)
    losses, chosen, rejected = trainers.SLiCTrainer.loss(trainer(trainers.SLiCTrainer, beta=1.0, lambda_coef=0.1), sums[CHOSEN], sums[REJECTED])
    cases.append(case("slic-legacy", "HALOs legacy", {"type": "slic", "margin": 1, "sftWeight": 0.1}, leaves, losses.mean(), losses, in_row_order(chosen, rejected)))

    leaves, padded = rows.fresh()
    means = padded.sum(-1) / rows.lengths
    losses, chosen, rejected = trainers.ORPOTrainer.loss(trainer(trainers.ORPOTrainer, OR_scale=0.25), means[CHOSEN], means[REJECTED])
    cases.append(case("orpo-legacy", "HALOs legacy", {"type": "orpo", "oddsRatioWeight": 0.25}, leaves, losses.mean(), losses))
    return cases


if __name__ == "__main__":
    main()
