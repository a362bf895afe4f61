import { createRequire } from 'node:module'
import { join } from 'node:path'
import { Resvg } from '@resvg/resvg-js'
import { parse, View } from 'vega'
import { compile, type TopLevelSpec } from 'vega-lite'

const font = 'DejaVu Sans'
const require = createRequire(import.meta.url)

/** Colours that stay apart for colour-blind eyes (Okabe and Ito), from dark to light. */
export const palette = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#000000', '#999999']

/** A Vega-Lite chart as the text of an SVG image. Everything it shows must be in the specification: nothing is fetched. */
export async function svgOf(spec: TopLevelSpec): Promise<string> {
  const view = new View(parse(compile({ ...spec, config: { ...config, ...spec.config } }).spec), { renderer: 'none' })
  try {
    return await view.toSVG()
  } finally {
    view.finalize()
  }
}

const config: NonNullable<TopLevelSpec['config']> = {
  font: `${font}, Verdana, sans-serif`,
  background: 'white',
  view: { stroke: '#cccccc' },
  axis: { grid: true, gridColor: '#eeeeee', titleFontWeight: 'normal', labelColor: '#444444', titleColor: '#222222' },
  title: { fontSize: 13, fontWeight: 'bold', anchor: 'start', frame: 'group' },
  legend: { orient: 'bottom', columns: 3, labelLimit: 360, symbolStrokeWidth: 2.5, symbolOpacity: 1 },
  line: { color: palette[0]! },
  range: { category: palette },
}

/** An SVG image as PNG, in a font that comes along, so that it looks the same on every machine. */
export function pngOf(svg: string, { scale = 2 }: { scale?: number } = {}): Uint8Array {
  const fonts = join(require.resolve('dejavu-fonts-ttf/package.json'), '..', 'ttf')
  const files = ['DejaVuSans.ttf', 'DejaVuSans-Bold.ttf'].map((name) => join(fonts, name))
  const image = new Resvg(svg, {
    fitTo: { mode: 'zoom', value: scale },
    font: { fontFiles: files, loadSystemFonts: false, defaultFontFamily: font },
  })
  return image.render().asPng()
}
