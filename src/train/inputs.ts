import type { HubHooks } from '../hub/download.ts'
import { localData, localModel } from '../hub/inputs.ts'
import { localBase } from '../model/open.ts'
import type { ResolvedTrainOptions } from './options.ts'

/** With folders and files in place of names on the hub: config.yaml then says which commit was fetched, and a resumed run uses it. */
export async function localInputs(options: ResolvedTrainOptions, hooks: HubHooks): Promise<ResolvedTrainOptions> {
  const { reference, data, evaluation } = options
  const model = await localModel(options.model, hooks)
  const base = await localBase(model, options.base, hooks)
  return {
    ...options,
    model,
    ...(base !== undefined && { base }),
    ...(reference !== undefined && { reference: await localModel(reference, hooks) }),
    data: await localData(data, hooks),
    evaluation: { ...evaluation, ...(evaluation.data && { data: await localData(evaluation.data, hooks) }) },
  }
}
