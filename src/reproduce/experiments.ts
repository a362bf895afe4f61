import type { LossOptions } from '../loss/table.ts'
import type { ExperimentName } from './options.ts'
import type { Shaping } from './rows.ts'

/** One way to train, of which the results are compared. */
export interface Arm {
  name: string
  /** The starting model, or that fine-tuned on the thumbs-up replies. */
  start: 'base' | 'sft'
  /** null: the start itself. */
  loss: LossOptions | null
  /** What is done to the feedback first. */
  rows?: Shaping
  /** One of the world's sizes; its own where it is not given. */
  size?: string
  /** Multiplies the world's learning rate; the world's choice for the objective where it is not given. */
  rate?: number
  /** Where the arm stands in a figure of curves. */
  at?: { line: string; x: number }
}

export interface Experiment {
  title: string
  /** `sizes`: those of the world. */
  arms(sizes: readonly string[]): readonly Arm[]
  /** Arms of which the difference is reported, seed by seed: the first minus the second. */
  differences?: readonly (readonly [string, string])[]
  /** What the paper (arXiv 2402.01306) found, by arm, as it reports it. */
  paper: { what: string; values: Readonly<Record<string, number>> }
  /** What to know of how it is done. */
  note?: string
  /** Title of the x axis, where its figure has curves. */
  axis?: string
  /** Compared on a validation part, to choose learning rates by. */
  tuning?: boolean
}

const kto: LossOptions = { type: 'kto', beta: 0.1, desirableWeight: 'auto', undesirableWeight: 'auto' }
const dpo: LossOptions = { type: 'dpo', beta: 0.1 }

const methods: Record<string, LossOptions> = {
  SFT: { type: 'sft' },
  CSFT: { type: 'csft' },
  DPO: dpo,
  SLiC: { type: 'slic' },
  PPO: { type: 'ppo' },
  KTO: kto,
}

const rates = [0.3, 1, 3, 10, 30]
/** Lower ones: a model that is good already has more to lose. */
const ratesAfterSft = [0.03, 0.1, 0.3, 1, 3]
const withoutSft = Object.entries(methods).slice(1)
const shares = [1, 0.5, 0.25, 0.1, 0.05, 0.01]
const wrong = [0, 0.1, 0.2, 0.3, 0.4]
const percent = (share: number) => `${Math.round(100 * share)} %`

/** The same feedback for both, as each can use it. */
function ktoAndDpo(name: string, rows: Shaping | undefined, x?: number): Arm[] {
  return Object.entries({ KTO: kto, DPO: dpo }).map(([method, loss]) => ({
    name: `${method}, ${name}`,
    start: 'base',
    loss,
    ...(rows && { rows }),
    ...(x !== undefined && { at: { line: method, x } }),
  }))
}

const partLosses: Record<string, LossOptions> = {
  KTO: kto,
  'no z0': { ...kto, referencePoint: 'none' },
  'concave v': { ...kto, valueFunction: 'log-sigmoid' },
  'risk-neutral v': { ...kto, valueFunction: 'identity' },
  'Kahneman-Tversky v': { ...kto, valueFunction: 'kahneman-tversky' },
}
const partNames = Object.keys(partLosses).slice(1)

function parts(ending: string, rate?: number): Arm[] {
  return Object.entries(partLosses).map(([name, loss]) => ({
    name: `${name}${ending}`,
    start: 'base',
    loss,
    ...(rate !== undefined && { rate }),
  }))
}

const against = (names: readonly string[]) => names.map((name) => [`KTO, ${name}`, `DPO, ${name}`] as const)

/** A method at each of the learning rates. */
function tuning(method: string, start: Arm['start'], loss: LossOptions): Arm[] {
  const tried = start === 'base' ? rates : ratesAfterSft
  return tried.map((rate) => ({ name: `${method}, ${rate} x`, start, loss, rate, at: { line: method, x: rate } }))
}

const validationNote = 'On questions and feedback of a validation part, which no other experiment sees.'

