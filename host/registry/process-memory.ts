import { readFileSync, writeFileSync } from 'node:fs'

/** Resident memory of a process, bytes; null where the system does not tell. */
export function memoryOf(pid: number): number | null {
  try {
    // Not `statm`: it counts pages, whose size differs from machine to machine.
    const status = readFileSync(`/proc/${pid}/status`, 'utf8')
    const kibibytes = /^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]
    return kibibytes === undefined ? null : Number(kibibytes) * 1024
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
