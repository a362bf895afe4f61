// Packs what bench/gpu/run.sh needs and a machine without network may lack: Node, the npm packages that tests and bench load, and dist/.
//   node bench/gpu/pack.mjs [.gpu-pack]
// The folder goes with a copy of this repository to the other machine (the same processor family, a glibc no older than Node's).
import { execFileSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'

const root = join(import.meta.dirname, '../..')
const target = join(root, process.argv[2] ?? '.gpu-pack')
/** What the tests and benches of a device load, with all that these need. */
const wanted = [
  ...['vitest', 'fast-check', 'node-addon-api', 'node-api-headers', 'zod', 'yaml', 'commander', 'picocolors'],
  ...['cli-progress', 'pure-rand', 'csv-parse', 'fzstd', 'p-queue', 'amaro'],
  ...[
    '@huggingface/jinja',
    '@huggingface/tokenizers',
    '@huggingface/hub',
    '@duckdb/node-api',
    'openai',
    'vega',
    'vega-lite',
    '@resvg/resvg-js',
  ],
]
/** Loaded only where files need them that no test here has, or for other systems: too large to take along. */
const left =
  /^(@duckdb\/node-bindings-.*|lightningcss-linux-x64-musl|@rolldown\/binding-.*musl.*|@resvg\/resvg-js-.*musl.*)$/

rmSync(target, { recursive: true, force: true })
mkdirSync(target, { recursive: true })
const packages = closure(wanted)
tar(
  'node_modules.tar.xz',
  root,
  packages.map((name) => `node_modules/${name}`),
)
tar('dist.tar.xz', root, ['dist'])
mkdirSync(join(root, 'build/node'), { recursive: true })
cpSync(process.execPath, join(root, 'build/node/node'))
tar('node.tar.xz', root, ['build/node/node'])
const bytes = ['node_modules', 'dist', 'node'].map((name) => statSync(join(target, `${name}.tar.xz`)).size)
console.log(
  `${target}: ${(bytes.reduce((sum, size) => sum + size) / 2 ** 20).toFixed(1)} MiB, ${packages.length} packages`,
)

function closure(names) {
  const found = new Set()
  const queue = [...names]
  for (let name = queue.pop(); name; name = queue.pop()) {
    const file = join(root, 'node_modules', name, 'package.json')
    if (found.has(name) || left.test(name) || !existsSync(file)) continue
    found.add(name)
    const {
      dependencies = {},
      optionalDependencies = {},
      peerDependencies = {},
    } = JSON.parse(readFileSync(file, 'utf8'))
    queue.push(...Object.keys({ ...dependencies, ...optionalDependencies, ...peerDependencies }))
  }
  for (const heavy of [
    'typescript',
    '@types/node',
    'playwright-core',
    'playwright',
    'esbuild',
    'sass',
    'less',
    'jsdom',
    'happy-dom',
  ])
    found.delete(heavy)
  return [...found].sort()
}

function tar(name, folder, paths) {
  const environment = { ...process.env, XZ_OPT: '-6 -T1' }
  execFileSync('tar', ['-cJf', join(target, name), '-C', folder, ...paths], { stdio: 'inherit', env: environment })
}
