import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import type { ObjectiveState } from '../loss/objective.ts'
import { openAdapterFolder, writeAdapterFiles } from '../model/adapters/folder.ts'
import type { Decoder } from '../model/decoder.ts'
import { type ModelFolder, openModelFolder, writeModelFiles } from '../model/folder.ts'
import { replaceDirectory, sweepTemporaries } from '../tensor/atomic.ts'
import { BackgroundFiles } from '../tensor/background-files.ts'
import { op } from '../tensor/operators.ts'
import { readSafetensors, type WriteTensors } from '../tensor/safetensors.ts'
import { noGrad, scope } from '../tensor/scope.ts'
import type { Tensor } from '../tensor/tensor.ts'
import type { AdamW } from './optimizer.ts'

const format = 1
const namePattern = /^step-(\d{6,})$/

export interface Checkpoint {
  /** Steps done. */
  step: number
  folder: string
}

/**
 * Writes checkpoints/step-000100/: the model in float32 as a Hugging Face folder, or the adapter as PEFT stores it, the optimiser's moments,
 * and the position. Then points `latest` to it and deletes all but the `keep` newest. All is as it is when this is called, and tensors are written
 * in the background: until the promise resolves, `files.detach()` must come before they are changed.
 */
export async function writeCheckpoint(
  folder: string,
  step: number,
  {
    source,
    decoder,
    optimizer,
    objectiveState,
    extra,
    keep,
    files = new BackgroundFiles(),
  }: {
    source: ModelFolder
    decoder: Decoder
    optimizer: AdamW
    objectiveState?: ObjectiveState
    /** Writes what else there is to keep. */
    extra?: (folder: string, write: WriteTensors) => void
    keep: number
    files?: BackgroundFiles
  },
): Promise<void> {
  const { write } = files
  mkdirSync(folder, { recursive: true })
  const name = `step-${String(step).padStart(6, '0')}`
  await replaceDirectory(join(folder, name), (temporary) => {
    if (decoder.adapter) writeAdapterFiles(temporary, { adapter: decoder.adapter }, write)
    else writeModelFiles(temporary, { source, parameters: decoder.parameters, dtype: 'float32' }, write)
    write(join(temporary, 'optimizer.safetensors'), moments(optimizer))
    extra?.(temporary, write)
    writeFileSync(
      join(temporary, 'state.json'),
      JSON.stringify({ format, step, updates: optimizer.step, objective: objectiveState ?? {} }),
    )
    return files.start()
  })
  pointLatest(folder, name)
  for (const old of listCheckpoints(folder).slice(0, -keep)) rmSync(old.folder, { recursive: true, force: true })
}

function moments({ firstMoments, secondMoments }: AdamW): [string, Tensor][] {
  return [
    ...[...firstMoments].map(([name, tensor]): [string, Tensor] => [`exp_avg.${name}`, tensor]),
    ...[...secondMoments].map(([name, tensor]): [string, Tensor] => [`exp_avg_sq.${name}`, tensor]),
  ]
}

/** A relative link, so that the run directory can be moved; replaced by rename. */
function pointLatest(folder: string, name: string): void {
  const temporary = join(folder, `.latest.${process.pid}`)
  rmSync(temporary, { force: true })
  symlinkSync(name, temporary)
  renameSync(temporary, join(folder, 'latest'))
}

function listCheckpoints(folder: string): Checkpoint[] {
  if (!existsSync(folder)) return []
  const found = readdirSync(folder).flatMap((name) => {
    const step = namePattern.exec(name)?.[1]
    return step === undefined ? [] : [{ step: Number(step), folder: join(folder, name) }]
  })
  return found.sort((a, b) => a.step - b.step)
}

/** The newest complete checkpoint, or null. Clears away what a killed process left half-written. */
export function latestCheckpoint(folder: string): Checkpoint | null {
  sweepTemporaries(folder)
  return listCheckpoints(folder).at(-1) ?? null
}

interface State {
  format: number
  step: number
  updates: number
  objective?: ObjectiveState
}

/**
 * Puts a checkpoint's weights and optimiser state into a decoder and optimiser of the same shape. Returns the steps done, and what the objective
 * remembers.
 */
export function restoreCheckpoint(
  { folder }: Checkpoint,
  decoder: Decoder,
  optimizer: AdamW,
): { step: number; objectiveState: ObjectiveState } {
  const state = JSON.parse(readFileSync(join(folder, 'state.json'), 'utf8')) as State
  if (state.format !== format) {
    throw new Error(`${folder}: checkpoint format ${state.format} is not known here (this version writes ${format})`)
  }
  const { tensors } = decoder.adapter ? openAdapterFolder(folder) : openModelFolder(folder)
  const stored = readSafetensors(join(folder, 'optimizer.safetensors')).tensors
  noGrad(() => {
    copyInto(decoder.trainable, (name) => tensors.get(name), folder)
    copyInto(optimizer.firstMoments, (name) => stored.get(`exp_avg.${name}`), folder)
    copyInto(optimizer.secondMoments, (name) => stored.get(`exp_avg_sq.${name}`), folder)
  })
  optimizer.step = state.updates
  return { step: state.step, objectiveState: state.objective ?? {} }
}

function copyInto(
  targets: ReadonlyMap<string, Tensor>,
  find: (name: string) => { load(): Tensor } | undefined,
  folder: string,
): void {
  for (const [name, target] of targets) {
    const entry = find(name)
    if (!entry) throw new Error(`${folder}: ${name} is missing: the checkpoint belongs to another model`)
    scope(() => {
      op.copyInPlace(target, entry.load())
    })
  }
}
