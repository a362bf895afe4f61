#!/usr/bin/env node
import { existsSync } from 'node:fs'

// `prospect train --help | head`: a reader that has seen enough is no error.
process.stdout.on('error', (error) => {
  if (error.code !== 'EPIPE') throw error
  process.exit(0)
})

const main = new URL('../dist/cli/main.js', import.meta.url)
if (existsSync(main)) {
  process.exitCode = await (await import(main.href)).main()
} else {
  console.error('prospect is not built yet: run `npm run setup` in its folder')
  process.exitCode = 1
}
