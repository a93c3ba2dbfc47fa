import type { Expert } from '../registry/expert.ts'

/** Short runs are claimed ahead of their turn, by as many as an expert does in this time. */
const CLAIM_AHEAD_MS = 20
const MOST_AHEAD = 256
/** What is claimed ahead is claimed in so many parts: while one is read, others run or are written. */
const PARTS = 4
/** What a process that has not run anything yet is taken for: nothing is claimed ahead for it. */
export const SHORT_RUN_MS = 2
/** Up to here the store's answer takes long beside a run, so that one a slot is claimed ahead. */
const LONG_RUN_MS = 50

/** Counts what a line has claimed for each expert, and says how much more it may. */
export class ExpertRoom {
  readonly #held = new Map<string, number>()

  /** How many runs to claim for an expert now. One by one, those that are claimed ahead would cost a claim each. */
  of(expert: Expert): number {
    const ahead = aheadOf(expert)
    const room = expert.slots + ahead - (this.#held.get(expert.name) ?? 0)
    if (ahead === 0) return Math.max(0, room)
    const part = Math.ceil((expert.slots + ahead) / PARTS)
    return room < part ? 0 : part
  }

  take(expert: string, count = 1): void {
    this.#held.set(expert, (this.#held.get(expert) ?? 0) + count)
  }

  giveBack(expert: string): void {
    this.take(expert, -1)
  }
}

function aheadOf({ slots, meanRunMs }: Expert): number {
  if (meanRunMs < SHORT_RUN_MS) {
    return Math.min(MOST_AHEAD, Math.floor((slots * CLAIM_AHEAD_MS) / Math.max(meanRunMs, 0.01)))
  }
  return meanRunMs > SHORT_RUN_MS && meanRunMs < LONG_RUN_MS ? slots : 0
}
