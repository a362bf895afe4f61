import { z } from 'zod'
import { numberOr } from '../options/option.ts'

const row = <T extends z.ZodType>(flag: string, description: string, schema: T) => ({ flag, description, schema })

const positive = () => z.number().positive()
const notNegative = () => z.number().min(0)
const share = () => z.number().min(0).max(1)

/**
 * Hyperparameters of all objectives: flag, description, type. None has a default in its schema, since that depends on the objective:
 * `commonDefaults`, unless the objective has its own.
 */
export const hyperparameters = {
  beta: row(
    '--beta <number>',
    'How strongly the policy is held to the reference: higher, closer (IPO: tau; SimPO: temperature)',
    positive(),
  ),
  desirableWeight: row(
    '--desirable-weight <number>',
    'Weight of thumbs-up rows, lambda_D; auto: balances the kinds as the KTO paper advises',
    numberOr(notNegative(), 'auto'),
  ),
  undesirableWeight: row(
    '--undesirable-weight <number>',
    'Weight of thumbs-down rows, lambda_U; auto likewise',
    numberOr(notNegative(), 'auto'),
  ),
  valueFunction: row(
    '--value-function <name>',
    "What a gain or loss against the reference point is worth: KTO's own, or one of its ablations",
    z.enum(['logistic', 'log-sigmoid', 'identity', 'kahneman-tversky']),
  ),
  valueAlpha: row(
    '--value-alpha <number>',
    'Exponent of the kahneman-tversky value function',
    z.number().positive().max(1),
  ),
  valueLambda: row('--value-lambda <number>', 'Loss aversion of the kahneman-tversky value function', positive()),
  referencePoint: row(
    '--reference-point <name>',
    'The reference point z0: the mean over mismatched completions, its moving average, the mean over all mismatches of a block of rows, a fixed value, or none (0)',
    z.enum(['mismatched', 'moving-average', 'all-pairs', 'fixed', 'none']),
  ),
  referencePointValue: row('--reference-point-value <number>', 'The reference point z0 where it is fixed', z.number()),
  referencePointMomentum: row(
    '--reference-point-momentum <share>',
    'What a moving-average z0 keeps of its past at each step',
    z.number().min(0).lt(1),
  ),
  referencePointBlock: row(
    '--reference-point-block <rows>',
    "Rows whose completions all meet each other's prompts where z0 is that of all-pairs",
    z.number().int().min(2),
  ),
  referenceFree: row(
    '--reference-free',
    'No reference model: one that gives every completion the same probability stands in (KTO)',
    z.boolean(),
  ),
  humanline: row(
    '--humanline',
    "Clamp each token's log-ratio, as in the humanline variants of the KTO authors",
    z.boolean(),
  ),
  humanlineLow: row('--humanline-low <number>', 'Lowest log-ratio of a token that counts', z.number().max(0)),
  humanlineHigh: row('--humanline-high <number>', 'Highest log-ratio of a token that counts', notNegative()),
  densityRatio: row(
    '--density-ratio',
    'Weight thumbs-down rows by how much commoner their prompts are among thumbs-up rows (bco)',
    z.boolean(),
  ),
  densityRatioLow: row('--density-ratio-low <number>', 'Lowest such weight', notNegative()),
  densityRatioHigh: row('--density-ratio-high <number>', 'Highest such weight', positive()),
  densityRatioSample: row(
    '--density-ratio-sample <rows>',
    'Rows of each kind, at most, that the classifier of prompts learns from',
    z.number().int().min(1),
  ),
  labelSmoothing: row(
    '--label-smoothing <share>',
    'Share of pairs expected to be the wrong way round (cdpo, robust-dpo)',
    z.number().min(0).max(0.5),
  ),
  margin: row('--margin <number>', 'Log-probability by which a chosen reply is to lead (slic)', notNegative()),
  sftWeight: row('--sft-weight <number>', 'Weight of imitating chosen replies (slic)', notNegative()),
  gammaBetaRatio: row(
    '--gamma-beta-ratio <number>',
    'Lead of a chosen reply in mean log-probability, gamma / beta (simpo)',
    z.number(),
  ),
  oddsRatioWeight: row(
    '--odds-ratio-weight <number>',
    'Weight of the odds ratio beside imitation, lambda (orpo)',
    notNegative(),
  ),
  clipRange: row(
    '--clip-range <number>',
    'Probability ratios beyond 1 +- this gain nothing (ppo)',
    z.number().positive().lt(1),
  ),
  klCoefficient: row(
    '--kl-coefficient <number>',
    'Weight of the divergence from the reference as a penalty (ppo)',
    notNegative(),
  ),
  discount: row('--discount <number>', 'What a reward one token later is worth, gamma (ppo-value)', share()),
  advantageDecay: row(
    '--advantage-decay <number>',
    'How far advantages look past the learnt values, lambda of generalised advantage estimation (ppo-value)',
    share(),
  ),
  criticCoefficient: row(
    '--critic-coefficient <number>',
    "Weight of the value head's error in the loss (ppo-value)",
    notNegative(),
  ),
  desirableControl: row(
    '--desirable-control <text>',
    'Put after the prompt of a thumbs-up row, and of every prompt in generation (csft)',
    z.string().min(1),
  ),
  undesirableControl: row(
    '--undesirable-control <text>',
    'Put after the prompt of a thumbs-down row (csft)',
    z.string().min(1),
  ),
}

/** All hyperparameters with values. */
export type Settings = { [K in keyof typeof hyperparameters]: z.output<(typeof hyperparameters)[K]['schema']> }

/** Those of the papers, of HALOs where a paper names none (ppo, humanline). */
export const commonDefaults: Settings = {
  beta: 0.1,
  desirableWeight: 1,
  undesirableWeight: 1,
  valueFunction: 'logistic',
  valueAlpha: 0.88,
  valueLambda: 2.25,
  referencePoint: 'mismatched',
  referencePointValue: 0,
  referencePointMomentum: 0.9,
  referencePointBlock: 8,
  referenceFree: false,
  humanline: false,
  humanlineLow: -1,
  humanlineHigh: 1.5,
  densityRatio: false,
  densityRatioLow: 0.5,
  densityRatioHigh: 10,
  densityRatioSample: 1024,
  labelSmoothing: 0.1,
  margin: 1,
  sftWeight: 0.1,
  gammaBetaRatio: 0.5,
  oddsRatioWeight: 0.1,
  clipRange: 0.5,
  klCoefficient: 0.1,
  discount: 0.99,
  advantageDecay: 0.95,
  criticCoefficient: 0.01,
  desirableControl: '<|good|>',
  undesirableControl: '<|bad|>',
}
