import { readFileSync } from 'node:fs'

/** What Linux counts CPU time in for other programs, whatever its own clock. */
const TICKS_PER_SECOND = 100

/** CPU time that a process has used so far, seconds; null where the system does not tell. */
export function cpuSecondsOf(pid: number): number | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // Its name is in brackets, and may have any in itself.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND
  } catch {
    return null
  }
}
