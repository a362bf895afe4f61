import type { LossOptions } from '../loss/table.ts'
import type { ExperimentName } from './options.ts'
import type { Shaping } from './rows.ts'

/** One way to train, of which the results are compared. */
export interface Arm {
  name: string
  /** The imitator of good and bad replies, or the model fine-tuned on its thumbs-up replies. */
  start: 'base' | 'sft'
  /** null: the start itself. */
  loss: LossOptions | null
  /** What is done to the feedback first. */
  rows?: Shaping
  /** Width of the model; 256 where it is not given. */
  width?: number
}

export interface Experiment {
  title: string
  arms: readonly Arm[]
  /** What the paper (arXiv 2402.01306) found, by arm, as it reports it. */
  paper: { what: string; values: Readonly<Record<string, number>> }
  /** What can and cannot be concluded at this size. */
  remark: string
}

const kto: LossOptions = { type: 'kto', beta: 0.1, desirableWeight: 'auto', undesirableWeight: 'auto' }
const dpo: LossOptions = { type: 'dpo', beta: 0.1 }
// Control texts of the demo's own vocabulary, which no prompt or reply of it holds in this place.
const csft: LossOptions = { type: 'csft', desirableControl: ' Thanks!', undesirableControl: ' Hey!' }

const methods: Record<string, LossOptions> = {
  SFT: { type: 'sft' },
  CSFT: csft,
  DPO: dpo,
  SLiC: { type: 'slic' },
  PPO: { type: 'ppo' },
  KTO: kto,
}
const small = 'The world is a shop of 40 products, the model has two million parameters and the judge knows the truth.'

const shares = [1, 0.5, 0.25, 0.1, 0.05, 0.01]
const noise = [0, 0.1, 0.2, 0.3, 0.4]

/** Experiments of the paper, at a size that a processor does in minutes. */
export const experiments = {
  methods: {
    title: 'Methods, with and without SFT first',
    arms: [
      { name: 'base', start: 'base', loss: null },
      ...Object.entries(methods).map(([name, loss]): Arm => ({ name, start: 'base', loss })),
      ...Object.entries(methods)
        .slice(1)
        .map(([name, loss]): Arm => ({ name: `SFT+${name}`, start: 'sft', loss })),
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
    remark: `${small} It shows whether the objectives do what they claim on replies of the model's own; it cannot show how they rank at 7B and more.`,
  },
  'one-y-per-x': {
    title: 'One reply a prompt',
    arms: [
      { name: 'KTO, all replies', start: 'base', loss: kto },
      { name: 'KTO, one y per x', start: 'base', loss: kto, rows: { onePerPrompt: true } },
      { name: 'DPO, all pairs', start: 'base', loss: dpo },
    ],
    paper: {
      what: 'win rate against the SFT target, Mistral-7B on OpenAssistant',
      values: { 'KTO, all replies': 0.652, 'KTO, one y per x': 0.631, 'DPO, all pairs': 0.6 },
    },
    remark: `${small} Here one reply a prompt is half of the rows; in the paper it was 28 %.`,
  },
  imbalance: {
    title: 'Fewer thumbs up',
    arms: shares.map(
      (share): Arm => ({ name: `${100 * share} %`, start: 'base', loss: kto, rows: { keepDesirable: share } }),
    ),
    paper: {
      what: 'wins against the SFT target, Llama-7B, by share of desirable rows kept',
      values: { '100 %': 0.453, '50 %': 0.402, '25 %': 0.398, '10 %': 0.328, '5 %': 0.344, '1 %': 0.285 },
    },
    remark: `${small} Weights are balanced as Equation 8 advises, in the paper as here.`,
  },
  noise: {
    title: 'Wrong thumbs',
    arms: noise.flatMap((share): Arm[] => [
      { name: `KTO, ${100 * share} % wrong`, start: 'base', loss: kto, rows: { wrong: share } },
      { name: `DPO, ${100 * share} % wrong`, start: 'base', loss: dpo, rows: { wrong: share } },
    ]),
    paper: { what: 'no figure: Section 4.2 argues that KTO underfits noise that DPO fits', values: {} },
    remark: `${small} A wrong thumb turns one row for KTO; a pair is formed from thumbs, so a share of pairs is turned and those with equal thumbs are lost.`,
  },
  contradictory: {
    title: 'People who disagree',
    arms: [
      { name: 'KTO', start: 'base', loss: kto, rows: { dissent: 0.35 } },
      { name: 'DPO', start: 'base', loss: dpo, rows: { dissent: 0.35 } },
    ],
    paper: { what: "no figure: Theorem 4.3 says that KTO's optimum follows the majority", values: {} },
    remark: `${small} Every reply is judged three times, by people of whom 35 % want the opposite.`,
  },
  ablations: {
    title: "KTO's parts",
    arms: [
      { name: 'KTO', start: 'base', loss: kto },
      { name: 'no z0', start: 'base', loss: { ...kto, referencePoint: 'none' } },
      { name: 'concave v', start: 'base', loss: { ...kto, valueFunction: 'log-sigmoid' } },
      { name: 'risk-neutral v', start: 'base', loss: { ...kto, valueFunction: 'identity' } },
      { name: 'Kahneman-Tversky v', start: 'base', loss: { ...kto, valueFunction: 'kahneman-tversky' } },
      { name: 'no reference', start: 'base', loss: { ...kto, referenceFree: true } },
    ],
    paper: {
      what: 'GSM8K of Zephyr-SFT on UltraFeedback',
      values: { KTO: 0.535, 'no z0': 0.495, 'concave v': 0.425, 'no reference': 0.475 },
    },
    remark: `${small} The paper's measure is arithmetic, which this world has none of: only the order can be compared.`,
  },
  sizes: {
    title: 'Sizes of the model',
    arms: [64, 128, 256].flatMap((width): Arm[] => [
      { name: `base, width ${width}`, start: 'base', loss: null, width },
      { name: `KTO, width ${width}`, start: 'base', loss: kto, width },
      { name: `DPO, width ${width}`, start: 'base', loss: dpo, width },
    ]),
    paper: {
      what: 'no figure at such sizes: from 1.4B to 30B, the gain of alignment without SFT grows with size',
      values: {},
    },
    remark: `${small} Widths of 64 to 256 are far below the sizes at which the paper sees KTO do without SFT.`,
  },
} satisfies Record<ExperimentName, Experiment>
