/**
 * JavaScript has one kind of number, so that JSON.parse and JSON.stringify turn 30.0 into 30. Configurations are read by programs that tell floats
 * from whole numbers: transformers 5 refuses `"final_logit_softcapping": 30`. So floats are written as they were.
 */
export function stringifyLike(value: unknown, original: string): string {
  const floats = wholeFloats(original)
  const paths = new WeakMap<object, string>()
  const marks: string[] = []
  const marked = JSON.stringify(
    value,
    function (this: object, key, item: unknown) {
      const path = paths.has(this) ? `${paths.get(this)}/${JSON.stringify(key)}` : '' // the outermost holder is not ours
      if (typeof item === 'object' && item !== null) paths.set(item, path)
      const literal = typeof item === 'number' ? floats.get(path) : undefined
      if (literal === undefined || Number(literal) !== item) return item
      return `${mark}${marks.push(literal) - 1}`
    },
    2,
  )
  return marked.replace(new RegExp(`"${mark}(\\d+)"`, 'g'), (_, index: string) => marks[Number(index)]!)
}

const mark = '\u{f0000}' // a private character, which no configuration has

/** The literals of a valid JSON text that are floats, but that JavaScript would write as whole numbers, by their paths. */
function wholeFloats(json: string): Map<string, string> {
  const found = new Map<string, string>()
  const tokens: readonly string[] = json.match(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g) ?? []
  let at = 0
  const next = () => tokens[at++]!
  value('')
  return found

  function value(path: string): void {
    const token = next()
    if (token === '{') members(path, '}', memberName)
    else if (token === '[') {
      let index = 0
      members(path, ']', () => JSON.stringify(String(index++)))
    } else if (/^-?\d/.test(token) && /[.eE]/.test(token) && Number.isInteger(Number(token))) found.set(path, token)
  }

  function memberName(): string {
    const name = JSON.stringify(JSON.parse(next()))
    next() // the colon
    return name
  }

  function members(path: string, end: string, key: () => string): void {
    while (tokens[at] !== end && at < tokens.length) {
      value(`${path}/${key()}`)
      if (tokens[at] === ',') at++
    }
    at++
  }
}
