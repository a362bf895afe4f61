/** Rotary embedding: base frequency, how many elements of a head are turned, and how it is stretched to longer contexts. */
export interface RopeConfig {
  theta: number
  /** Elements of a head that are turned, the first ones; even. */
  size: number
  scaling: RopeScaling
}

/** As transformers has them; positions and factors are those of its config.json. */
export type RopeScaling =
  | { type: 'default' }
  | { type: 'linear'; factor: number }
  | { type: 'dynamic'; factor: number; maxPositions: number }
  | {
      type: 'llama3'
      factor: number
      lowFrequencyFactor: number
      highFrequencyFactor: number
      originalMaxPositions: number
    }
  | {
      type: 'yarn'
      factor: number
      originalMaxPositions: number
      betaFast: number
      betaSlow: number
      /** What cosines and sines are multiplied by. */
      attentionFactor: number
      truncate: boolean
    }
  | {
      type: 'longrope'
      shortFactors: readonly number[]
      longFactors: readonly number[]
      originalMaxPositions: number
      attentionFactor: number
    }

type Scaling<T extends RopeScaling['type']> = Extract<RopeScaling, { type: T }>

/** What cosines and sines are multiplied by. */
export function ropeAmplitude({ scaling }: RopeConfig): number {
  return 'attentionFactor' in scaling ? scaling.attentionFactor : 1
}

/** Whether the frequencies depend on how long a row is. */
export function dependsOnLength({ scaling }: RopeConfig): boolean {
  return scaling.type === 'dynamic' || scaling.type === 'longrope'
}

/**
 * The length that the frequencies are made for, for a row of so many tokens: rows with the same answer have the same frequencies. 0 where the
 * length does not matter.
 */
export function ropeRegime({ scaling }: RopeConfig, tokens: number): number {
  if (scaling.type === 'dynamic') return Math.max(tokens, scaling.maxPositions)
  if (scaling.type === 'longrope') return tokens > scaling.originalMaxPositions ? scaling.originalMaxPositions + 1 : 0
  return 0
}

/** What a model's results depend on, of the length of rows: equal texts, equal results. Empty for most models. */
export function lengthRegimes({ ropes }: { ropes: readonly RopeConfig[] }, tokens: number): string {
  return ropes
    .filter(dependsOnLength)
    .map((rope) => `,${ropeRegime(rope, tokens)}`)
    .join('')
}

/**
 * Turn in radians a position, for each pair of elements: theta^(-2i / size), stretched as the scaling says, for rows of at most `tokens`
 * tokens. Float32, as the models were trained with. [size / 2]
 */
export function ropeFrequencies(config: RopeConfig, tokens: number): Float32Array {
  const { scaling } = config
  switch (scaling.type) {
    case 'default':
      return plainFrequencies(config)
    case 'linear':
      return plainFrequencies(config).map((frequency) => frequency / scaling.factor)
    case 'dynamic':
      return plainFrequencies({ ...config, theta: dynamicBase(config, scaling, tokens) })
    case 'llama3':
      return plainFrequencies(config).map((frequency) => llama3Frequency(frequency, scaling))
    case 'yarn':
      return yarnFrequencies(config, scaling)
    case 'longrope': {
      const { shortFactors, longFactors, originalMaxPositions } = scaling
      const factors = tokens > originalMaxPositions ? longFactors : shortFactors
      return plainFrequencies(config).map((frequency, i) => frequency / factors[i]!)
    }
  }
}

function plainFrequencies({ theta, size }: Pick<RopeConfig, 'theta' | 'size'>): Float32Array {
  return Float32Array.from({ length: size / 2 }, (_, i) => 1 / Math.fround(theta ** Math.fround((2 * i) / size)))
}

/** Dynamic NTK scaling: past the trained length, the base grows with the length of the row. */
function dynamicBase(
  { theta, size }: RopeConfig,
  { factor, maxPositions }: Scaling<'dynamic'>,
  tokens: number,
): number {
  const stretch = (factor * Math.max(tokens, maxPositions)) / maxPositions - (factor - 1)
  return theta * stretch ** (size / (size - 2))
}

/** Llama 3.1: slow turns are stretched, fast ones kept, those between interpolated. */
function llama3Frequency(frequency: number, scaling: Scaling<'llama3'>): number {
  const { factor, lowFrequencyFactor: low, highFrequencyFactor: high, originalMaxPositions } = scaling
  const turns = (originalMaxPositions * frequency) / (2 * Math.PI)
  if (turns < low) return frequency / factor
  if (turns > high) return frequency
  const smooth = (turns - low) / (high - low)
  return ((1 - smooth) * frequency) / factor + smooth * frequency
}

/** YaRN (Peng et al., arXiv 2309.00071, section 3.2): as llama3, with a ramp over the elements rather than over their turns. */
function yarnFrequencies(config: RopeConfig, scaling: Scaling<'yarn'>): Float32Array {
  const { factor, originalMaxPositions, betaFast, betaSlow, truncate } = scaling
  const { theta, size } = config
  const elementWithTurns = (turns: number) =>
    (size * Math.log(originalMaxPositions / (turns * 2 * Math.PI))) / (2 * Math.log(theta))
  const [first, last] = [elementWithTurns(betaFast), elementWithTurns(betaSlow)]
  const low = Math.max(truncate ? Math.floor(first) : first, 0)
  const high = Math.min(truncate ? Math.ceil(last) : last, size - 1)
  const width = high === low ? 0.001 : high - low
  return plainFrequencies(config).map((frequency, i) => {
    const stretched = Math.min(1, Math.max(0, (i - low) / width))
    return (frequency / factor) * stretched + frequency * (1 - stretched)
  })
}
