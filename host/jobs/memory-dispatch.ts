import { RunQueue } from '../admission/run-queue.ts'
import type { Claim, Dispatch } from './dispatch.ts'

/** The line of this one host, in memory. */
export class MemoryDispatch implements Dispatch {
  readonly #lines = new Map<string, RunQueue<string>>()
  readonly #waiting = new Map<string, string>()

  async push(expert: string, jobId: string, priority: number): Promise<void> {
    let line = this.#lines.get(expert)
    if (line === undefined) {
      line = new RunQueue()
      this.#lines.set(expert, line)
    }
    line.push(jobId, priority)
    this.#waiting.set(jobId, expert)
  }

  async claim(expert: string, limit: number): Promise<Claim[]> {
    const claims: Claim[] = []
    const line = this.#lines.get(expert)
    while (line !== undefined && line.size > 0 && claims.length < limit) {
      const jobId = line.shift() as string
      this.#waiting.delete(jobId)
      claims.push({ jobId, expert })
    }
    return claims
  }

  async done(_claim: Claim): Promise<void> {
    // Nothing is held for a claim: it ends with this host's memory.
  }

  async drop(jobId: string): Promise<boolean> {
    const expert = this.#waiting.get(jobId)
    if (expert === undefined) return false
    this.#waiting.delete(jobId)
    return this.#lines.get(expert)?.remove(jobId) === true
  }

  async waiting(): Promise<number> {
    return this.#waiting.size
  }
}
