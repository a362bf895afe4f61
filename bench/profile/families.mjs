// Operators by what they are for. A name is the profiler's: an ATen operator, a node of the backward graph, or one of this project's kernels.

const families = [
  ['head', /token_logps|TokenLogps|logsumexp|gather|scatter/i],
  ['attention', /attention|softmax/i],
  ['norm', /norm|rsqrt|pow|square|mean/i],
  ['rope', /rope|rotary|rotate/i],
  ['activation', /silu|swiglu|gelu|gated_activation|\bGated\b/i],
  ['optimiser', /adamw|foreach|clip/i],
  [
    'matmul',
    /\b(mm|addmm|addmm_|bmm|baddbmm|matmul|linear|gated_linear|mkldnn_linear)\b|MmBackward|BmmBackward|Linear|AddmmBackward/,
  ],
  ['casts and copies', /copy|_to_copy|\bto\b|ToCopy|clone|contiguous|AccumulateGrad/],
  ['embedding and gathers', /embedding|index|take/i],
  ['views', /view|reshape|transpose|permute|narrow|slice|split|expand|squeeze|detach|as_strided|alias|\bt\b/i],
  ['memory', /empty|zeros|ones|fill|zero_|resize/],
  ['pointwise', /add|sub|mul|div|neg|exp|sigmoid|where|cat|sum|log|sqrt|cos|sin/i],
]

export function familyOf(operator) {
  const name = operator.replace(/^aten::/, '').replace(/^autograd::engine::evaluate_function: /, '')
  return families.find(([, pattern]) => pattern.test(name))?.[0] ?? 'other'
}

/** {operator: {milliseconds, calls}} by family, the slowest first. */
export function byFamily(times) {
  const totals = new Map()
  for (const [operator, { milliseconds, calls }] of Object.entries(times)) {
    const family = familyOf(operator)
    const total = totals.get(family) ?? { milliseconds: 0, calls: 0, operators: [] }
    total.milliseconds += milliseconds
    total.calls += calls
    total.operators.push([operator, milliseconds, calls])
    totals.set(family, total)
  }
  for (const total of totals.values()) total.operators.sort((a, b) => b[1] - a[1])
  return [...totals].sort((a, b) => b[1].milliseconds - a[1].milliseconds)
}
