import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { reportError } from '../../src/cli/errors.ts'
import { main } from '../../src/cli/main.ts'

let output: string
let errors: string
beforeEach(() => {
  output = ''
  errors = ''
  const toOutput = (text: unknown) => {
    output += text
    return true
  }
  const toErrors = (text: unknown) => {
    errors += text
    return true
  }
  vi.spyOn(process.stdout, 'write').mockImplementation(toOutput)
  vi.spyOn(process.stderr, 'write').mockImplementation(toErrors)
  vi.spyOn(console, 'log').mockImplementation((text) => void toOutput(`${text}\n`))
  vi.spyOn(console, 'error').mockImplementation((text) => void toErrors(`${text}\n`))
})
afterEach(() => void vi.restoreAllMocks())

test('help lists the commands, and a command its options; both exit with 0', async () => {
  expect(await main(['--help'])).toBe(0)
  for (const name of ['train', 'generate', 'evaluate', 'report', 'demo', 'doctor', 'setup', 'schema'])
    expect(output).toMatch(new RegExp(`^  ${name} `, 'm'))
  expect(await main(['train', '--help'])).toBe(0)
  expect(output).toContain('--desirable-weight <number>')
  expect(await main(['help', 'generate'])).toBe(0)
  expect(output).toContain('--temperature <number>')
})

test('a reader that closes the pipe early gets no stack trace', () => {
  const script = `node bin/prospect.js train --help | head -1; exit \${PIPESTATUS[0]}`
  const { status, stderr } = spawnSync('bash', ['-c', script], {
    encoding: 'utf8',
    cwd: resolve(import.meta.dirname, '../..'),
  })
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
})

test('a user error is one message without a stack, and exit code 1', async () => {
  expect(await main(['train', '--data', 'd', '--beta', '0'])).toBe(1)
  expect(errors).toMatch(/^error: --model: required but not given.*\n +--beta: must be above 0, got 0/)
  expect(errors).not.toMatch(/^ +at /m)
})

test('a mistyped flag or command suggests the right one', async () => {
  expect(await main(['train', '--batchsize', '3'])).toBe(1)
  expect(errors).toMatch(/unknown option '--batchsize'\n\(Did you mean --batch-size\?\)/)
  expect(await main(['trian'])).toBe(1)
  expect(errors).toMatch(/Did you mean train\?/)
})

test('--resume takes no other options, and a directory that holds a run', async () => {
  expect(await main(['train', '--resume', 'runs/x', '--beta', '1', '--config', 'c.yaml'])).toBe(1)
  expect(errors).toMatch(/--beta, --config: not possible with --resume runs\/x/)
  expect(await main(['train', '--resume', '/nowhere'])).toBe(1)
  expect(errors).toMatch(/--resume \/nowhere: no run there/)
})

test('schema prints JSON of the asked command', async () => {
  expect(await main(['schema', 'generate'])).toBe(0)
  expect(JSON.parse(output)).toMatchObject({ title: 'prospect generate', properties: { topP: { maximum: 1 } } })
})

test('only a mistake of the program shows its stack', () => {
  expect(reportError(new Error('no such row'))).toBe(1)
  expect(errors).not.toMatch(/^ +at /m)
  expect(reportError(new TypeError('x is undefined'))).toBe(1)
  expect(errors).toMatch(/^ +at /m)
})

/** Every file that is loaded with `file`, by imports that are not types and not dynamic. */
function loadedWith(file: string, found = new Set<string>()): Set<string> {
  if (found.has(file)) return found
  found.add(file)
  const source = readFileSync(file, 'utf8')
  const imports = source.matchAll(/^(?:import|export)(?! type)[^'"]*?from '(\.[^']+)'|^import '(\.[^']+)'/gm)
  for (const [, from, bare] of imports) loadedWith(join(dirname(file), (from ?? bare)!), found)
  return found
}

test('no command loads tensors before it runs', () => {
  for (const command of ['main', 'train', 'generate', 'evaluate', 'report', 'demo', 'doctor', 'setup', 'schema']) {
    const loaded = [...loadedWith(resolve(`src/cli/${command}.ts`))].map((file) =>
      file.slice(resolve('src').length + 1),
    )
    expect(
      loaded.filter((file) => !/^(cli|options)\/|\/(options|run)\.ts$|^loss\/table\.ts$/.test(file)),
      command,
    ).toEqual([])
  }
  expect(loadedWith(resolve('src/tensor/engine.ts'))).toContain(resolve('src/tensor/addon.ts')) // the search itself works
})

describe('bin/prospect.js', () => {
  test('says how to build where that was not done', () => {
    const folder = mkdtempSync(join(tmpdir(), 'prospect-bin-'))
    cpSync('bin', join(folder, 'bin'), { recursive: true })
    cpSync('package.json', join(folder, 'package.json'))
    const { status, stderr } = spawnSync(process.execPath, [join(folder, 'bin/prospect.js')], { encoding: 'utf8' })
    rmSync(folder, { recursive: true })
    expect(status).toBe(1)
    expect(stderr).toBe('prospect is not built yet: run `npm run setup` in its folder\n')
  })

  test.skipIf(!existsSync('dist/cli/main.js'))('answers a call for help at once', () => {
    // Processor time: other programs on the machine do not count.
    const report =
      'process.on("exit", () => { const { user, system } = process.cpuUsage(); console.error(user + system) })'
    const flags = ['--import', `data:text/javascript,${encodeURIComponent(report)}`]
    const seconds = Array.from({ length: 3 }, () => {
      const { stderr } = spawnSync(process.execPath, [...flags, 'bin/prospect.js', 'train', '--help'], {
        encoding: 'utf8',
      })
      return Number(stderr) / 1e6
    })
    expect(Math.min(...seconds)).toBeLessThan(0.4) // 0.12 s where nothing else runs; libtorch alone would take 0.3 s more
  })
})
