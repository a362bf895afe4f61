import { z } from 'zod'
import type { Message } from '../data/types.ts'
import { deviceDeclaration, deviceDescription, deviceSchema, precisionDescription } from '../options/device.ts'
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
      'Folder of the model, or of an adapter, or org/name[@revision] on the hub; with --sampler, its name there',
      path(),
    ),
    adapter: input('--adapter <folder>', 'Folder of an adapter to put on the model', path().optional(), 'none'),
    base: input(
      '--base <folder>',
      'Base model, where --model is the folder of an adapter',
      path().optional(),
      'the one that the adapter names',
    ),
    loadIn: input(
      '--load-in <bits>',
      'Store the weights in 4 bits (NF4) or 8: less memory, less exact',
      z.enum(['4bit', '8bit']).optional(),
      'as the model is stored',
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
    resume: input(
      '--resume',
      'Keep the replies that --output holds already, and go on after them',
      z.boolean().default(false),
    ),
    sampler: input(
      '--sampler <url>',
      'OpenAI-compatible endpoint that answers instead, as http://localhost:8000/v1',
      z
        .string()
        .regex(/^https?:\/\/./, 'must begin with http:// or https://')
        .optional(),
      'the model answers here',
    ),
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
    topK: sampling(
      '--top-k <tokens>',
      'Sample from so many likeliest tokens; 0: all',
      z.number().int().min(0).default(0),
    ),
    minP: sampling(
      '--min-p <share>',
      'Sample from tokens at least so many times as likely as the likeliest',
      z.number().min(0).max(1).default(0),
    ),
    repetitionPenalty: sampling(
      '--repetition-penalty <number>',
      'Makes tokens that were there before less likely; 1: does not',
      z.number().positive().default(1),
    ),
    stop: sampling('--stop <text...>', 'Texts that end a reply; they are not part of it', textList().optional()),
    logprobs: sampling(
      '--logprobs',
      'Also give the log-probability of each token, whatever the temperature',
      z.boolean().default(false),
    ),
    greedy: sampling('--greedy', 'Always take the likeliest token', z.boolean().default(false)),
    seed: sampling('--seed <number>', 'Seed of the sampling', z.number().int().min(0).default(0)),
    device: running(deviceDeclaration, deviceDescription, deviceSchema()),
    precision: running('--precision <type>', precisionDescription, z.enum(['auto', 'float32', 'bf16']).default('auto')),
    threads: running('--threads <count>', 'Processor threads', count().optional(), 'one a physical core'),
  })
  .refine(({ resume, output }) => !resume || output !== undefined, {
    path: ['resume'],
    message: '--resume goes on with a file of replies: name it with --output',
  })
  .refine((options) => (options.prompt === undefined) !== (options.prompts === undefined), {
    path: ['prompt'],
    message: 'give either --prompt <text> or --prompts <file>',
  })

/** What callers of generate() give: the table above, with its defaults left out. */
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
  /** Log-probability of each token, where asked for. */
  logprobs?: number[]
}
