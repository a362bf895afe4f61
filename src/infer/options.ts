import { z } from 'zod'
import type { Message } from '../data/types.ts'
import { optionGroup, textList } from '../options/option.ts'

const input = optionGroup('Model and prompts')
const sampling = optionGroup('Sampling')
const running = optionGroup('Run')

const count = () => z.number().int().min(1)
const path = () => z.string().min(1)

/** Every option of `prospect generate`. */
export const generateOptions = z
  .strictObject({
    model: input(
      '--model <folder>',
      'Folder of the model, in Hugging Face format, or org/name[@revision] on the hub',
      path(),
    ),
    prompt: input('--prompt <text...>', 'Prompt or prompts to answer', textList().optional(), '--prompts is read'),
    prompts: input('--prompts <file>', 'JSONL file with a prompt in each row', path().optional(), '--prompt is used'),
    chat: input(
      '--chat',
      'Put prompts through the chat template of the model',
      z.boolean().optional(),
      'where the model has one',
    ),
    chatTemplate: input('--chat-template <file>', 'Jinja chat template', path().optional(), "the model's own"),
    output: input('--output <file>', 'Write the replies to a JSONL file', path().optional(), 'they are printed'),
    maxTokens: sampling('--max-tokens <tokens>', 'Longest reply', count().default(256)),
    temperature: sampling(
      '--temperature <number>',
      'Divides the logits: lower, less random',
      z.number().positive().default(1),
    ),
    topP: sampling(
      '--top-p <share>',
      'Sample from the likeliest tokens that hold this share together',
      z.number().positive().max(1).default(1),
    ),
    greedy: sampling('--greedy', 'Always take the likeliest token', z.boolean().default(false)),
    seed: sampling('--seed <number>', 'Seed of the sampling', z.number().int().min(0).default(0)),
    precision: running(
      '--precision <type>',
      'Type of matrix products; auto: bf16 where the processor has it',
      z.enum(['auto', 'float32', 'bf16']).default('auto'),
    ),
    threads: running('--threads <count>', 'Processor threads', count().optional(), 'one a physical core'),
  })
  .refine((options) => (options.prompt === undefined) !== (options.prompts === undefined), {
    path: ['prompt'],
    message: 'give either --prompt <text> or --prompts <file>',
  })

export type GenerateOptions = z.input<typeof generateOptions>
export type ResolvedGenerateOptions = z.output<typeof generateOptions>

/** One answered prompt. */
export interface Reply {
  prompt: string | Message[]
  completion: string
  /** Tokens of the completion. */
  tokens: number
  /** Why it ended: the model's end of turn, or the longest length. */
  finish: 'stop' | 'length'
}
