import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Command } from 'commander'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { z } from 'zod'
import { addFlags, resolveOptions } from '../../src/cli/flags.ts'
import { optionsDocument } from '../../src/cli/reference.ts'
import { tables } from '../../src/cli/schema.ts'
import { generateOptions } from '../../src/infer/options.ts'
import { objectiveNames, objectives } from '../../src/loss/table.ts'
import { type Option, optionsOf } from '../../src/options/option.ts'
import { trainOptions } from '../../src/train/options.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'prospect-flags-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

function commandFor(table: z.ZodObject): Command {
  const command = new Command('train').exitOverride().configureOutput({ writeErr: () => {}, writeOut: () => {} })
  addFlags(command, table)
  return command
}

function resolve(...flags: string[]) {
  return resolveOptions(commandFor(trainOptions).parse(flags, { from: 'user' }), trainOptions)
}

function config(text: string): string {
  const file = join(folder, 'run.yaml')
  writeFileSync(file, text)
  return file
}

const required = ['--model', 'm', '--data', 'd']

test('flags win over the file, and the file over the defaults', () => {
  const file = config('model: from-file\ndata: d\nloss: { beta: 0.2, desirable_weight: 2 }\nstrict: true\n')
  const options = resolve('--config', file, '--beta', '0.3', '--model', 'from-flag', '--no-strict')
  expect(options).toMatchObject({
    model: 'from-flag',
    strict: false,
    loss: { beta: 0.3, desirableWeight: 2, undesirableWeight: 1 },
  })
})

/** `--loss` with an objective that has the hyperparameter, for options that are one. */
function lossWith({ path: [group, name] }: Option): string[] {
  if (group !== 'loss' || name === 'type') return []
  return ['--loss', objectiveNames.find((objective) => (objectives[objective].options as string[]).includes(name!))!]
}

/** Options whose texts have a syntax of their own. */
const written: Record<string, string> = {
  '--map': 'label=thumb',
  '--labels': 'meh=down',
  '--threshold': 'median',
  '--annotator-weights': 'jo=2',
  '--device': 'cuda:1',
}

test('every option can be set by its flag, and lands at its key', () => {
  for (const option of optionsOf(trainOptions)) {
    const numbers = ['1', '0.5', '2', '-1'] // one of them is in every number's range
    const [value, options] = {
      text: [written[option.flag] ?? 'x'],
      number: numbers,
      boolean: [null],
      choice: [option.choices.at(-1)!],
    }[option.kind].flatMap((given): [string | null, Record<string, unknown>][] => {
      try {
        return [[given, resolve(...required, ...lossWith(option), option.flag, ...(given === null ? [] : [given]))]]
      } catch (error) {
        if (option.kind !== 'number') throw error
        return []
      }
    })[0]!
    const found = option.path.reduce<unknown>((group, key) => (group as Record<string, unknown>)[key], options)
    const wanted = { text: value, number: Number(value), boolean: true, choice: value }[option.kind]
    expect(found, option.flag).toEqual(option.list ? (option.flag === '--data' ? ['d', 'x'] : [value]) : wanted)
  }
})

test('a hyperparameter that the objective does not have is refused, with those that have it', () => {
  expect(() => resolve(...required, '--loss', 'dpo', '--margin', '2')).toThrow(
    '--margin: --loss dpo has no such option (it is of slic); leave it out',
  )
})

test("an objective's hyperparameters get its own defaults, and no others", () => {
  expect(resolve(...required, '--loss', 'simpo').loss).toMatchObject({ type: 'simpo', beta: 2, gammaBetaRatio: 0.5 })
  expect(resolve(...required, '--loss', 'robust-dpo').loss).toEqual({
    type: 'robust-dpo',
    beta: 0.1,
    labelSmoothing: 0.1,
  })
  expect(resolve(...required, '--desirable-weight', 'auto').loss).toMatchObject({ desirableWeight: 'auto' })
})

test('lists grow by repetition and by listing, as a shell pattern gives them', () => {
  expect(resolve('--model', 'm', '--data', 'a', 'b', '--data', 'c').data).toEqual(['a', 'b', 'c'])
  expect(resolve('--config', config('data: [a, b]\nmodel: m'), '--data', 'c').data).toEqual(['c'])
})

