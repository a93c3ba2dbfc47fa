import { readFileSync, writeFileSync } from 'node:fs'

const PAGE_BYTES = 4096

/** Resident memory of a process, bytes; null where the system does not tell. */
export function memoryOf(pid: number): number | null {
  try {
    const [, resident] = readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')
    return Number(resident) * PAGE_BYTES
  } catch {
    return null
  }
}

/** Asks the kernel to end this process before the host when memory runs out. */
export function offerToOutOfMemory(pid: number): void {
  try {
    writeFileSync(`/proc/${pid}/oom_score_adj`, '800')
  } catch {
    // Not Linux, or gone already.
  }
}
