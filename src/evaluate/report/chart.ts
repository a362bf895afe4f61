/** A line of a chart, or single points. Gaps are where y is null. */
export interface Series {
  name: string
  color: string
  points: readonly { x: number; y: number | null }[]
  dots?: boolean
}

export interface ChartOptions {
  title: string
  xLabel: string
  series: readonly Series[]
  /** Vertical or horizontal lines to compare with. */
  marks?: readonly { x?: number; y?: number; label: string }[]
}

const [width, height] = [640, 300]
const margin = { left: 58, right: 14, top: 12, bottom: 40 }

/** A chart as an SVG element that scales with the page. Texts are escaped. */
export function chart({ title, xLabel, series, marks = [] }: ChartOptions): string {
  const all = series.flatMap(({ points }) => points.filter(({ y }) => y !== null && Number.isFinite(y)))
  if (all.length === 0) return ''
  const x = scale(
    [...all.map((point) => point.x), ...marks.flatMap((mark) => mark.x ?? [])],
    margin.left,
    width - margin.right,
  )
  const y = scale(
    [...all.map((point) => point.y!), ...marks.flatMap((mark) => mark.y ?? [])],
    height - margin.bottom,
    margin.top,
  )
  const grid = y.ticks.map(
    (tick) =>
      `<line class="grid" x1="${margin.left}" x2="${width - margin.right}" y1="${y.at(tick)}" y2="${y.at(tick)}"/><text x="${margin.left - 6}" y="${y.at(tick) + 4}" text-anchor="end">${tickText(tick)}</text>`,
  )
  const foot = x.ticks.map(
    (tick) =>
      `<text x="${x.at(tick)}" y="${height - margin.bottom + 16}" text-anchor="middle">${tickText(tick)}</text>`,
  )
  const lines = marks.map((mark) =>
    mark.x === undefined
      ? `<line class="mark" x1="${margin.left}" x2="${width - margin.right}" y1="${y.at(mark.y!)}" y2="${y.at(mark.y!)}"/><text x="${width - margin.right}" y="${y.at(mark.y!) - 4}" text-anchor="end">${escapeHtml(mark.label)}</text>`
      : `<line class="mark" x1="${x.at(mark.x)}" x2="${x.at(mark.x)}" y1="${margin.top}" y2="${height - margin.bottom}"/><text x="${x.at(mark.x) + 4}" y="${margin.top + 10}">${escapeHtml(mark.label)}</text>`,
  )
  const drawn = series.map((one) => (one.dots ? dots(one, x.at, y.at) : line(one, x.at, y.at)))
  const legend = series
    .map(({ name, color }) => `<span><i style="background:${color}"></i>${escapeHtml(name)}</span>`)
    .join('')
  return `<figure><figcaption>${escapeHtml(title)}</figcaption><svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${escapeHtml(title)}">${[...grid, ...foot, ...lines, ...drawn].join('')}<text x="${(width + margin.left) / 2}" y="${height - 6}" text-anchor="middle">${escapeHtml(xLabel)}</text></svg><div class="legend">${legend}</div></figure>`
}

type Place = (value: number) => number

function line({ points, color }: Series, x: Place, y: Place): string {
  let path = ''
  let drawing = false
  for (const point of thinned(points)) {
    if (point.y === null || !Number.isFinite(point.y)) drawing = false
    else {
      path += `${drawing ? 'L' : 'M'}${x(point.x)} ${y(point.y)}`
      drawing = true
    }
  }
  return `<path fill="none" stroke="${color}" stroke-width="2" d="${path}"/>`
}

function dots({ points, color }: Series, x: Place, y: Place): string {
  const shown = points.filter((point) => point.y !== null)
  return shown.map((point) => `<circle cx="${x(point.x)}" cy="${y(point.y!)}" r="4" fill="${color}"/>`).join('')
}

/** As many points as a screen can show: means of neighbours. */
function thinned(points: Series['points'], most = 400): Series['points'] {
  const each = Math.ceil(points.length / most)
  if (each <= 1) return points
  return Array.from({ length: Math.ceil(points.length / each) }, (_, i) => {
    const part = points.slice(i * each, (i + 1) * each)
    const known = part.flatMap(({ y }) => (y === null ? [] : [y]))
    const mean = known.length === 0 ? null : known.reduce((sum, y) => sum + y, 0) / known.length
    return { x: part[Math.floor(part.length / 2)]!.x, y: mean }
  })
}

function scale(values: readonly number[], from: number, to: number): { at: Place; ticks: number[] } {
  let [low, high] = values.reduce(
    ([least, most], value) => [Math.min(least, value), Math.max(most, value)],
    [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY],
  )
  if (low === high) [low, high] = [low - 0.5, high + 0.5]
  const rough = (high - low) / 5
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough)!
  const ticks: number[] = []
  for (let tick = Math.ceil(low / step); tick <= Math.floor(high / step + 1e-9); tick++) ticks.push(tick * step)
  const at = (value: number) => Math.round((from + ((value - low) / (high - low)) * (to - from)) * 10) / 10
  return { at, ticks }
}

function tickText(value: number): string {
  if (value === 0) return '0'
  return Math.abs(value) < 1e-3 ? value.toExponential(0) : String(Number(value.toPrecision(4)))
}

/** Text as HTML shows it. */
export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
}
