import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { configYaml, readConfig } from '../../src/options/config.ts'
import { validate } from '../../src/options/validate.ts'
import { trainOptions } from '../../src/train/options.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'prospect-config-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

function read(text: string) {
  const file = join(folder, 'run.yaml')
  writeFileSync(file, text)
  return readConfig(file, trainOptions)
}

test('keys may be camelCase or snake_case, at every level', () => {
  const { values } = read('max_length: 100\nloss:\n  desirable_weight: 2\n  undesirableWeight: 3\n')
  expect(values).toEqual({ maxLength: 100, loss: { desirableWeight: 2, undesirableWeight: 3 } })
})

test('the same option in both spellings is refused with its line', () => {
  const text = 'loss:\n  desirable_weight: 2\n  desirableWeight: 3\n'
  expect(() => read(text)).toThrow(/run\.yaml:3: desirableWeight and desirable_weight are the same option/)
})

test('numbers in scientific notation are numbers', () => {
  expect(read('optimizer: { learning_rate: 5e-6 }').values).toEqual({ optimizer: { learningRate: 5e-6 } })
})

test('null and an empty value leave the default in place', () => {
  const { values } = read('model: m\ndata: d\nmax_steps: null\nloss:\n  beta:\nschedule:\n')
  expect(validate(trainOptions, values)).toMatchObject({ loss: { beta: 0.1 }, schedule: { type: 'linear' } })
})

test('an empty file sets nothing', () => {
  expect(read('# only a comment\n').values).toEqual({})
})

test('a group may be an alias of another', () => {
  const { values } = read('loss: &l\n  beta: 0.3\noptimizer: { weight_decay: 0 }\nevaluation: *l\n')
  expect(values.evaluation).toEqual({ beta: 0.3 })
})

test('broken YAML is refused with file and line', () => {
  expect(() => read('model: m\ndata: [a\nseed: 1')).toThrow(/run\.yaml:\d+: not valid YAML/)
  expect(() => read('model: a\nmodel: b\n')).toThrow(/run\.yaml:2: not valid YAML: .*unique/)
  expect(() => read('- model\n')).toThrow(/run\.yaml:1: expected options .*\["model"\]/)
})

test('a missing file is named', () => {
  expect(() => readConfig(join(folder, 'none.yaml'), trainOptions)).toThrow(/--config .*none\.yaml: no such file/)
})

test('a resolved configuration comes back equal from its YAML', () => {
  const resolved = validate(trainOptions, { model: 'm', data: 'd', optimizer: { epsilon: 1e-12 }, cache: '1' })
  expect(validate(trainOptions, read(configYaml(resolved)).values)).toEqual(resolved)
})
