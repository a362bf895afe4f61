import { duck, queryRows, quoted } from './duck.ts'
import type { RawRecord } from './records.ts'

/** The rows of a Parquet file, by DuckDB. Values keep their types: true stays true, lists of messages stay lists. */
export async function* parquetRows(file: string): AsyncGenerator<RawRecord[]> {
  const connection = await duck()
  const query = `select to_json(t)::varchar as json from read_parquet(${quoted(file)}) t`
  let line = 0
  try {
    for await (const chunk of queryRows<{ json: string }>(connection, query))
      yield chunk.map(({ json }) => ({ origin: { file, line: ++line, unit: 'row' as const }, text: json }))
  } catch (error) {
    throw new Error(`${file}: ${(error as Error).message.split('\n')[0]}`)
  }
}
