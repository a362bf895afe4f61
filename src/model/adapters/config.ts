import { z } from 'zod'

/** How a low-rank adapter is made: what PEFT's `adapter_config.json` says of LoRA (arXiv 2106.09685) and DoRA (arXiv 2402.09353). */
export interface AdapterConfig {
  /** DoRA also learns the length of each row of the adapted weight. */
  type: 'lora' | 'dora'
  /** r: columns of B and rows of A. */
  rank: number
  /** The product B A is scaled by alpha / r, or by alpha / sqrt(r) with rslora. */
  alpha: number
  rslora: boolean
  /** Share of the inputs of A that a training pass sets to 0. */
  dropout: number
  /** Ends of module names, or one regular expression for whole names, or `all-linear`. */
  targetModules: readonly string[] | string
  excludeModules: readonly string[] | string | null
  /** Modules that are trained in full, and stored with the adapter. */
  modulesToSave: readonly string[]
  /** Biases that are trained: none, all of the model, or those of adapted modules. */
  bias: 'none' | 'all' | 'lora_only'
  /** Ranks and alphas of modules whose name ends in a pattern. */
  rankPattern: Readonly<Record<string, number>>
  alphaPattern: Readonly<Record<string, number>>
  /** Numbers of the layers that are adapted; null: all. */
  layers: readonly number[] | null
  layersPattern: readonly string[] | null
  /** The model it was made for: a folder or a name on the hub. */
  base: string | null
}

/** What an adapter is trained with where nothing else is said. */
export const defaultAdapterConfig: AdapterConfig = {
  type: 'lora',
  rank: 16,
  alpha: 32,
  rslora: false,
  dropout: 0,
  targetModules: 'all-linear',
  excludeModules: null,
  modulesToSave: [],
  bias: 'none',
  rankPattern: {},
  alphaPattern: {},
  layers: null,
  layersPattern: null,
  base: null,
}

const names = z.union([z.string(), z.array(z.string())])
const listOfNames = z
  .union([z.string(), z.array(z.string())])
  .nullish()
  .transform((value) => (value == null ? null : [value].flat()))

const fields = z.looseObject({
  peft_type: z.literal('LORA'),
  r: z.number().int().positive().default(8),
  lora_alpha: z.number().positive().default(8),
  use_rslora: z.boolean().nullish(),
  use_dora: z.boolean().nullish(),
  lora_dropout: z.number().min(0).lt(1).default(0),
  target_modules: names,
  exclude_modules: names.nullish(),
  modules_to_save: listOfNames,
  bias: z.enum(['none', 'all', 'lora_only']).default('none'),
  rank_pattern: z.record(z.string(), z.number().int().positive()).nullish(),
  alpha_pattern: z.record(z.string(), z.number().positive()).nullish(),
  layers_to_transform: z.union([z.number().int(), z.array(z.number().int())]).nullish(),
  layers_pattern: listOfNames,
  base_model_name_or_path: z.string().nullish(),
  init_lora_weights: z.union([z.boolean(), z.string()]).default(true),
})

/** Fields of PEFT that change what is computed and are not known here: an adapter that uses one is refused. */
const refused = [
  'lora_bias',
  'target_parameters',
  'trainable_token_indices',
  'layer_replication',
  'alora_invocation_tokens',
  'arrow_config',
  'kasa_config',
  'monteclora_config',
  'use_qalora',
  'use_bdlora',
  'velora_config',
  'megatron_config',
] as const

/** Ways to start an adapter that also change the base weights: stored A and B alone do not tell what the model computes. */
const changesBase = /^(pissa|olora|corda|loftq|lora_ga|mica)/

/** Reads `adapter_config.json`. `file` is named in errors. Throws where it is no LoRA, or one that would be computed otherwise here. */
export function parseAdapterConfig(json: unknown, file: string): AdapterConfig {
  const type = (json as { peft_type?: unknown })?.peft_type
  if (type !== 'LORA') throw new Error(`${file}: peft_type is ${JSON.stringify(type)}; supported: LORA (with DoRA)`)
  const parsed = fields.safeParse(json)
  if (!parsed.success) {
    const problems = parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`)
    throw new Error(`${file}: ${problems.join('; ')}`)
  }
  const config = parsed.data
  const unknown = refused.filter((name) => isSet(config[name]))
  if (unknown.length > 0) throw new Error(`${file}: ${unknown.join(', ')}: not supported; merge the adapter with PEFT`)
  if (typeof config.init_lora_weights === 'string' && changesBase.test(config.init_lora_weights)) {
    throw new Error(
      `${file}: init_lora_weights is '${config.init_lora_weights}', which changes the base weights: convert the adapter with PEFT's ` +
        'save_pretrained(..., path_initial_model_for_weight_conversion=...) first',
    )
  }
  const layers = config.layers_to_transform
  return {
    type: config.use_dora ? 'dora' : 'lora',
    rank: config.r,
    alpha: config.lora_alpha,
    rslora: config.use_rslora ?? false,
    dropout: config.lora_dropout,
    targetModules: config.target_modules,
    excludeModules: config.exclude_modules ?? null,
    modulesToSave: config.modules_to_save ?? [],
    bias: config.bias,
    rankPattern: config.rank_pattern ?? {},
    alphaPattern: config.alpha_pattern ?? {},
    layers: layers == null ? null : [layers].flat(),
    layersPattern: config.layers_pattern,
    base: config.base_model_name_or_path ?? null,
  }
}

function isSet(value: unknown): boolean {
  if (value === undefined || value === null || value === false) return false
  return typeof value !== 'object' || Object.keys(value).length > 0
}

/** The fields of `adapter_config.json` that PEFT's LoraConfig needs; it fills in the others. */
export function adapterConfigJson(config: AdapterConfig): Record<string, unknown> {
  const orNull = <T>(list: readonly T[] | null) => (list && list.length > 0 ? list : null)
  return {
    alpha_pattern: config.alphaPattern,
    auto_mapping: null,
    base_model_name_or_path: config.base,
    bias: config.bias,
    exclude_modules: config.excludeModules,
    fan_in_fan_out: false,
    inference_mode: true,
    init_lora_weights: true,
    layers_pattern: config.layersPattern,
    layers_to_transform: config.layers,
    lora_alpha: config.alpha,
    lora_dropout: config.dropout,
    modules_to_save: orNull(config.modulesToSave),
    peft_type: 'LORA',
    r: config.rank,
    rank_pattern: config.rankPattern,
    revision: null,
    target_modules: config.targetModules,
    task_type: 'CAUSAL_LM',
    use_dora: config.type === 'dora',
    use_rslora: config.rslora,
  }
}
