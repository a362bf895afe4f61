// Compiles stand-in.cc against the libtorch 1.13 that the addon was built with, and runs tests on that device:
//   node test/device/stand-in.mjs [vitest's arguments]
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'

const root = join(import.meta.dirname, '../..')
const { libtorch } = JSON.parse(readFileSync(join(root, 'build/engine.json'), 'utf8'))
const source = join(import.meta.dirname, 'stand-in.cc')
const library = join(root, 'build', `stand-in-${libtorch.version}.so`)
if (!libtorch.version.startsWith('1.')) {
  // Newer ones ask a device's backend for streams, which this one has not.
  console.error(
    `the stand-in device is for libtorch 1.13, and the addon was built with ${libtorch.version}: npm run setup with Debian's`,
  )
  process.exit(1)
}
mkdirSync(join(root, 'build'), { recursive: true })
if (
  !existsSync(library) ||
  [source, import.meta.filename].some((file) => statSync(library).mtimeMs < statSync(file).mtimeMs)
) {
  const standard = Number(libtorch.version.split('.')[0]) >= 2 ? 'gnu++20' : 'gnu++17'
  const flags = ['-shared', '-fPIC', '-O1', `-std=${standard}`, `-D_GLIBCXX_USE_CXX11_ABI=${libtorch.abi}`]
  const headers = libtorch.include.map((path) => `-isystem${path}`)
  // Linked with the libraries that are in the process already.
  const link = [`-L${libtorch.lib}`, `-Wl,-rpath,${libtorch.lib}`, '-ltorch_cpu', '-lc10']
  execFileSync('g++', [...flags, ...headers, source, ...link, '-o', library], { stdio: 'inherit' })
}
const environment = { PROSPECT_TEST_DEVICE: 'privateuseone:0', PROSPECT_STAND_IN: library }
const vitest = ['vitest', 'run', '--config', 'vitest.device.config.ts', ...process.argv.slice(2)]
const { status } = spawnSync('npx', vitest, { cwd: root, stdio: 'inherit', env: { ...process.env, ...environment } })
process.exitCode = status ?? 1
