// All the set-up, on a fresh Debian or Ubuntu machine with Node 20+; a second run takes a moment. Run by `npm start` and `npm test`.
//   node scripts/setup.mjs [--only packages|addon|typescript]   (one step, with what it needs as it is: nothing is installed for it)
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { findLibtorch, findOpenmpBlas, hasProgram } from './libtorch.mjs'
import { buildTypeScript } from './typescript.mjs'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const build = join(root, 'build')
const only = process.argv.includes('--only') ? process.argv[process.argv.indexOf('--only') + 1] : null

try {
  await main()
} catch (error) {
  console.error(`\nset-up failed: ${error.message}`)
  process.exit(1)
}

async function main() {
  if (Number(process.versions.node.split('.')[0]) < 20)
    throw new Error(`Node ${process.versions.node} is too old: install Node 20 or newer`)
  mkdirSync(build, { recursive: true })
  const wants = (name) => only === null || only === name
  if (wants('packages')) await step('npm packages', installPackages)
  if (wants('addon')) {
    const missing = only === null ? missingPackages() : []
    if (missing.length > 0) askForRoot(missing)
    const libtorch = await step('libtorch', only === null ? (say) => provideLibtorch(missing, say) : namedLibtorch)
    await step('native addon', (say) => compileAddon(libtorch, say))
  }
  if (wants('typescript')) await step('TypeScript', compileTypeScript)
}

/** Runs one step of the set-up with one line that says how it ended; `say` replaces a line's tail while it runs. */
async function step(name, work) {
  const started = Date.now()
  const label = `set-up: ${name.padEnd(14)}`
  const seconds = () => `${((Date.now() - started) / 1000).toFixed(1)} s`
  const live = process.stdout.isTTY
  const say = (text) =>
    live ? process.stdout.write(`\r\x1b[K${label}${text}`) : console.log(`${label}${text} (${seconds()})`)
  let lastSaid = 'working'
  const heartbeat = setInterval(() => say(`${lastSaid}, ${seconds()}`), live ? 1000 : 15000)
  try {
    const [summary, result] = await work((text) => {
      lastSaid = text
      say(text)
    })
    console.log(`${live ? '\r\x1b[K' : ''}${label}${summary} (${seconds()})`)
    return result
  } finally {
    clearInterval(heartbeat)
  }
}

async function installPackages(say) {
  const lockFile = join(root, 'package-lock.json')
  if (!existsSync(lockFile)) return ['those of this installation'] // npm brought them with the package
  const stamp = join(root, 'node_modules', '.prospect-lock')
  const lock = createHash('sha256').update(readFileSync(lockFile)).digest('hex')
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === lock) return ['up to date']
  say('npm ci')
  await command('npm', ['ci', '--include=dev', '--no-audit', '--no-fund'], 'npm.log')
  writeFileSync(stamp, lock)
  return ['installed']
}

async function namedLibtorch() {
  const libtorch = findLibtorch()
  if (!libtorch) throw new Error('no libtorch was found: set LIBTORCH to the folder that holds lib/ and include/')
  return [`${libtorch.version}, ${libtorch.source}`, libtorch]
}

async function provideLibtorch(missing, say) {
  if (missing.length > 0) await installSystemPackages(missing, say)
  const libtorch = findLibtorch()
  if (!libtorch)
    throw new Error(
      'no libtorch was found after its installation: set LIBTORCH to the folder that holds lib/ and include/',
    )
  return [`${libtorch.version}, ${libtorch.source}`, libtorch]
}

/** Lets sudo ask for its password while no line is being written. */
function askForRoot(missing) {
  if (process.getuid?.() === 0 || !hasProgram('sudo') || !hasProgram('apt-get')) return
  console.log(`set-up: root is needed for apt-get install ${missing.join(' ')}`)
  spawnSync('sudo', ['-v'], { stdio: 'inherit' }) // where it is refused, the installation says so
}

/** Debian packages that are needed and not there: a compiler, and libtorch with its BLAS unless another libtorch is found. */
function missingPackages() {
  const libtorch = findLibtorch()
  const packages = []
  if (!hasProgram('g++') || !hasProgram('gcc')) packages.push('g++')
  if (!libtorch) packages.push('libtorch-dev')
  if ((!libtorch || libtorch.source === 'system') && !findOpenmpBlas()) packages.push('libopenblas0-openmp')
  return packages
}

async function installSystemPackages(packages, say) {
  const list = packages.join(' ')
  if (!hasProgram('apt-get')) {
    const needs =
      'a C++17 compiler as g++, and libtorch 1.13 or newer: `pip install torch` in the active Python, or LIBTORCH=<its folder>'
    throw new Error(`this system has no apt-get, so install by hand: ${needs}`)
  }
  const root = process.getuid?.() === 0
  if (!root && !hasProgram('sudo'))
    throw new Error(`root is needed to install them: run apt-get install --no-install-recommends ${list}`)
  const apt = (parameters) =>
    root
      ? command('apt-get', parameters, 'apt.log', { DEBIAN_FRONTEND: 'noninteractive' })
      : command('sudo', ['DEBIAN_FRONTEND=noninteractive', 'apt-get', ...parameters], 'apt.log')
  say('apt-get update')
  await apt(['update', '-qq'])
  say(`apt-get install ${list} (about 210 MB to download where libtorch is among them)`)
  await apt(['install', '-y', '-qq', '--no-install-recommends', ...packages])
}

async function compileAddon(libtorch, say) {
  const { buildAddon } = await import('./build-addon.mjs') // needs the npm packages
  const blas = libtorch.source === 'system' ? findOpenmpBlas() : null
  const outcome = await buildAddon(libtorch, blas, (done, total) => say(`compiling ${done}/${total}`))
  return [outcome === 'built' ? 'built' : 'up to date']
}

async function compileTypeScript(say) {
  if (!existsSync(join(root, 'src'))) return ['up to date']
  const compiler = [join(root, 'node_modules/typescript/bin/tsc'), '-p', join(root, 'tsconfig.build.json')]
  const outcome = await buildTypeScript(root, async () => {
    say('tsc')
    await command(process.execPath, compiler, 'tsc.log')
  })
  return [outcome === 'built' ? 'built' : 'up to date']
}

/** Runs a program with its output in build/<log>; where it fails, the error shows the end of that log. */
function command(program, parameters, log, environment = {}) {
  return new Promise((resolve, reject) => {
    const chunks = []
    const child = spawn(program, parameters, {
      cwd: root,
      stdio: ['inherit', 'pipe', 'pipe'],
      env: { ...process.env, ...environment },
    })
    child.stdout.on('data', (chunk) => chunks.push(chunk))
    child.stderr.on('data', (chunk) => chunks.push(chunk))
    child.on('error', (error) => reject(new Error(`${program}: ${error.message}`)))
    child.on('close', (code) => {
      const output = Buffer.concat(chunks).toString()
      writeFileSync(join(build, log), output)
      if (code === 0) return resolve()
      const tail = output.trim().split('\n').slice(-15).join('\n')
      reject(
        new Error(`${program} ${parameters.join(' ')} ended with ${code} (whole output in build/${log}):\n${tail}`),
      )
    })
  })
}
