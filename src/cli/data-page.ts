import { stripVTControlCharacters } from 'node:util'
import type { Inspection, Lengths } from '../data/inspect.ts'
import { findingNames, inspectionText } from './data-inspection.ts'
import { formatNumber } from './table.ts'

export function escapeHtml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;')
}

const style = `
:root { color-scheme: light dark; --up: #2a8f4f; --down: #c2483d; --other: #8a4fb0; --prompt: #2f6fb0; --dim: #77777788; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.05rem; margin: 2rem 0 .5rem; } small { font-weight: normal; opacity: .7; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid var(--dim); vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; } td small { word-break: break-all; }
.advice li { margin: .3rem 0; } .green { color: var(--up); } .red { color: var(--down); } .note { margin: .6rem 0 .2rem; opacity: .8; }
.tokens { font: 13px/1.9 ui-monospace, monospace; white-space: pre-wrap; word-break: break-word; border-left: 3px solid var(--dim); padding-left: .8rem; }
.t { border-radius: 3px; box-shadow: inset 0 0 0 .5px var(--dim); padding: 1px 0; } .t i { opacity: .45; font-style: normal; }
.t.prompt { background: #2f6fb022; } .t.up { background: #2a8f4f3a; } .t.down { background: #c2483d3a; } .t.other { background: #8a4fb033; }
.t.cut { text-decoration: line-through; opacity: .45; } .t.special { background: #d9a400; color: #000; padding: 1px 4px; }
.legend .t { padding: 2px 8px; margin-right: .4rem; }
`

/** A page that needs nothing but itself. */
export function page(title: string, body: string): string {
  return `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${escapeHtml(title)}</title><style>${style}</style><h1>${escapeHtml(title)}</h1>${body}</html>\n`
}

/** The report of `prospect data inspect` as a page. */
export function inspectionPage(inspection: Inspection): string {
  const { files, advice, findings, unit, promptLengths, completionLengths } = inspection
  const body = [
    table(
      ['file', 'records', 'shape', 'rows', 'up', 'down', 'pairs', 'skipped'],
      files.map((facts) => [
        `${escapeHtml(facts.file)}<br><small title="${facts.sha256}">sha256 ${facts.sha256.slice(0, 16)}...</small>`,
        formatNumber(facts.records),
        escapeHtml(Object.keys(facts.shapes).join(', ')),
        ...[facts.rows, facts.desirable, facts.undesirable, facts.pairs, facts.skipped].map(formatNumber),
      ]),
    ),
    leftOut(files),
    `<h2>Rows</h2>${balance(inspection)}`,
    advice.length === 0
      ? ''
      : `<h2>Advice</h2><ul class="advice">${advice.map((line) => `<li>${escapeHtml(line)}</li>`).join('')}</ul>`,
    `<h2>Found in the rows</h2>${table(
      ['what', 'rows', 'dropped', 'examples'],
      Object.entries(findings).map(([name, { found, dropped, examples }]) => [
        escapeHtml(findingNames[name] ?? name),
        formatNumber(Math.max(found, dropped)),
        formatNumber(dropped),
        `<small>${escapeHtml(examples.join(', '))}</small>`,
      ]),
    )}`,
    `<h2>Length of prompts <small>${unit}</small></h2>${chart(promptLengths)}`,
    `<h2>Length of completions <small>${unit}</small></h2>${chart(completionLengths)}`,
    `<p class="note">${escapeHtml(truncationNote(inspection))}</p>`,
  ]
  return page('Feedback', body.join(''))
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const numeric = head.map((_, i) => rows.every((row) => /^[\d,.]+$/.test(row[i] ?? '')))
  const cells = (tag: string, row: readonly string[]) =>
    `<tr>${row.map((cell, i) => `<${tag}${numeric[i] ? ' class="n"' : ''}>${cell}</${tag}>`).join('')}</tr>`
  return `<table>${cells('th', head)}${rows.map((row) => cells('td', row)).join('')}</table>`
}

function leftOut(files: Inspection['files']): string {
  const lines = files.flatMap(({ file, passedOver, leftOut, partlyLeftOut, skippedBecause }) => [
    ...Object.entries(passedOver).map(
      ([option, count]) => `${file}: ${formatNumber(count)} records passed over by ${option}`,
    ),
    ...Object.entries(leftOut).map(([reason, count]) => `${file}: ${formatNumber(count)} records left out: ${reason}`),
    ...Object.entries(partlyLeftOut).map(
      ([reason, count]) => `${file}: ${formatNumber(count)} records used in part: ${reason}`,
    ),
    ...skippedBecause,
  ])
  return lines.length === 0
    ? ''
    : `<h2>Not used</h2><ul>${lines.map((line) => `<li>${escapeHtml(line)}</li>`).join('')}</ul>`
}

function balance({ read, used }: Inspection): string {
  const share = (100 * used.desirable) / Math.max(1, used.rows)
  const bar = `<svg width="100%" height="22" role="img" aria-label="${share.toFixed(1)} % thumbs up"><rect width="100%" height="22" fill="var(--down)"/><rect width="${share}%" height="22" fill="var(--up)"/></svg>`
  return `<p><b class="green">${formatNumber(used.desirable)} thumbs up</b> and <b class="red">${formatNumber(used.undesirable)} thumbs down</b> to ${formatNumber(used.prompts)} prompts are used, of ${formatNumber(read.rows)} rows read.</p>${bar}`
}

/** Stacked bars: desirable below, undesirable above. */
function chart({ bins, median, p95, max }: Lengths): string {
  const most = Math.max(1, ...bins.map(({ desirable, undesirable }) => desirable + undesirable))
  const [width, height] = [920, 160]
  const each = width / Math.max(1, bins.length)
  const bars = bins.map(({ from, to, desirable, undesirable }, i) => {
    const [up, down] = [(desirable / most) * height, (undesirable / most) * height]
    const x = (i * each).toFixed(1)
    const rect = (y: number, size: number, colour: string) =>
      `<rect x="${x}" y="${y.toFixed(1)}" width="${(each - 2).toFixed(1)}" height="${size.toFixed(1)}" fill="var(--${colour})"/>`
    const label =
      i % 4 === 0
        ? `<text x="${x}" y="${height + 16}" font-size="11" fill="currentColor">${formatNumber(from)}</text>`
        : ''
    return `<g><title>${formatNumber(from)}-${formatNumber(to)}: ${formatNumber(desirable)} up, ${formatNumber(undesirable)} down</title>${rect(height - up, up, 'up')}${rect(height - up - down, down, 'down')}</g>${label}`
  })
  return `<svg viewBox="0 0 ${width} ${height + 20}" width="100%" role="img">${bars.join('')}</svg><p class="note">median ${formatNumber(median)}, 95 % up to ${formatNumber(p95)}, longest ${formatNumber(max)}</p>`
}

function truncationNote(inspection: Inspection): string {
  const text = stripVTControlCharacters(inspectionText({ ...inspection, advice: [] }))
  return text.split('\n').find((line) => line.includes('--max-length')) ?? ''
}
