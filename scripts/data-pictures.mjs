// Makes docs/images/data-*.png: what `prospect data inspect` and `preview` show of the real files in ../shared/data and of a file in each vendor's format.
//   node scripts/data-pictures.mjs --tokenizer <a model's folder, or only its tokenizer> [--only data-hh,data-gsm] [--chromium /usr/bin/chromium]
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { chromium } from 'playwright-core'
import { vendors, writeVendorFiles } from '../test/data/vendor-files.mjs'

const { values } = parseArgs({
  options: {
    tokenizer: { type: 'string' },
    only: { type: 'string' },
    chromium: { type: 'string', default: '/usr/bin/chromium' },
  },
})
if (!values.tokenizer) throw new Error('--tokenizer <folder> is missing')
const here = (path) => fileURLToPath(new URL(path, import.meta.url))
const scratch = mkdtempSync(join(tmpdir(), 'prospect-pictures-'))
const shared = here('../../shared/data')

/** Turns as ChatML has them, with calls of tools: shorter than models' own templates. */
const shortTemplate = `{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}{% for c in m.tool_calls or [] %}{{ c.function.name }}({{ c.function.arguments | tojson }}){% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}`

/** The page that a command writes; names of files are shown without their folder. */
function pageOf(what, sources, flags = []) {
  const html = join(scratch, 'page.html')
  const model = ['--model', values.tokenizer, '--cache', join(scratch, 'cache')]
  const args = ['data', what, '--data', ...sources, ...model, '--html', html, ...flags]
  execFileSync(process.execPath, [here('../bin/prospect.js'), ...args], { stdio: 'ignore' })
  return readFileSync(html, 'utf8').replaceAll(`${scratch}/`, '').replaceAll(`${shared}/`, '')
}

const section = (page, start, end) => page.slice(page.indexOf(start), page.lastIndexOf(end) + end.length)
const head = (page) => page.slice(0, page.indexOf('<h1>'))
const titled = (page, title) => page.replace(/<h1>.*?<\/h1>/, `<h1>${title}</h1>`)

/** One page of the files' tables, and one of a row of each, of all vendors. */
function vendorPages() {
  const files = writeVendorFiles(scratch)
  const flagsOf = ({ flags }) => (flags ? ['--score-name', flags.scoreName] : [])
  const inspected = vendors.map((vendor) => pageOf('inspect', files.get(vendor.name), flagsOf(vendor)))
  const rowsOf = (page) => page.slice(page.indexOf('<tr>'), page.indexOf('</table>'))
  const withoutHead = (rows) => rows.slice(rows.indexOf('</tr>') + 5).replaceAll(/<br><small.*?<\/small>/g, '')
  const table = `<table>${rowsOf(inspected[0]).slice(0, rowsOf(inspected[0]).indexOf('</tr>') + 5)}${inspected.map((page) => withoutHead(rowsOf(page))).join('')}</table>`
  const template = join(scratch, 'short.jinja')
  writeFileSync(template, shortTemplate)
  const previewed = vendors.map((vendor) => {
    const more = ['--rows', '1', '--eval-split', '0', '--chat-template', template]
    return pageOf('preview', files.get(vendor.name), [...flagsOf(vendor), ...more])
  })
  const sections = previewed.map((page) => section(page, '<section>', '</section>')).join('')
  const legend = section(previewed[0], '<p class="legend">', '</p>').split('</p>')[0]
  const columns =
    '<style>.rows { columns: 3; } section { break-inside: avoid; padding-bottom: .8rem; } section h2 { margin: 0; font-size: .85rem; } .rows .tokens { font-size: 11px; line-height: 1.5; } .note, .note + .tokens { display: none; }</style>'
  return {
    'data-vendors': `${head(inspected[0])}<h1>Files in the formats of vendors and data sets</h1>${table}`,
    'data-vendors-preview': `${head(previewed[0])}${columns}<h1>A row of each</h1>${legend}</p><div class="rows">${sections}</div>`,
  }
}

/** Pages of the real files. Of HH, which holds offensive texts, two rows that are none. */
function realPages() {
  const [solutions, problems, hh] = [
    'gsm8k-solutions.train.jsonl.gz',
    'gsm8k-sft.jsonl.gz',
    'hh-harmless.jsonl.gz',
  ].map((name) => join(shared, name))
  const kto = (rows, ...more) => ['--rows', rows, '--eval-split', '0', ...more]
  return {
    'data-gsm': () => titled(pageOf('inspect', [solutions]), 'GSM8K, solutions'),
    'data-gsm-preview': () => titled(pageOf('preview', [solutions], kto('2')), 'GSM8K, solutions'),
    'data-problems': () => titled(pageOf('inspect', [problems], ['--unlabeled']), 'GSM8K, problems'),
    'data-problems-preview': () =>
      titled(pageOf('preview', [problems], kto('2', '--loss', 'sft')), 'GSM8K, problems (SFT)'),
    'data-hh': () => titled(pageOf('inspect', [hh]), 'HH'),
    'data-hh-preview': () =>
      titled(
        pageOf(
          'preview',
          [hh],
          kto('2', '--where', "chosen like '%Mercy Marcy%' or chosen like '%the AI I have to use%'"),
        ),
        'HH',
      ),
  }
}

const browser = await chromium.launch({ executablePath: values.chromium, args: ['--no-sandbox'] })
try {
  const tab = await browser.newPage({ viewport: { width: 1000, height: 800 } })
  let made // by many runs of the command, so only where they are asked for
  const vendorPage = (name) => {
    made ??= vendorPages()
    return made[name]
  }
  const pages = {
    'data-vendors': () => vendorPage('data-vendors'),
    'data-vendors-preview': () => vendorPage('data-vendors-preview'),
    ...realPages(),
  }
  for (const [name, make] of Object.entries(pages)) {
    if (values.only && !values.only.split(',').includes(name)) continue
    writeFileSync(join(scratch, 'shown.html'), make())
    await tab.goto(`file://${join(scratch, 'shown.html')}`)
    const path = here(`../docs/images/${name}.png`)
    await tab.screenshot({ path, fullPage: true })
    spawnSync('pngquant', ['--force', '--ext', '.png', '--nofs', '24', path]) // a quarter of the size, where it is installed
    console.log(`${path}: ${Math.round(statSync(path).size / 1000)} kB`)
  }
} finally {
  await browser.close()
  rmSync(scratch, { recursive: true })
}
