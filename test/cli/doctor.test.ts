import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'

const command = join(import.meta.dirname, '../../bin/prospect.js')
const folder = mkdtempSync(join(tmpdir(), 'prospect-doctor-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** A library in place of the NVIDIA driver's, with two GPUs; the functions are those of cuda.h and nvml.h. */
function writeDriver(): void {
  const driver = join(folder, 'cuda.c')
  writeFileSync(
    driver,
    `#include <stdio.h>
int cuInit(unsigned flags) { return 0; }
int cuDeviceGetCount(int* count) { *count = 2; return 0; }
int cuDeviceGet(int* device, int ordinal) { *device = ordinal + 7; return 0; }
int cuDeviceGetName(char* name, int length, int device) { snprintf(name, length, "Card %d", device); return 0; }
int cuDeviceTotalMem_v2(unsigned long* bytes, int device) { *bytes = (device == 7 ? 80ul : 12ul) << 30; return 0; }
int cuDeviceGetAttribute(int* value, int attribute, int device) {
  *value = attribute == 75 ? (device == 7 ? 9 : 7) : attribute == 76 ? 5 : -1;
  return 0;
}
int cuDriverGetVersion(int* version) { *version = 13020; return 0; }
`,
  )
  const management = join(folder, 'nvml.c')
  writeFileSync(
    management,
    `#include <stdio.h>
int nvmlInit_v2(void) { return 0; }
int nvmlSystemGetDriverVersion(char* version, unsigned length) { snprintf(version, length, "580.95.05"); return 0; }
`,
  )
  execFileSync('gcc', ['-shared', '-fPIC', driver, '-o', join(folder, 'libcuda.so.1')])
  execFileSync('gcc', ['-shared', '-fPIC', management, '-o', join(folder, 'libnvidia-ml.so.1')])
}

function doctor(environment: Record<string, string> = {}) {
  return spawnSync(process.execPath, [command, 'doctor'], { encoding: 'utf8', env: { ...process.env, ...environment } })
}

test('GPUs are shown as the driver describes them, and why training would not use them', () => {
  writeDriver()
  const { stdout, stderr } = doctor({ LD_LIBRARY_PATH: folder })
  expect(stderr).toBe('')
  expect(stdout).toMatch(/cuda:0: Card 7, 80\.0 GiB, compute capability 9\.5, bfloat16$/m)
  expect(stdout).toMatch(/cuda:1: Card 8, 12\.0 GiB, compute capability 7\.5, no bfloat16$/m)
  expect(stdout).toMatch(/driver 580\.95\.05, runs CUDA up to 13\.2$/m)
  expect(stdout).toMatch(
    /training runs on the processor: .*(has no CUDA: install one that has|could not be loaded|finds no GPU)|--device auto takes cuda:0/,
  )
})

test('a device that cannot be had is named with what is missing', () => {
  const args = ['train', '--model', folder, '--data', join(folder, 'rows.jsonl'), '--device', 'cuda', '--quiet']
  const { status, stderr } = spawnSync(process.execPath, [command, ...args], { encoding: 'utf8' })
  expect(status).not.toBe(0)
  expect(stderr).toMatch(/device: cuda is not possible: (no NVIDIA driver was found|this libtorch .* has no CUDA)/)
})

test('another device is refused, and the ones that there are named', () => {
  const args = ['train', '--model', folder, '--data', 'rows.jsonl', '--device', 'tpu']
  const { stderr } = spawnSync(process.execPath, [command, ...args], { encoding: 'utf8' })
  expect(stderr).toMatch(/device.*must be auto, cpu, cuda or cuda:<number>/)
})
