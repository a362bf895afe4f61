/** Rows of numbers, one after the other: `values` has rows.length x width of them. */
export interface Features {
  values: Float32Array
  width: number
}

/** Where density ratios are cut off, and how many rows of each kind at most the classifier learns from. */
export interface DensityOptions {
  low: number
  high: number
  sample: number
}

/** log odds = weights x + bias */
export interface Classifier {
  weights: Float64Array
  bias: number
}

/**
 * Logistic regression with an L2 penalty of 1/2 |w|^2 (none on the bias), each kind weighing the same in all: what scikit-learn's
 * LogisticRegression(class_weight='balanced') minimises. By Newton's method, whose linear systems conjugate gradients solve. Throws RangeError
 * where there is one kind only.
 */
export function fitClassifier({ values, width }: Features, desirable: readonly boolean[]): Classifier {
  const ups = desirable.filter(Boolean).length
  const count = desirable.length
  if (ups === 0 || ups === count) throw new RangeError('a classifier needs rows of both kinds')
  const weightOf = (label: boolean) => count / (2 * (label ? ups : count - ups))
  const columns = width + 1 // the bias comes last
  const product = (vector: Float64Array) =>
    Float64Array.from(desirable, (_, row) => {
      let sum = vector[width]!
      for (let i = 0; i < width; i++) sum += values[row * width + i]! * vector[i]!
      return sum
    })
  /** penalised + sum over rows of scale x row */
  const transposed = (scales: Float64Array, penalised: Float64Array) => {
    const result = Float64Array.from(penalised)
    result[width] = 0
    for (let row = 0; row < count; row++) {
      const scale = scales[row]!
      for (let i = 0; i < width; i++) result[i]! += scale * values[row * width + i]!
      result[width]! += scale
    }
    return result
  }
  const objective = (theta: Float64Array, odds: Float64Array) =>
    dot(theta.subarray(0, width), theta.subarray(0, width)) / 2 +
    odds.reduce((sum, value, row) => sum + weightOf(desirable[row]!) * softplus(desirable[row] ? -value : value), 0)

  let theta = new Float64Array(columns)
  let odds = product(theta)
  for (let iteration = 0; iteration < 100; iteration++) {
    const shares = odds.map(sigmoid)
    const residuals = shares.map((share, row) => weightOf(desirable[row]!) * (share - Number(desirable[row])))
    const gradient = transposed(residuals, theta)
    if (Math.sqrt(dot(gradient, gradient)) < 1e-8 * count) break
    const curvature = shares.map((share, row) => weightOf(desirable[row]!) * share * (1 - share))
    const hessian = (vector: Float64Array) => {
      const through = product(vector)
      return transposed(
        through.map((value, row) => value * curvature[row]!),
        vector,
      )
    }
    const step = conjugateGradients(hessian, gradient)
    const [before, slope] = [objective(theta, odds), dot(gradient, step)]
    for (let length = 1; length > 1e-10; length /= 2) {
      const next = theta.map((value, i) => value - length * step[i]!)
      const nextOdds = product(next)
      const improved = objective(next, nextOdds) <= before - 1e-4 * length * slope
      if (!improved && length > 1e-9) continue
      theta = next
      odds = nextOdds
      break
    }
  }
  return { weights: theta.slice(0, width), bias: theta[width]! }
}

/** Solves matrix x = right, for a symmetric positive definite matrix given by its product with a vector. */
function conjugateGradients(matrix: (vector: Float64Array) => Float64Array, right: Float64Array): Float64Array {
  const solution = new Float64Array(right.length)
  let residual = Float64Array.from(right)
  let direction = Float64Array.from(right)
  let size = dot(residual, residual)
  const enough = size * 1e-12
  for (let iteration = 0; iteration < 2 * right.length && size > enough; iteration++) {
    const along = matrix(direction)
    const length = size / dot(direction, along)
    for (let i = 0; i < solution.length; i++) solution[i]! += length * direction[i]!
    residual = residual.map((value, i) => value - length * along[i]!)
    const next = dot(residual, residual)
    direction = residual.map((value, i) => value + (next / size) * direction[i]!)
    size = next
  }
  return solution
}

/** The classifier's probability that a row with these features is desirable. */
export function desirableShare(features: Float32Array, { weights, bias }: Classifier): number {
  return sigmoid(features.reduce((sum, value, i) => sum + value * weights[i]!, bias))
}

/**
 * p(x | desirable) / p(x | undesirable) of a prompt, from a classifier that sees both kinds equally often: the weight of BCO's underlying distribution matching (arXiv 2404.04656), cut off as TRL's
 * BCOTrainer does (`min_density_ratio`, `max_density_ratio`).
 */
export function densityRatio(share: number, { low, high }: Pick<DensityOptions, 'low' | 'high'>): number {
  return Math.min(Math.max(share / (1 - share + 1e-8), low), high)
}

/**
 * A classifier of features as they are, learnt from features with mean 0 and variance 1 / width: their vectors then have length 1 on average, as sentence
 * embeddings have, and the penalty means the same for every model. What does not vary is not looked at.
 */
export function fitStandardised({ values, width }: Features, desirable: readonly boolean[]): Classifier {
  const count = desirable.length
  const mean = new Float64Array(width)
  const square = new Float64Array(width)
  for (const [at, value] of values.entries()) mean[at % width]! += value / count
  for (const [at, value] of values.entries()) square[at % width]! += (value - mean[at % width]!) ** 2 / count
  const scale = square.map((variance) => (variance > 1e-12 ? 1 / Math.sqrt(variance * width) : 0))
  const standardised = values.map((value, at) => (value - mean[at % width]!) * scale[at % width]!)
  const { weights, bias } = fitClassifier({ values: standardised, width }, desirable)
  const own = weights.map((weight, i) => weight * scale[i]!)
  return { weights: own, bias: bias - dot(own, mean) }
}

function dot(one: Float64Array, other: Float64Array): number {
  let sum = 0
  for (let i = 0; i < one.length; i++) sum += one[i]! * other[i]!
  return sum
}

function sigmoid(value: number): number {
  return 1 / (1 + Math.exp(-value))
}

/** log(1 + exp(value)) */
function softplus(value: number): number {
  return Math.max(value, 0) + Math.log1p(Math.exp(-Math.abs(value)))
}
