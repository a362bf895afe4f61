import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { jsonSchemaOf, optionsDocument } from '../../src/cli/reference.ts'
import { tables } from '../../src/cli/schema.ts'
import { trainOptions } from '../../src/train/options.ts'

test('docs/options.md is up to date (npm run setup && node scripts/write-docs.mjs writes it)', () => {
  expect(readFileSync('docs/options.md', 'utf8')).toBe(optionsDocument(tables))
})

test('the JSON Schema accepts and refuses what the table does, and lets flags give the rest', () => {
  const schema = JSON.parse(JSON.stringify(jsonSchemaOf(trainOptions, 'prospect train')))
  const accepts = (values: unknown) => z.fromJSONSchema(schema).safeParse(values).success
  expect(accepts({ model: 'm', data: ['a', 'b'], loss: { beta: 0.2 } })).toBe(true)
  expect(accepts({ data: 'a' })).toBe(true)
  expect(accepts({ loss: { beta: 0 } })).toBe(false)
  expect(accepts({ loss: { betta: 1 } })).toBe(false)
  expect(accepts({ epochs: 1.5 })).toBe(false)
  expect(accepts({ schedule: { type: 'step' } })).toBe(false)
})
