// What both sides of bench/kto train on: a model folder with fresh weights, a tokenizer of one word a token, and rows of text.
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { makePlan } from '../../dist/data/plan.js'
import { parseModelConfig } from '../../dist/model/architectures/read.js'
import { saveModelFolder } from '../../dist/model/folder.js'
import { initialParameters } from '../../dist/model/parameters.js'
import { shapes } from './shapes.mjs'

export const eos = 2
const firstWord = 3

/** Where models and rows are kept between runs. */
export const benchFolder = process.env.PROSPECT_BENCH ?? join(tmpdir(), 'prospect-bench')

/** The folder of a model of this shape with fresh bfloat16 weights, made at the first call. */
export async function modelFolder(name) {
  const shape = shapes[name]
  if (!shape) throw new Error(`--shape ${name}: known are ${Object.keys(shapes).join(', ')}`)
  const folder = join(benchFolder, 'models', name)
  if (existsSync(join(folder, 'model.safetensors'))) return folder
  const tokenizer = join(benchFolder, 'models', `${name}-tokenizer`)
  writeTokenizer(tokenizer, shape.vocab_size)
  const parameters = initialParameters(parseModelConfig(shape, name), 0)
  const source = { path: tokenizer, rawConfig: shape, companions: ['tokenizer.json', 'tokenizer_config.json'] }
  await saveModelFolder(folder, { source, parameters, dtype: 'bfloat16' })
  for (const parameter of parameters.values()) parameter.dispose()
  return folder
}

/** Token 17 is the word t17: so both sides get the ids that are meant. */
export function writeTokenizer(folder, vocabulary) {
  const vocab = { '<unk>': 0, '<s>': 1, '</s>': eos }
  for (let id = firstWord; id < vocabulary; id++) vocab[`t${id}`] = id
  const special = (id, content) => ({
    ...{ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true },
  })
  const tokenizer = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [special(0, '<unk>'), special(1, '<s>'), special(eos, '</s>')],
    normalizer: null,
    pre_tokenizer: { type: 'WhitespaceSplit' },
    post_processor: null,
    decoder: null,
    model: { type: 'WordLevel', vocab, unk_token: '<unk>' },
  }
  const config = {
    tokenizer_class: 'PreTrainedTokenizerFast',
    unk_token: '<unk>',
    bos_token: '<s>',
    eos_token: '</s>',
    pad_token: '</s>',
    model_max_length: 8192,
  }
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(tokenizer))
  writeFileSync(join(folder, 'tokenizer_config.json'), JSON.stringify(config))
}

/** The same numbers at every call: mulberry32. */
function randomFrom(seed) {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

/**
 * Rows of token ids, as examples of src/data. `ratio` is prompt:answer in a row of `length` tokens at the mean; lengths vary evenly within
 * `spread` (0.5: from half to one and a half of the mean). Paired: each prompt has a good and a bad answer.
 */
export function makeExamples({ count, length, ratio, spread, paired, vocabulary, seed = 1 }) {
  const random = randomFrom(seed)
  const [prompt, answer] = ratio.split(':').map(Number)
  const promptMean = (length * prompt) / (prompt + answer)
  const lengthNear = (mean) => Math.max(2, Math.round(mean * (1 + spread * (2 * random() - 1))))
  const words = (n) => Int32Array.from({ length: n }, () => firstWord + Math.floor(random() * (vocabulary - firstWord)))
  const examples = []
  let current
  for (let index = 0; index < count; index++) {
    if (!current || !paired || index % 2 === 0) current = { ids: words(lengthNear(promptMean)), group: index }
    const completion = words(lengthNear(length - promptMean))
    completion[completion.length - 1] = eos
    examples.push({
      index,
      promptGroup: current.group,
      completionGroup: index,
      prompt: current.ids,
      completion,
      desirable: index % 2 === 0,
      origin: { file: 'bench', line: index + 1 },
    })
  }
  return examples
}

const text = (ids) => Array.from(ids, (id) => `t${id}`).join(' ')

/** Rows as a feedback file has them; without the EOS, which both sides add. */
export function rowsOf(examples) {
  return examples.map(({ index, prompt, completion, desirable }) => ({
    prompt: text(prompt),
    completion: ` ${text(completion.subarray(0, -1))}`,
    label: desirable,
    row: index,
  }))
}

export const jsonLines = (rows) => rows.map((row) => `${JSON.stringify(row)}\n`).join('')

/** One hash a row: of its prompt's length, and the ids that are seen, so that ids and mask both count. */
export function rowHash(prompt, completion) {
  return createHash('sha256')
    .update(JSON.stringify([prompt.length, ...prompt, ...completion]))
    .digest('hex')
    .slice(0, 16)
}

/**
 * The steps of Prospect's plan, and the same for TRL: it takes rows in the file's order and pairs each prompt with the completion of the row
 * before it in its batch, so the rows of a batch are put in the order that makes the same mismatched pairs, where there is one.
 */
export function planSteps(examples, batchSize, seed) {
  const plan = makePlan({ examples, seed, epochs: 1, batchSize, mismatched: true })
  return Array.from({ length: plan.steps }, (_, step) => {
    const { rows, partners } = plan.batch(step)
    const order = chain(rows, partners)
    return { rows: [...rows], partners: [...partners], trlRows: order ?? [...rows], samePairs: order !== null }
  })
}

/** Rows so ordered that the one before each, in a circle, is its partner; null where partners do not form one circle. */
function chain(rows, partners) {
  const partnerOf = new Map(rows.map((row, i) => [row, partners[i]]))
  const order = []
  for (let row = rows[0]; !order.includes(row); row = partnerOf.get(row)) {
    if (!partnerOf.has(row)) return null
    order.push(row)
  }
  return order.length === rows.length ? order.reverse() : null
}
