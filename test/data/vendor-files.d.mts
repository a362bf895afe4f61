export interface Vendor {
  name: string
  /** What its records are taken for. */
  shape: string
  files: Record<string, string>
  flags?: { scoreName: string }
  expected: { rows: number; desirable: number; undesirable: number; pairs: number }
}
export const vendors: Vendor[]
export function writeVendorFiles(folder: string): Map<string, string[]>
