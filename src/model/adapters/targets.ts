import type { AdapterConfig } from './config.ts'

/** Name and shape of every weight of a model, and which of them are its embedding and its output head (a tied head is not among the shapes). */
export interface ModelShapes {
  shapes: ReadonlyMap<string, readonly number[]>
  embedding: string
  head: string
}

/** A module that an adapter changes. */
export interface AdaptedModule {
  /** Its name in the Hugging Face model, without `.weight`. */
  name: string
  kind: 'linear' | 'embedding' | 'head'
  /** Shape of its weight, [outputs, inputs]; an embedding's is [tokens, width]. */
  shape: readonly [number, number]
  rank: number
  scaling: number
}

/** What an adapter changes in a model. Names are those of the model, in its order. */
export interface AdapterTargets {
  modules: AdaptedModule[]
  /** Weights and biases that are trained in full and stored with the adapter. */
  full: string[]
}

/**
 * The modules that a configuration names, by PEFT's rules: `target_modules` are ends of names after a dot, or a regular expression for the
 * whole name; `all-linear` is every matrix but embedding and head. Throws where nothing matches, or a name given matches nothing.
 */
export function adapterTargets(config: AdapterConfig, model: ModelShapes): AdapterTargets {
  const candidates = matricesOf(model)
  const modules = candidates
    .filter(({ name, kind }) => isTarget(config, name, kind))
    .map((candidate) => ({ ...candidate, ...rankOf(config, candidate.name) }))
  refuseUnmatched(config, candidates)
  if (modules.length === 0) {
    throw new Error(
      `the adapter's target modules (${[config.targetModules].flat().join(', ')}) match nothing in the model; it has ${lastParts(candidates).join(', ')}`,
    )
  }
  return { modules, full: fullyTrained(config, model, modules) }
}

type Matrix = Pick<AdaptedModule, 'name' | 'kind' | 'shape'>

function matricesOf({ shapes, embedding, head }: ModelShapes): Matrix[] {
  const kindOf = (weight: string) => (weight === embedding ? 'embedding' : weight === head ? 'head' : 'linear')
  const matrices = [...shapes].flatMap(([weight, shape]): Matrix[] => {
    if (!weight.endsWith('.weight') || shape.length !== 2) return []
    return [{ name: moduleOf(weight), kind: kindOf(weight), shape: shape as [number, number] }]
  })
  if (shapes.has(head)) return matrices
  return [...matrices, { name: moduleOf(head), kind: 'head', shape: shapes.get(embedding) as [number, number] }]
}

/** The module that a weight or bias belongs to. */
export function moduleOf(parameter: string): string {
  return parameter.slice(0, parameter.lastIndexOf('.'))
}

function isTarget(config: AdapterConfig, name: string, kind: AdaptedModule['kind']): boolean {
  const { targetModules, excludeModules, modulesToSave } = config
  if (excludeModules !== null && matches(excludeModules, name)) return false
  if (modulesToSave.some((saved) => pythonPattern(`(^|.*\\.)${saved}($|\\..*)`).test(name))) return false
  if (isAllLinear(targetModules)) return kind === 'linear' && isLayerWanted(config, name)
  if (!matches(targetModules, name)) return false
  return typeof targetModules === 'string' || targetModules.includes(name) || isLayerWanted(config, name)
}

function isAllLinear(targets: AdapterConfig['targetModules']): boolean {
  return typeof targets === 'string' && targets.toLowerCase() === 'all-linear'
}

function matches(targets: readonly string[] | string, name: string): boolean {
  if (typeof targets === 'string') return pythonPattern(`(?:${targets})$`).test(name)
  return targets.some((target) => name === target || name.endsWith(`.${target}`))
}