/** Experiments of the paper. */
export const experiments: Record<ExperimentName, Experiment> = {
  'learning-rates': {
    title: 'Learning rates',
    tuning: true,
    axis: 'learning rate, relative',
    arms: () => Object.entries(methods).flatMap(([name, loss]) => tuning(name, 'base', loss)),
    paper: { what: 'not reported', values: {} },
    note: validationNote,
  },
  'learning-rates-after-sft': {
    title: 'Learning rates after SFT',
    tuning: true,
    axis: 'learning rate, relative',
    arms: () => withoutSft.flatMap(([name, loss]) => tuning(`SFT+${name}`, 'sft', loss)),
    paper: { what: 'not reported', values: {} },
    note: validationNote,
  },
  methods: {
    title: 'Methods, with and without SFT first',
    arms: () => [
      { name: 'base', start: 'base', loss: null },
      ...Object.entries(methods).map(([name, loss]): Arm => ({ name, start: 'base', loss })),
      ...withoutSft.map(([name, loss]): Arm => ({ name: `SFT+${name}`, start: 'sft', loss })),
    ],
    differences: [
      ['KTO', 'DPO'],
      ['KTO', 'SFT'],
      ['SFT+KTO', 'SFT+DPO'],
      ['SFT+KTO', 'KTO'],
      ['SFT+DPO', 'DPO'],
      ['SFT+KTO', 'SFT'],
      ['SFT+SLiC', 'SFT'],
    ],
    paper: {
      what: 'wins of 512 against the SFT target, Llama-7B, by GPT-4',
      values: {
        base: 0.281,
        SFT: 0.359,
        CSFT: 0.387,
        DPO: 0.309,
        SLiC: 0.334,
        PPO: 0.355,
        KTO: 0.41,
        'SFT+DPO': 0.428,
        'SFT+PPO': 0.414,
        'SFT+KTO': 0.48,
      },
    },
  },
  'one-y-per-x': {
    title: 'One reply a prompt',
    arms: () => [
      { name: 'KTO, all replies', start: 'base', loss: kto },
      { name: 'KTO, one y per x', start: 'base', loss: kto, rows: { onePerPrompt: true } },
      { name: 'DPO, all pairs', start: 'base', loss: dpo },
    ],
    differences: [
      ['KTO, one y per x', 'KTO, all replies'],
      ['KTO, one y per x', 'DPO, all pairs'],
    ],
    paper: {
      what: 'win rate against the SFT target, Mistral-7B on OpenAssistant',
      values: { 'KTO, all replies': 0.652, 'KTO, one y per x': 0.631, 'DPO, all pairs': 0.6 },
    },
  },
  imbalance: {
    title: 'Fewer thumbs up',
    axis: 'thumbs up kept, %',
    arms: () =>
      shares.flatMap((share) =>
        ktoAndDpo(percent(share), share === 1 ? undefined : { keepDesirable: share }, 100 * share),
      ),
    differences: against(shares.map(percent)),
    paper: {
      what: 'wins against the SFT target, Llama-7B, by share of desirable rows kept',
      values: {
        'KTO, 100 %': 0.453,
        'KTO, 50 %': 0.402,
        'KTO, 25 %': 0.398,
        'KTO, 10 %': 0.328,
        'KTO, 5 %': 0.344,
        'KTO, 1 %': 0.285,
      },
    },
    note: 'Weights are balanced as Equation 8 advises, in the paper as here. DPO has the pairs that are left.',
  },
  noise: {
    title: 'Wrong thumbs',
    axis: 'thumbs that are wrong, %',
    arms: () =>
      wrong.flatMap((share) =>
        ktoAndDpo(`${percent(share)} wrong`, share === 0 ? undefined : { wrong: share }, 100 * share),
      ),
    differences: against(wrong.map((share) => `${percent(share)} wrong`)),
    paper: { what: 'no figure: Section 4.2 argues that KTO underfits noise that DPO fits', values: {} },
    note: 'A wrong thumb turns one row for KTO. DPO has the pairs of replies with unequal thumbs.',
  },
  contradictory: {
    title: 'People who disagree',
    arms: () => ktoAndDpo('35 % want the opposite', { dissent: 0.35 }),
    differences: against(['35 % want the opposite']),
    paper: { what: "no figure: Theorem 4.3 says that KTO's optimum follows the majority", values: {} },
    note: 'Every reply is judged three times, by people of whom 35 % want the opposite.',
  },
  ablations: {
    title: "KTO's parts",
    arms: () => [
      ...parts(''),
      { name: 'no reference', start: 'base', loss: { ...kto, referenceFree: true } },
      ...parts(', 10 x rate', 10),
    ],
    differences: [
      ...[...partNames, 'no reference'].map((name) => [name, 'KTO'] as const),
      ...partNames.map((name) => [`${name}, 10 x rate`, 'KTO, 10 x rate'] as const),
    ],
    paper: {
      what: 'GSM8K of Zephyr-SFT on UltraFeedback (without a reference lambda_D was 1.75)',
      values: { KTO: 0.535, 'no z0': 0.495, 'concave v': 0.425, 'no reference': 0.475 },
    },
    note: 'At ten times the learning rate the policy moves so far that z0 and saturation count.',
  },
  sizes: {
    title: 'Sizes of the model',
    arms: (sizes) =>
      sizes.flatMap((size): Arm[] => [
        { name: `base, ${size}`, start: 'base', loss: null, size },
        { name: `KTO, ${size}`, start: 'base', loss: kto, size },
        { name: `SFT+KTO, ${size}`, start: 'sft', loss: kto, size },
        { name: `DPO, ${size}`, start: 'base', loss: dpo, size },
      ]),
    paper: {
      what: 'no figure at such sizes: from 1.4B to 30B, the gain of alignment without SFT grows with size',
      values: {},
    },
  },
}
