import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { ExpertLog, RunContext } from '@nebula-experts/sdk'
import type { LoadRequest, LogWord, Port, ToExpert, ToHost } from './messages.ts'

const ranks: Record<string, number> = { trace: 0, debug: 1, info: 2, warn: 3, error: 4, fatal: 5 }

/** A log whose lines go to the host; those under its level are not even sent. */
export function portLog(
  port: Port<ToHost, ToExpert>,
  level: () => string,
  jobId: string | null
): ExpertLog {
  const write = (word: LogWord) => (message: string, fields?: Record<string, unknown>) => {
    if ((ranks[word] as number) < (ranks[level()] ?? 6)) return
    // Plain JavaScript may give anything; a slip in a log line must not cost the run.
    const given = typeof fields === 'object' || fields === undefined ? fields : { value: fields }
    try {
      port.send(['log', word, String(message), given ?? null, jobId])
    } catch (error) {
      const lost = `its fields cannot be sent: ${(error as Error).message}`
      port.send(['log', word, String(message), { lost }, jobId])
    }
  }
  return { debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') }
}

/** The context of one run. What costs something is made when it is first asked for. */
export class CallContext implements RunContext {
  readonly jobId: string
  /** The job's folder, once it has been made. */
  madeTmp: string | null = null
  readonly #port: Port<ToHost, ToExpert>
  readonly #load: LoadRequest
  readonly #id: number
  #controller: AbortController | null = null
  #log: ExpertLog | null = null
  #aborted = false

  constructor(port: Port<ToHost, ToExpert>, load: LoadRequest, id: number, jobId: string) {
    this.#port = port
    this.#load = load
    this.#id = id
    this.jobId = jobId
  }

  get signal(): AbortSignal {
    if (this.#controller === null) {
      this.#controller = new AbortController()
      if (this.#aborted) this.#controller.abort()
    }
    return this.#controller.signal
  }

  get log(): ExpertLog {
    this.#log ??= portLog(this.#port, () => this.#load.logLevel, this.jobId)
    return this.#log
  }

  get tmp(): string {
    if (this.madeTmp === null) {
      const folder = join(this.#load.tmpDir, String(this.#id))
      mkdirSync(folder, { recursive: true })
      this.madeTmp = folder
    }
    return this.madeTmp
  }

  get cache(): string {
    mkdirSync(this.#load.cacheDir, { recursive: true })
    return this.#load.cacheDir
  }

  progress(fraction: number, note?: string): void {
    const bounded = Math.min(1, Math.max(0, Number(fraction)))
    if (Number.isNaN(bounded)) throw new TypeError(`progress() wants 0 to 1, got ${fraction}`)
    this.#port.send(['progress', this.#id, bounded, note == null ? null : String(note)])
  }

  abort(): void {
    this.#aborted = true
    this.#controller?.abort()
  }
}
