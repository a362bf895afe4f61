// Writes docs/options.md from the option tables. Run it after a change of an option and `npm run setup`, which builds dist/.
import { mkdirSync, writeFileSync } from 'node:fs'
import { optionsDocument } from '../dist/cli/reference.js'
import { tables } from '../dist/cli/schema.js'

const file = new URL('../docs/options.md', import.meta.url)
mkdirSync(new URL('.', file), { recursive: true })
writeFileSync(file, optionsDocument(tables))
