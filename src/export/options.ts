import { z } from 'zod'
import { optionGroup } from '../options/option.ts'

const input = optionGroup('Model')
const result = optionGroup('Result')
const publishing = optionGroup('Publishing')

const text = () => z.string().min(1)

/** Every option of `prospect export`. */
export const exportOptions = z.strictObject({
  model: input(
    '--model <folder>',
    'A run, a model folder, an adapter folder, or org/name[@revision] on the hub',
    text(),
  ),
  base: input(
    '--base <folder>',
    'Model that an adapter belongs to: a folder, or org/name[@revision]',
    text().optional(),
    'the one that adapter_config.json names',
  ),
  output: result(
    '--output <path>',
    'Folder of the merged model, or GGUF file to write',
    text().optional(),
    'nothing is written',
  ),
  merge: result(
    '--merge',
    'Write a model folder with the adapter merged in; with --push, upload that',
    z.boolean().default(false),
  ),
  gguf: result(
    '--gguf <type>',
    'Write a file for llama.cpp, with weights of this type',
    z.enum(['f32', 'f16', 'bf16', 'q8_0']).optional(),
    'no such file',
  ),
  push: publishing(
    '--push <name>',
    'Upload the model or adapter to org/name on the hub',
    text().optional(),
    'nothing is uploaded',
  ),
  private: publishing('--private', 'A repository that --push makes is private', z.boolean().default(false)),
})

export type ExportOptions = z.input<typeof exportOptions>
export type ResolvedExportOptions = z.output<typeof exportOptions>
