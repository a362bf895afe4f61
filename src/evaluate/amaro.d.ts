/** Node's own eraser of TypeScript's types, which comes without types of its own. */
declare module 'amaro' {
  export function transformSync(source: string, options: { mode: 'strip-only' }): { code: string }
}
