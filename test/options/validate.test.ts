import { expect, test } from 'vitest'
import { OptionError, validate } from '../../src/options/validate.ts'
import { type TrainOptions, trainOptions } from '../../src/train/options.ts'

const required = { model: 'm', data: 'd' }
const refusal = (values: object) => {
  try {
    validate(trainOptions, values)
  } catch (error) {
    if (error instanceof OptionError) return error.message
  }
  throw new Error('the values were not refused')
}

test('defaults are those of the paper and of torch', () => {
  const options = validate(trainOptions, required satisfies TrainOptions)
  expect(options).toMatchObject({
    loss: { type: 'kto', beta: 0.1, desirableWeight: 1, undesirableWeight: 1 },
    batchSize: 32,
    optimizer: { learningRate: 5e-6, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0, maxGradNorm: 1 },
    schedule: { type: 'linear', warmup: 0.1 },
    maxLength: 2048,
    maxPromptLength: 1024,
  })
})

test('one file and several are both a list', () => {
  expect(validate(trainOptions, required).data).toEqual(['d'])
  expect(validate(trainOptions, { ...required, data: ['a', 'b'] }).data).toEqual(['a', 'b'])
})

test('what is missing is named with its meaning', () => {
  expect(refusal({ data: 'd' })).toMatch(/^model: required but not given: folder of the starting model/)
})

test('a wrong value is named with the option, the value, what is allowed and the default', () => {
  expect(refusal({ ...required, loss: { beta: 0 } })).toBe('loss.beta: must be above 0, got 0 (default: 0.1; simpo: 2)')
  expect(refusal({ ...required, evaluation: { split: 1 } })).toMatch('evaluation.split: must be below 1, got 1')
  expect(refusal({ ...required, batchSize: 1.5 })).toMatch('batchSize: expected a whole number, got 1.5')
  expect(refusal({ ...required, optimizer: { learningRate: 'x' } })).toBe(
    'optimizer.learningRate: expected a number, got "x" (default: 5e-6)',
  )
  expect(refusal({ ...required, strict: 'yes' })).toMatch('strict: expected true or false, got "yes"')
  expect(refusal({ ...required, model: '' })).toMatch('model: must not be empty, got ""')
  expect(refusal({ ...required, data: [1] })).toMatch('data: expected a text or a list of texts, got [1]')
  expect(refusal({ ...required, data: [] })).toMatch('data: must not be empty, got []')
  expect(refusal({ ...required, loss: 'kto' })).toMatch('loss: expected options (key: value), got "kto"')
})

test('a choice that is not there lists those that are, and the nearest', () => {
  expect(refusal({ ...required, schedule: { type: 'cosin' } })).toBe(
    'schedule.type: expected one of linear, constant, cosine, got "cosin"; did you mean cosine? (default: "linear")',
  )
})

test('an unknown key suggests its neighbour, or the same name elsewhere', () => {
  expect(refusal({ ...required, batch_sise: 1 })).toMatch('batch_sise: unknown option; did you mean batchSize?')
  expect(refusal({ ...required, beta: 1 })).toMatch('beta: unknown option; did you mean loss.beta?')
  expect(refusal({ ...required, 'save-every': 1 })).toMatch('did you mean checkpoint.every?')
  expect(refusal({ ...required, loss: { zzz: 1 } })).toMatch('loss.zzz: unknown option; known here: type, beta')
})

test('all mistakes are told at once', () => {
  expect(refusal({ seed: -1, epochs: 0 }).split('\n')).toHaveLength(4)
})