function isLayerWanted({ layers, layersPattern }: AdapterConfig, name: string): boolean {
  if (layers === null || layers.length === 0) return true
  const patterns = layersPattern && layersPattern.length > 0 ? layersPattern : null
  const found = patterns
    ? patterns.map((pattern) => pythonPattern(`(?:^|.*?\\.)${pattern}\\.(?<index>\\d+)\\.`).exec(name))
    : [/^.*?\.[^.]*\.(?<index>\d+)\./.exec(name)]
  const match = found.find((candidate) => candidate !== null)
  return match !== undefined && layers.includes(Number(match!.groups!.index))
}

function rankOf(config: AdapterConfig, name: string): { rank: number; scaling: number } {
  const valueFor = (patterns: Readonly<Record<string, number>>, fallback: number) => {
    const key = Object.keys(patterns).find((pattern) => pythonPattern(`(.*\\.)?(${pattern})$`).test(name))
    return key === undefined ? fallback : patterns[key]!
  }
  const rank = valueFor(config.rankPattern, config.rank)
  const alpha = valueFor(config.alphaPattern, config.alpha)
  return { rank, scaling: config.rslora ? alpha / Math.sqrt(rank) : alpha / rank }
}

/** A regular expression in Python's spelling, anchored at the start as re.match does. */
function pythonPattern(pattern: string): RegExp {
  const translated = pattern.replaceAll('(?P<', '(?<').replaceAll('\\Z', '$')
  try {
    return new RegExp(`^(?:${translated})`)
  } catch (error) {
    throw new Error(`the adapter's pattern '${pattern}' is no regular expression: ${(error as Error).message}`)
  }
}

/** A list of names, one of which is mistyped, would quietly adapt less than was meant. */
function refuseUnmatched({ targetModules, modulesToSave }: AdapterConfig, candidates: readonly Matrix[]): void {
  const targets = typeof targetModules === 'string' ? [] : targetModules
  const lost = targets.filter((target) => !candidates.some(({ name }) => matches([target], name)))
  const covered = (name: string) => modulesToSave.some((saved) => name.endsWith(saved))
  const unknown = lost.filter((target) => !covered(target))
  if (unknown.length > 0) {
    throw new Error(
      `target modules ${unknown.join(', ')}: the model has none of that name; it has ${lastParts(candidates).join(', ')}`,
    )
  }
}

function lastParts(candidates: readonly Matrix[]): string[] {
  return [...new Set(candidates.map(({ name }) => name.slice(name.lastIndexOf('.') + 1)))]
}

function fullyTrained(
  { modulesToSave, bias }: AdapterConfig,
  { shapes, head }: ModelShapes,
  modules: readonly AdaptedModule[],
): string[] {
  const adapted = new Set(modules.map(({ name }) => name))
  const saved = (name: string) => modulesToSave.some((end) => moduleOf(name).endsWith(end))
  const trainedBias = (name: string) =>
    name.endsWith('.bias') && (bias === 'all' || (bias === 'lora_only' && adapted.has(moduleOf(name))))
  const all = shapes.has(head) ? [...shapes.keys()] : [...shapes.keys(), head]
  const unmatched = modulesToSave.filter((end) => !all.some((name) => moduleOf(name).endsWith(end)))
  if (unmatched.length > 0) throw new Error(`modules to save ${unmatched.join(', ')}: the model has none of that name`)
  return all.filter((name) => saved(name) || trainedBias(name))
}

/** `all-linear` written out, as PEFT's files have it: the ends of the names where they say it all, else the whole names. */
export function namedTargets(config: AdapterConfig, model: ModelShapes): AdapterConfig {
  if (!isAllLinear(config.targetModules)) return config
  const wanted = adapterTargets(config, model).modules.map(({ name }) => name)
  const ends = [...new Set(wanted.map((name) => name.slice(name.lastIndexOf('.') + 1)))]
  const byEnds = adapterTargets({ ...config, targetModules: ends }, model).modules.map(({ name }) => name)
  return { ...config, targetModules: byEnds.join() === wanted.join() ? ends : wanted }
}
