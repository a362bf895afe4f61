import colors from 'picocolors'
import { originText } from '../data/origin.ts'
import type { Preview, ShownToken } from '../train/preview.ts'
import { escapeHtml, page } from './data-page.ts'
import { printable } from './table.ts'

const partnerTokens = 40

/** Rows token by token for a terminal. Tokens of a completion alternate in brightness, so that their borders show. */
export function previewText(previews: readonly Preview[]): string {
  const legend = `${colors.cyan('prompt')} (no loss)  ${colors.green('completion, thumbs up')}  ${colors.red('completion, thumbs down')}  ${colors.dim(colors.strikethrough('cut off'))}  ${colors.inverse(' BOS/EOS ')}  ${colors.magenta("mismatched completion y'")}`
  return [legend, ...previews.map(rowText)].join('\n\n')
}

function rowText({ origin, desirable, weight, tokens, partner }: Preview): string {
  const count = (part: ShownToken['part']) => tokens.filter((token) => token.part === part).length
  const cut = count('cut')
  const head = `${colors.bold(originText(origin))}  ${desirable ? colors.green('thumbs up') : colors.red('thumbs down')}  weight ${weight}  ${count('prompt')} + ${count('completion')} tokens${cut > 0 ? colors.yellow(`, ${cut} cut off`) : ''}`
  const body = tokens.map((token, i) => tokenText(token, i, desirable)).join('')
  if (!partner) return `${head}\n${body}`
  const shown = partner.tokens
    .slice(0, partnerTokens)
    .map((token, i) => tokenText(token, i, null))
    .join('')
  const more =
    partner.tokens.length > partnerTokens ? colors.dim(` ... ${partner.tokens.length - partnerTokens} more tokens`) : ''
  return `${head}\n${body}\n${colors.magenta("y'")} of ${originText(partner.origin)}: ${shown}${more}`
}

function tokenText(token: ShownToken, position: number, desirable: boolean | null): string {
  const text = printable(token.text)
  if (token.special && token.part !== 'cut')
    return colors.inverse(text === '' ? ` ${token.special.toUpperCase()} ` : text)
  if (token.part === 'cut') return colors.dim(colors.strikethrough(text))
  if (token.part === 'prompt') return colors.cyan(text)
  const colour = desirable === null ? colors.magenta : desirable ? colors.green : colors.red
  return position % 2 === 0 ? colour(text) : colors.bold(colour(text))
}

/** The same as a page. */
export function previewPage(previews: readonly Preview[]): string {
  const legend =
    '<p class="legend"><span class="t prompt">prompt (no loss)</span> <span class="t up">completion, thumbs up</span> <span class="t down">completion, thumbs down</span> <span class="t cut">cut off</span> <span class="t special">BOS/EOS</span> <span class="t other">mismatched completion y\'</span></p>'
  return page('Preview', legend + previews.map(rowPage).join(''))
}

function rowPage({ origin, desirable, weight, tokens, partner }: Preview): string {
  const spans = tokens.map((token) => tokenSpan(token, desirable ? 'up' : 'down')).join('')
  const other = partner
    ? `<p class="note">y' of ${escapeHtml(originText(partner.origin))}</p><div class="tokens">${partner.tokens.map((token) => tokenSpan(token, 'other')).join('')}</div>`
    : ''
  const label = desirable ? '<b class="green">thumbs up</b>' : '<b class="red">thumbs down</b>'
  return `<section><h2>${escapeHtml(originText(origin))} ${label} <small>weight ${weight}, ${tokens.length} tokens</small></h2><div class="tokens">${spans}</div>${other}</section>`
}

function tokenSpan({ id, text, part, special }: ShownToken, completion: string): string {
  const kind = part === 'cut' ? 'cut' : special ? 'special' : part === 'completion' ? completion : part
  const shown = text === '' && special ? special.toUpperCase() : text
  return `<span class="t ${kind}" title="${id}">${escapeHtml(shown).replaceAll('\n', '<i>\u23ce</i>\n')}</span>`
}
