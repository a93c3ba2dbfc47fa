import type { Expert } from '../registry/expert.ts'

/** Short runs are claimed ahead of their turn, by as many as an expert does in this time. */
const CLAIM_AHEAD_MS = 20
const MOST_AHEAD = 256
/** What a process that has not run anything yet is taken for: nothing is claimed ahead for it. */
const SHORT_RUN_MS = 2
/** Up to here the store's answer takes long beside a run, so that one a slot is claimed ahead. */
const LONG_RUN_MS = 50

/** Counts what a line has claimed for each expert, and says how much more it may. */
export class ExpertRoom {
  readonly #held = new Map<string, number>()

  /** How many runs more an expert can be given now. */
  of(expert: Expert): number {
    return expert.slots + aheadOf(expert) - (this.#held.get(expert.name) ?? 0)
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
