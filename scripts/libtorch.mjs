// Finds the libtorch to build against: LIBTORCH, then the active Python's torch, then the system's (Debian's libtorch-dev).
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'

export const OLDEST = [1, 13]

/** @typedef {{ source: string, version: string, include: string[], lib: string, abi: number, cuda: boolean }} Libtorch */

/** The first libtorch found, or null. Throws where LIBTORCH is set but holds none, and where what is found is too old. */
export function findLibtorch() {
  const found = fromVariable() ?? fromPython() ?? fromSystem()
  if (found && !newEnough(found.version)) {
    const fix = 'pip install torch (in an active virtual environment), or set LIBTORCH to a newer one'
    throw new Error(`libtorch ${found.version} (${found.source}) is older than ${OLDEST.join('.')}: ${fix}`)
  }
  return found
}

function newEnough(version) {
  const [major, minor] = version.split('.').map(Number)
  return major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1])
}

function fromVariable() {
  const folder = process.env.LIBTORCH
  if (!folder) return null
  const found = inFolder(folder, 'LIBTORCH')
  if (!found)
    throw new Error(
      `LIBTORCH=${folder} holds no libtorch: expected lib/libtorch_cpu.so and include/torch in it; correct or unset it`,
    )
  return found
}

function fromPython() {
  const script =
    "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '')"
  for (const python of ['python3', 'python']) {
    try {
      const folder = execFileSync(python, ['-c', script], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      }).trim()
      const found = folder && inFolder(folder, `Python's torch, ${folder}`)
      if (found) return found
    } catch {
      // no such Python: the next place is tried
    }
  }
  return null
}

/** A folder laid out like the torch wheel and the libtorch archives: include/, lib/, share/cmake. */
function inFolder(folder, source) {
  const include = join(folder, 'include')
  const lib = join(folder, 'lib')
  const version = headerVersion(join(include, 'torch/csrc/api/include'))
  if (!version || !existsSync(join(lib, 'libtorch_cpu.so'))) return null
  const cmake = join(folder, 'share/cmake/Torch/TorchConfig.cmake')
  const abi = existsSync(cmake) && /_GLIBCXX_USE_CXX11_ABI=0/.test(readFileSync(cmake, 'utf8')) ? 0 : 1
  const cuda = existsSync(join(lib, 'libtorch_cuda.so'))
  return { source, version, include: [include, join(include, 'torch/csrc/api/include')], lib, abi, cuda }
}

function fromSystem() {
  const api = '/usr/include/torch/csrc/api/include'
  const version = headerVersion(api)
  const lib = systemLibraries().find((folder) => existsSync(join(folder, 'libtorch_cpu.so')))
  if (!version || !lib) return null
  return { source: 'system', version, include: [api], lib, abi: 1, cuda: existsSync(join(lib, 'libtorch_cuda.so')) }
}

function systemLibraries() {
  const triplet = { x64: 'x86_64-linux-gnu', arm64: 'aarch64-linux-gnu' }[process.arch]
  return [...(triplet ? [`/usr/lib/${triplet}`] : []), '/usr/lib64', '/usr/lib', '/usr/local/lib']
}

/** The version in libtorch's headers; 2.10 and newer keep it in torch/headeronly. */
function headerVersion(api) {
  const headers = [join(api, 'torch/version.h'), join(api, '../../../headeronly/version.h')]
  const text = headers.map((header) => (existsSync(header) ? readFileSync(header, 'utf8') : '')).join('\n')
  const full = /TORCH_VERSION "([^"]+)"/.exec(text)
  if (full) return full[1]
  const part = (name) => new RegExp(`TORCH_VERSION_${name} (\\d+)`).exec(text)?.[1]
  return part('MAJOR') ? `${part('MAJOR')}.${part('MINOR')}.${part('PATCH')}` : null
}

/** Debian's OpenMP build of OpenBLAS, which shares libtorch's thread pool; null where there is none. */
export function findOpenmpBlas() {
  const folders = systemLibraries().map((folder) => join(folder, 'openblas-openmp/libblas.so.3'))
  return folders.find((file) => existsSync(file)) ?? null
}

/** Whether a program is on the PATH. */
export function hasProgram(name) {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => folder && existsSync(join(folder, name)))
}