test('a switch that may also be auto is on by its flag alone, and refuses other words', () => {
  const chosen = (...flags: string[]) => resolve(...required, ...flags).gradientCheckpointing
  expect(chosen()).toBe('auto')
  expect(chosen('--gradient-checkpointing')).toBe(true)
  expect(chosen('--gradient-checkpointing', '--seed', '1')).toBe(true)
  expect(chosen('--gradient-checkpointing', 'auto')).toBe('auto')
  expect(chosen('--no-gradient-checkpointing')).toBe(false)
  expect(chosen('--config', config('gradient_checkpointing: true\n'))).toBe(true)
  expect(() => chosen('--gradient-checkpointing', 'perhaps')).toThrow(
    '--gradient-checkpointing: expected true, false or auto, got "perhaps"',
  )
})

test('--lr is --learning-rate', () => {
  expect(resolve(...required, '--lr', '1e-4').optimizer.learningRate).toBe(1e-4)
  expect(resolve(...required, '--learning-rate=2e-4').optimizer.learningRate).toBe(2e-4)
})

describe('mistakes', () => {
  test('a bad value names its flag and the value', () => {
    expect(() => resolve(...required, '--beta', 'high')).toThrow('--beta: expected a number, got "high"')
    expect(() => resolve(...required, '--beta', '-1')).toThrow('--beta: must be above 0, got -1')
    expect(() => resolve(...required, '--seed', '')).toThrow('--seed: expected a number, got ""')
    expect(() => resolve(...required, '--loss', 'dbo')).toThrow(
      /--loss: expected one of kto, .*, got "dbo"; did you mean dpo\?/,
    )
  })

  test('a missing one names the flag, also with a file', () => {
    expect(() => resolve('--data', 'd')).toThrow(/^--model: required/)
    expect(() => resolve('--config', config('data: d'))).toThrow(/^--model: required/)
  })

  test('a bad value of the file names file, line and key', () => {
    const file = config('model: m\ndata: d\nloss:\n  desirable_weight: heavy\n')
    expect(() => resolve('--config', file)).toThrow(
      `${file}:4: loss.desirableWeight: expected a number or auto, got "heavy"`,
    )
  })

  test('a flag wins over a bad value of the file', () => {
    const file = config('model: m\ndata: d\nloss:\n  beta: high\n')
    expect(resolve('--config', file, '--beta', '1').loss.beta).toBe(1)
  })

  test('a group that holds no options is refused where a flag would go into it', () => {
    expect(() => resolve(...required, '--config', config('loss: kto'), '--beta', '1')).toThrow(
      /run\.yaml:1: loss: expected/,
    )
  })

  test('a mistyped key of the file suggests the right one', () => {
    const file = config('model: m\ndata: d\nloss:\n  bata: 1\n')
    expect(() => resolve('--config', file)).toThrow(`${file}:4: loss.bata: unknown option; did you mean loss.beta?`)
  })

  test('generate takes prompts from one place', () => {
    const generate = (...flags: string[]) =>
      resolveOptions(commandFor(generateOptions).parse(['--model', 'm', ...flags], { from: 'user' }), generateOptions)
    expect(generate('--prompt', 'a', '--prompt', 'b').prompt).toEqual(['a', 'b'])
    for (const flags of [[], ['--prompt', 'a', '--prompts', 'f']]) {
      expect(() => generate(...flags)).toThrow('give either --prompt <text> or --prompts <file>')
    }
  })
})

test('every option has a description and stands in help and documentation; no flag is used twice', () => {
  for (const table of Object.values(tables)) {
    const options = optionsOf(table)
    const command = commandFor(table)
    const help = command.configureHelp({ helpWidth: 1000 }).helpInformation()
    const document = optionsDocument(tables)
    for (const { declaration, description, path } of options) {
      expect(description, path.join('.')).toMatch(/^[A-Z].{10,}/)
      expect(help).toContain(`  ${declaration} `)
      expect(help).toContain(description)
      expect(document).toContain(`| \`${path.join('.')}\` |`)
    }
    const flags = command.options.flatMap(({ long, short }) => [long, short].filter(Boolean))
    expect(new Set(flags).size).toBe(flags.length)
  }
})

test('help shows groups, defaults and choices', () => {
  const help = commandFor(trainOptions).configureHelp({ helpWidth: 1000 }).helpInformation()
  expect(help).toMatch(/^Objective:$/m)
  expect(help).toMatch(/--loss <name> .*\(kto, sft, .*; default: kto\)/)
  expect(help).toMatch(/--lr, --learning-rate <number> .*default: 5e-6/)
  expect(help).toMatch(/--strict .*default: false; also --no-strict/)
  expect(help).toMatch(/--model <folder> .*\(required\)/)
})
