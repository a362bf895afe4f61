// Compiles src/ to dist/, only where inputs or outputs are not as the last build that came to its end left them.
import { readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'

/**
 * @param {string} root the folder with src/, dist/ and build/
 * @param {() => Promise<void>} compile runs tsc with tsconfig.build.json; throws where it fails
 * @returns {Promise<'built' | 'unchanged'>}
 */
export async function buildTypeScript(root, compile) {
  const stamp = join(root, 'build', 'dist.json')
  const last = readStamp(stamp)
  const inputs = statesOf(root, compilerInputs(root))
  const whole = last !== null && same(last.outputs, statesOf(root, compilerOutputs(Object.keys(last.inputs))))
  if (whole && same(last.inputs, inputs)) return 'unchanged'
  rmSync(stamp, { force: true }) // until the end of this build: it may fail, or be killed
  if (!whole) rmSync(join(root, 'build', 'tsc.tsbuildinfo'), { force: true }) // it says that all is there
  await compile()
  const outputs = compilerOutputs(Object.keys(inputs))
  removeOthers(root, 'dist', new Set(outputs))
  writeFileSync(`${stamp}.tmp`, JSON.stringify({ inputs, outputs: statesOf(root, outputs) }))
  renameSync(`${stamp}.tmp`, stamp)
  return 'built'
}

function readStamp(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'))
  } catch {
    return null // there is none, or it was cut off
  }
}

function compilerInputs(root) {
  return [...filesIn(root, 'src'), ...['tsconfig.build.json', 'tsconfig.json', 'package-lock.json']]
}

/** What tsc writes for these sources. */
function compilerOutputs(inputs) {
  const sources = inputs.filter((file) => file.startsWith('src/') && file.endsWith('.ts') && !file.endsWith('.d.ts'))
  const stems = sources.map((file) => file.replace(/^src/, 'dist').replace(/\.ts$/, ''))
  return stems.flatMap((stem) => [`${stem}.js`, `${stem}.js.map`, `${stem}.d.ts`])
}

/** Paths from the root of all files below a folder. */
function filesIn(root, folder) {
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(root, join(entry.parentPath ?? entry.path, entry.name)))
    .sort()
}

/** Size and time of change of files; null where there is none. */
function statesOf(root, files) {
  const state = (file) => {
    const found = statSync(join(root, file), { throwIfNoEntry: false })
    return found ? `${found.size} ${found.mtimeMs}` : null
  }
  return Object.fromEntries(files.map((file) => [file, state(file)]))
}

function same(one, other) {
  return JSON.stringify(one) === JSON.stringify(other)
}

/** Takes away what sources that are no longer there have left. */
function removeOthers(root, folder, kept) {
  for (const file of filesIn(root, folder)) if (!kept.has(file)) rmSync(join(root, file))
}
