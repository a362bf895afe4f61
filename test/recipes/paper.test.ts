import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { z } from 'zod'
import { readConfig } from '../../src/options/config.ts'
import { validate } from '../../src/options/validate.ts'
import { experimentNames, reproduceOptions } from '../../src/reproduce/options.ts'
import { trainOptions } from '../../src/train/options.ts'

const root = join(import.meta.dirname, '../..')
const folder = join(root, 'recipes/paper')
const files = (kind: string) => readdirSync(join(folder, kind)).map((name) => join(folder, kind, name))

function options<T extends z.ZodObject>(file: string, table: T, more: object = {}): z.output<T> {
  const config = readConfig(file, table)
  return validate(table, { ...more, ...config.values }, config.locate)
}

// What all arms of an experiment share names no model and no data.
test.each(files('train'))('%s holds options of prospect train', (file) => {
  const named = file.includes('arms-') ? { model: 'given', data: 'given' } : {}
  const { batchSize, maxLength, precision } = options(file, trainOptions, named)
  expect({ batchSize, maxLength, precision }).toEqual({ batchSize: 32, maxLength: 2048, precision: 'bf16' })
})

/** Recipes whose first line says which other objectives they may be run with, and these. */
const switches = files('train').flatMap((file) => {
  const [comment] = readFileSync(file, 'utf8').split('\n', 1)
  const named = /--loss ((?:[\w-]+, )*[\w-]+)/.exec(comment!)?.[1]?.split(', ') ?? []
  return named.map((loss) => [file, loss] as const)
})

test('recipes name other objectives', () => expect(switches.length).toBeGreaterThan(8))

test.each(switches)('%s takes --loss %s', (file, loss) => {
  const config = readConfig(file, trainOptions)
  const given = { ...config.values, loss: { ...(config.values as { loss: object }).loss, type: loss } }
  expect(validate(trainOptions, given, config.locate).loss.type).toBe(loss)
})

test.each(files('reproduce'))('%s holds options of prospect reproduce, with arms that are there', (file) => {
  const { training, model, data } = options(file, reproduceOptions)
  expect(existsSync(join(root, training!))).toBe(true)
  for (const name of [...model!, ...data!]) expect(name).toMatch(/^[\w-]+\/[\w.-]+/)
})

test('each experiment has a recipe, and the page names files that are there', () => {
  const recipes = files('reproduce').map((file) => options(file, reproduceOptions).experiment)
  expect(recipes.toSorted()).toEqual([...experimentNames].toSorted())
  const page = readFileSync(join(folder, 'README.md'), 'utf8')
  for (const [path] of page.matchAll(/recipes\/paper\/[\w/-]+\.yaml/g)) expect(existsSync(join(root, path))).toBe(true)
})
