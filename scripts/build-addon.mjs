// Compiles native/ against the libtorch found, only where its inputs changed, and writes build/engine.json for the loader.
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { availableParallelism } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const require = createRequire(import.meta.url)
const run = promisify(execFile)
export const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const native = join(root, 'native')
const build = join(root, 'build')
/** Compiled files, by the hash of their source, the headers and the flags: only what changed is compiled again. */
const cache = join(build, 'objects')

/**
 * @param {import('./libtorch.mjs').Libtorch} libtorch
 * @param {string | null} blas a library to load before libtorch
 * @param {(done: number, total: number) => void} progress
 * @returns {Promise<'built' | 'unchanged'>}
 */
export async function buildAddon(libtorch, blas, progress) {
  const flags = compilerFlags(libtorch)
  const folder = join(build, 'native', hashOfInputs(flags).slice(0, 16))
  const engine = { addon: join(folder, 'prospect.node'), boot: join(folder, 'boot.node'), libtorch, blas }
  const unchanged = existsSync(engine.addon) && existsSync(engine.boot)
  if (!unchanged) await compileInto(folder, flags, libtorch, progress)
  writeAtomically(join(build, 'engine.json'), `${JSON.stringify(engine, null, 2)}\n`)
  return unchanged ? 'unchanged' : 'built'
}

function compilerFlags(libtorch) {
  const headers = [
    dirname(require.resolve('node-addon-api')),
    require('node-api-headers').include_dir,
    ...libtorch.include,
  ]
  const standard = Number(libtorch.version.split('.')[0]) >= 2 ? 'gnu++20' : 'gnu++17'
  const defines = ['NAPI_CPP_EXCEPTIONS', 'NAPI_VERSION=8', `_GLIBCXX_USE_CXX11_ABI=${libtorch.abi}`]
  return {
    version: libtorch.version, // of the headers: what was compiled with others is compiled again
    c: ['-O2', '-fPIC', '-Wall', '-DNAPI_VERSION=8', `-I${require('node-api-headers').include_dir}`],
    cc: [
      '-O2',
      '-fPIC',
      '-fopenmp',
      '-Wall',
      `-std=${standard}`,
      ...defines.map((name) => `-D${name}`),
      ...headers.map((path) => `-isystem${path}`),
      `-I${native}`,
    ],
    // Loops are vectorised; vectors of 16 floats are passed between inlined functions only, so their ABI does not matter.
    kernels: ['-O3', '-fno-math-errno', '-fno-trapping-math', '-Wno-psabi'],
    link: [`-L${libtorch.lib}`, `-Wl,-rpath,${libtorch.lib}`, '-ltorch_cpu', '-lc10', '-fopenmp'],
  }
}

function sources(pattern) {
  return readdirSync(native, { recursive: true })
    .filter((name) => pattern.test(name))
    .sort()
}

function hashOfInputs(flags) {
  const hash = createHash('sha256').update(JSON.stringify(flags)).update(process.arch)
  for (const name of sources(/\.(c|cc|h)$/)) hash.update(name).update(readFileSync(join(native, name)))
  for (const library of ['node-addon-api', 'node-api-headers']) hash.update(require(`${library}/package.json`).version)
  return hash.digest('hex')
}

/** What an object is made from: its file, and every header of the project that it includes, directly or through others. */
function hashOfSource(name, flags) {
  const hash = createHash('sha256').update(JSON.stringify(flags)).update(process.arch)
  for (const library of ['node-addon-api', 'node-api-headers']) hash.update(require(`${library}/package.json`).version)
  const files = new Set([name])
  for (const file of files) {
    const text = readFileSync(join(native, file), 'utf8')
    hash.update(file).update(text)
    for (const [, included] of text.matchAll(/^#include "(.+)"/gm)) {
      const path = [join(dirname(file), included), included].find((path) => existsSync(join(native, path)))
      if (path) files.add(path)
    }
  }
  return hash.digest('hex').slice(0, 16)
}

async function compileInto(folder, flags, libtorch, progress) {
  mkdirSync(join(build, 'native'), { recursive: true })
  const work = mkdtempSync(join(build, 'native', 'tmp-'))
  try {
    const queue = sources(/\.cc$/)
    const total = queue.length + 2
    let done = 0
    mkdirSync(cache, { recursive: true })
    const object = (name) => join(cache, `${hashOfSource(name, flags)}.o`)
    const objects = queue.map(object)
    const compileNext = async () => {
      for (let name = queue.shift(); name; name = queue.shift()) {
        if (!existsSync(object(name))) await compileOne(name, object(name), flags)
        progress(++done, total)
      }
    }
    await Promise.all(Array.from({ length: availableParallelism() }, compileNext))
    await compiler('g++', ['-shared', ...objects, ...flags.link, '-o', join(work, 'prospect.node')])
    progress(++done, total)
    await compiler('gcc', ['-shared', ...flags.c, join(native, 'boot.c'), '-ldl', '-o', join(work, 'boot.node')])
    progress(++done, total)
    const used = new Set(objects)
    for (const file of readdirSync(cache)) if (!used.has(join(cache, file))) rmSync(join(cache, file))
    rmSync(folder, { recursive: true, force: true })
    renameSync(work, folder)
  } catch (error) {
    rmSync(work, { recursive: true, force: true })
    throw new Error(
      `the addon does not build against libtorch ${libtorch.version} (${libtorch.source}):\n${error.stderr ?? error.message}`,
    )
  }
}

async function compileOne(name, object, flags) {
  const own = name.startsWith('kernels') ? flags.kernels : []
  const unfinished = `${object}.${process.pid}`
  await compiler('g++', [...flags.cc, ...own, '-c', join(native, name), '-o', unfinished])
  renameSync(unfinished, object)
}

async function compiler(program, parameters) {
  await run(program, parameters, { maxBuffer: 1 << 26 })
}

function writeAtomically(file, text) {
  if (existsSync(file) && readFileSync(file, 'utf8') === text) return
  writeFileSync(`${file}.tmp`, text)
  renameSync(`${file}.tmp`, file)
}
