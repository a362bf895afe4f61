import { readOptionsOf } from '../data/options.ts'
import { maskedRow } from '../data/personal.ts'
import { openFeedback } from '../data/read.ts'
import { tokensOf } from '../data/tokenize.ts'
import { loadTokenizer, type Tokenizer } from '../data/tokenizer.ts'
import type { Example, FeedbackRow, Origin } from '../data/types.ts'
import { makeObjective } from '../loss/index.ts'
import { isAdapterFolder } from '../model/adapters/folder.ts'
import { openModel, tokenizerFolder } from '../model/open.ts'
import { localInputs } from './inputs.ts'
import type { ResolvedTrainOptions } from './options.ts'
import { prepareData } from './prepare.ts'
import type { Progress } from './run.ts'

/** One token of a row, and what training does with it. */
export interface ShownToken {
  id: number
  text: string
  /** `prompt` is conditioned on, the loss is taken over `completion`; `cut` was over the length limit and is not seen. */
  part: 'prompt' | 'completion' | 'cut'
  special: 'bos' | 'eos' | null
}

/** A row of the first step as the model will see it. */
export interface Preview {
  origin: Origin
  desirable: boolean
  weight: number
  tokens: ShownToken[]
  /** The mismatched completion that estimates z0 with this row's prompt; null where the objective needs none. */
  partner: { origin: Origin; tokens: ShownToken[] } | null
}

/** Prepares data exactly as training with these options does, and shows the first rows of its first step. */
export async function previewRows(given: ResolvedTrainOptions, count: number, progress?: Progress): Promise<Preview[]> {
  const options = await localInputs(given, { progress })
  const objective = makeObjective(options.loss)
  const { model, base } = options
  const tokenizer = loadTokenizer(isAdapterFolder(model) ? tokenizerFolder(openModel(model, { base })) : model, options)
  const { train, plan } = await prepareData(options, objective, tokenizer, '', { progress })
  if (plan.steps === 0) return []
  const { rows, partners } = plan.batch(0)
  const shown = rows.slice(0, count).map((row, i) => {
    const partner = partners[i]
    return { example: train[row]!, partner: partner == null ? null : train[partner]! }
  })
  const wanted = shown.flatMap(({ example, partner }) => (partner ? [example, partner] : [example]))
  const sources = await rowsAt(
    options,
    wanted.map(({ origin }) => origin),
    objective.needs.labels,
  )
  const tokens = (example: Example) => tokensShown(example, sources, tokenizer)
  return shown.map(({ example, partner }) => ({
    origin: example.origin,
    desirable: example.desirable,
    weight: example.weight ?? 1,
    tokens: tokens(example),
    partner: partner && {
      origin: partner.origin,
      tokens: tokens(partner).filter(
        ({ part }, i, all) =>
          part === 'completion' || (part === 'cut' && i > all.findIndex((token) => token.part === 'completion')),
      ),
    },
  }))
}

const keyOf = ({ file, line }: Origin) => `${file}\n${line}`

/** The rows of some records, read again: the token cache holds no texts. */
async function rowsAt(
  options: ResolvedTrainOptions,
  origins: readonly Origin[],
  needLabels: boolean,
): Promise<Map<string, FeedbackRow[]>> {
  const wanted = new Set(origins.map(keyOf))
  const found = new Map<string, FeedbackRow[]>()
  const { seed, feedback, cache } = options
  const reader = await openFeedback(options.data, {
    onBadRow: 'skip',
    needLabels,
    seed,
    ...readOptionsOf(feedback),
    ...(cache !== undefined && { cache }),
  })
  for await (const batch of reader.batches()) {
    for (const raw of batch) {
      const key = keyOf(raw.origin)
      if (!wanted.has(key)) continue
      const row = feedback.personal === 'mask' ? maskedRow(raw) : raw
      found.set(key, [...(found.get(key) ?? []), row])
    }
    if (found.size === wanted.size) break
  }
  return found
}

/** The tokens of an example with those that were cut off, which its row's text still has. */
function tokensShown(
  example: Example,
  sources: ReadonlyMap<string, FeedbackRow[]>,
  tokenizer: Tokenizer,
): ShownToken[] {
  const whole = (sources.get(keyOf(example.origin)) ?? [])
    .filter(({ label }) => label === example.desirable)
    .map((row) => tokensOf(row, tokenizer))
    .find((tokens) => isCutOf(example.completion, tokens.completion) && tokens.prompt.length >= example.prompt.length)
  const prompt = whole?.prompt ?? example.prompt
  const completion = whole?.completion ?? example.completion
  const cutPrompt = Math.max(0, prompt.length - example.prompt.length)
  const keptEnd = example.prompt.length > 1 && prompt.at(-1) === example.prompt.at(-1)
  const isCut = (i: number) => {
    if (i >= prompt.length) return i - prompt.length >= example.completion.length
    if (cutPrompt === 0) return false
    if (!keptEnd) return i >= example.prompt.length
    return (
      i < cutPrompt + (prompt[0] === example.prompt[0] && example.prompt[0] === tokenizer.bos ? 1 : 0) &&
      !(i === 0 && prompt[0] === tokenizer.bos)
    )
  }
  const ids = [...prompt, ...completion]
  return ids.map((id, i) => {
    const before = ids.slice(Math.max(0, i - 1), i) // SentencePiece drops the space of a text's first token
    const text = tokenizer.decode([...before, id]).slice(tokenizer.decode(before).length)
    const part = isCut(i) ? 'cut' : i < prompt.length ? 'prompt' : 'completion'
    return { id, text, part, special: id === tokenizer.bos ? 'bos' : tokenizer.eosIds.includes(id) ? 'eos' : null }
  })
}

function isCutOf(kept: Int32Array, whole: Int32Array): boolean {
  return kept.length <= whole.length && kept.every((id, i) => whole[i] === id)
}
