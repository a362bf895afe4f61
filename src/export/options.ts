import { z } from 'zod'
import { optionGroup } from '../options/option.ts'

const input = optionGroup('Model')
const result = optionGroup('Result')
const publishing = optionGroup('Publishing')

const text = () => z.string().min(1)

/** Every option of `prospect export`. */
export const exportOptions = z.strictObject({
  model: input('--model <folder>', 'A run, a model folder, or org/name[@revision] on the hub', text()),
  output: result('--output <path>', 'GGUF file to write', text().optional(), 'nothing is written'),
  gguf: result(
    '--gguf <type>',
    'Write a file for llama.cpp, with weights of this type',
    z.enum(['f32', 'f16', 'bf16', 'q8_0']).optional(),
    'no such file',
  ),
  push: publishing(
    '--push <name>',
    'Upload the model to org/name on the hub',
    text().optional(),
    'nothing is uploaded',
  ),
  private: publishing('--private', 'A repository that --push makes is private', z.boolean().default(false)),
})

export type ExportOptions = z.input<typeof exportOptions>
export type ResolvedExportOptions = z.output<typeof exportOptions>
