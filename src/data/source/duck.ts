import type { DuckDBConnection } from '@duckdb/node-api'

/** A connection to an in-memory DuckDB that keeps to half a gigabyte and the order of rows. Loaded where it is first needed. */
export async function duck(): Promise<DuckDBConnection> {
  const { DuckDBInstance } = await import('@duckdb/node-api')
  const instance = await DuckDBInstance.create(':memory:', {
    memory_limit: '512MB',
    threads: '2',
    preserve_insertion_order: 'true',
  })
  return instance.connect()
}

/** A text as an SQL literal. */
export function quoted(text: string): string {
  return `'${text.replaceAll("'", "''")}'`
}

/** A name as an SQL identifier. */
export function identifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}

/** The rows of a query as objects, a chunk at a time; only one chunk is in memory. */
export async function* queryRows<T>(connection: DuckDBConnection, sql: string): AsyncGenerator<T[]> {
  const result = await connection.stream(sql)
  const names = result.columnNames()
  for (;;) {
    const chunk = await result.fetchChunk()
    if (!chunk || chunk.rowCount === 0) return
    yield chunk.getRowObjects(names) as T[]
  }
}

/** All rows of a small result. */
export async function queryAll<T>(connection: DuckDBConnection, sql: string): Promise<T[]> {
  const rows: T[] = []
  for await (const chunk of queryRows<T>(connection, sql)) rows.push(...chunk)
  return rows
}
