import type { DecodedFrame, FrameSelection } from './frame-selection.ts'

/** Names of the two filters that say what passes them. */
export const decodedFilter = 'showinfo@decoded=checksum=0'
export const passedFilter = 'showinfo@passed=checksum=0'

/** More than lie between the two filters at any time. */
const mostPending = 4096

interface PassedFrame extends DecodedFrame {
  wanted: boolean
}

/**
 * Reads from ffmpeg's log which frames its decoder gave, and which of them passed the selection.
 *
 * Raw video has neither numbers nor times, and a filter can hand on only one of them. So every frame is told twice:
 * before the selection with its number, after it again, and the two are matched by their time stamp.
 */
export class FrameLog {
  /** Frames that were decoded. */
  count = 0
  /** Second of the last of them, and of the one before. */
  lastSecond = Number.NaN
  beforeLast: number | null = null
  readonly #selection: FrameSelection
  readonly #passed: PassedFrame[] = []
  #pending: Array<PassedFrame & { stamp: string }> = []
  #timeBase = Number.NaN
  #wake = () => {}
  #ended = false

  constructor(selection: FrameSelection) {
    this.#selection = selection
  }

  /** Takes a line of the log; those of other filters are none of its business. */
  take(line: string): void {
    const [, filter, said] =
      /showinfo@(decoded|passed) @ [^\]]*\] (?:\[info\] )?(.+)$/.exec(line) ?? []
    if (filter === undefined || said === undefined) return
    const found = /^n: *(\d+) pts: *(\S+) pts_time:/.exec(said)
    if (found !== null) {
      if (filter === 'decoded') this.#decoded(Number(found[1]), found[2] as string)
      else this.#pass(found[2] as string)
      return
    }
    const base = /^config in time_base: (\d+)\/(\d+)/.exec(said)
    if (filter === 'decoded' && base !== null) this.#timeBase = Number(base[1]) / Number(base[2])
  }

  /** The next frame that passed; undefined when there is none any more. */
  async next(): Promise<PassedFrame | undefined> {
    while (this.#passed.length === 0 && !this.#ended) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    return this.#passed.shift()
  }

  /** Nothing more will be said. */
  end(): void {
    this.#ended = true
    this.#wake()
  }

  #decoded(number: number, stamp: string): void {
    const second = Number(stamp) * this.#timeBase
    const before = this.count === 0 ? null : this.lastSecond
    const wanted = this.#selection.wants({ number, second }, before)
    this.#pending.push({ number, second, stamp, wanted })
    if (this.#pending.length > 2 * mostPending) this.#pending = this.#pending.slice(-mostPending)
    this.count = number + 1
    this.beforeLast = before
    this.lastSecond = second
  }

  #pass(stamp: string): void {
    // Among frames that share a time stamp, the wanted one is meant.
    const same = this.#pending.filter((frame) => frame.stamp === stamp)
    const frame = same.find((one) => one.wanted) ?? same[0]
    if (frame === undefined) return
    this.#pending = this.#pending.slice(this.#pending.indexOf(frame) + 1)
    const { number, second, wanted } = frame
    this.#passed.push({ number, second, wanted })
    this.#wake()
  }
}
