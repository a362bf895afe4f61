import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { demo } from '../../src/demo/demo.ts'
import type { Progress } from '../../src/train/run.ts'

const silent: Progress = { start: () => ({ update() {}, stop() {} }), log() {} }

test('the demo ends with more thumbs up on unseen questions, beyond doubt', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'prospect-demo-'))
  try {
    const { before, after } = await demo({ progress: silent, folder })
    expect(after.share - before.share).toBeGreaterThan(0.2)
    expect(after.low).toBeGreaterThan(before.high)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}, 900_000)
