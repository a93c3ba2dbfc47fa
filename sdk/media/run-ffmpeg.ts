import { type ChildProcessByStdio, spawn } from 'node:child_process'
import type { Readable } from 'node:stream'
import { ExpertError } from '../errors.ts'

export interface RunOptions {
  /** The file that is read, absolute; no message shows it. */
  path: string
  /** How messages name the file. */
  name: string
  /** How long this process may be waited for, all waits together. */
  timeoutMs: number
  signal?: AbortSignal
  /** Takes each line of its log that is no complaint. */
  onLine?: (line: string) => void
  /** Called when its log has ended. */
  onEnd?: () => void
}

const longestLine = 4096
const mostComplaints = 5
const running = new Set<FfmpegRun>()
let isWatchingExit = false

// Of the environment nothing but what a program needs to start: an expert's may hold keys.
const passedOn = /^(PATH|HOME|TMPDIR|TEMP|TMP|LD_LIBRARY_PATH|DYLD_LIBRARY_PATH|SystemRoot)$/

/**
 * One run of ffmpeg or ffprobe, as a process of its own.
 *
 * Its clock runs while somebody waits for its output, so a reader that takes its time is no timeout. It never
 * outlives its use: it is killed, with whatever it started, by {@link FfmpegRun.stop}, the signal, the clock and the
 * exit of this process; and where this process is killed, by the closed pipe or its limit of processor time.
 */
export class FfmpegRun {
  readonly name: string
  readonly #options: RunOptions
  readonly #child: ChildProcessByStdio<null, Readable, Readable>
  readonly #chunks: AsyncIterator<Buffer>
  readonly #closed: Promise<void>
  readonly #complaints: string[] = []
  #rest: Uint8Array = new Uint8Array(0)
  #remainingMs: number
  #failure: ExpertError | null = null
  #tooLarge: string | null = null
  #code: number | null = null
  #killedBy: NodeJS.Signals | null = null

  constructor(program: string, args: string[], options: RunOptions) {
    this.name = options.name
    this.#options = options
    this.#remainingMs = options.timeoutMs
    // A group of its own, so that a kill takes what it started along.
    this.#child = spawn(program, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: process.platform !== 'win32',
      env: Object.fromEntries(Object.entries(process.env).filter(([key]) => passedOn.test(key)))
    })
    this.#chunks = this.#child.stdout[Symbol.asyncIterator]()
    this.#closed = new Promise((resolve) => {
      this.#child.on('error', (cause: NodeJS.ErrnoException) => {
        const message = `'${program}' cannot be run (${cause.code}), wanted ffmpeg`
        this.#fail(new ExpertError('EXP_MEDIA_NO_FFMPEG', message, { cause }))
        if (this.#child.pid === undefined) resolve()
      })
      this.#child.on('exit', (code, signal) => {
        this.#code = code
        this.#killedBy = signal
        running.delete(this)
        // What was killed may have left its end of a pipe to somebody else.
        if (this.#failure !== null) resolve()
      })
      this.#child.on('close', () => resolve())
    })
    this.#child.stderr.on('error', () => {})
    readLines(this.#child.stderr, (line) => this.#take(line))
    this.#child.stderr.on('close', () => options.onEnd?.())
    if (this.#child.pid !== undefined) {
      if (!isWatchingExit) process.on('exit', killAll)
      isWatchingExit = true
      running.add(this)
    }
    options.signal?.addEventListener('abort', this.#cancel, { once: true })
    if (options.signal?.aborted) this.#cancel()
  }

  /** What it complained about so far, the first lines, without the path of the file. */
  get complaints(): readonly string[] {
    return this.#complaints
  }

  /**
   * Reads until the target is full or its output ends.
   *
   * @returns bytes that were read
   * @throws ExpertError EXP_MEDIA_TIMEOUT, EXP_CANCELED, EXP_MEDIA_NO_FFMPEG
   */
  async fill(target: Uint8Array): Promise<number> {
    let filled = 0
    await this.#timed(async () => {
      while (filled < target.length) {
        if (this.#rest.length === 0) {
          const next = await this.#chunks.next()
          if (next.done) return
          this.#rest = next.value
        }
        const piece = this.#rest.subarray(0, target.length - filled)
        target.set(piece, filled)
        filled += piece.length
        this.#rest = this.#rest.subarray(piece.length)
      }
    })
    return filled
  }

  /** Waits, on its clock, for what its log will say. */
  async waitFor<T>(said: Promise<T>): Promise<T> {
    await this.#timed(() => said)
    return said
  }

  /** All of its output, when that is at most `most` bytes. @throws ExpertError EXP_MEDIA_UNREADABLE */
  async readAll(most: number): Promise<Buffer> {
    const target = Buffer.allocUnsafe(most + 1)
    const bytes = await this.fill(target)
    if (bytes > most) throw this.unreadable(`says more than ${most} bytes about itself`)
    return target.subarray(0, bytes)
  }

  /**
   * Waits for its end, its output having been read.
   *
   * @throws ExpertError EXP_MEDIA_UNREADABLE when it failed; EXP_MEDIA_TOO_LARGE when it refused a frame
   *   for its size; EXP_MEDIA_TIMEOUT, EXP_CANCELED
   */
  async end(): Promise<void> {
    await this.#timed(() => this.#closed)
    if (this.#killedBy === 'SIGXCPU') throw this.#expired()
    if (this.#tooLarge !== null) {
      const message = `${this.name} has frames of ${this.#tooLarge} pixels, which is too many`
      throw new ExpertError('EXP_MEDIA_TOO_LARGE', message)
    }
    if (this.#code === 0) return
    const how = this.#killedBy === null ? '' : `, ended by ${this.#killedBy}`
    throw this.unreadable(`cannot be read${how}`)
  }

  /** Kills it if it still runs, and waits until it is gone. */
  async stop(): Promise<void> {
    this.#options.signal?.removeEventListener('abort', this.#cancel)
    this.#fail(new ExpertError('EXP_CANCELED', `reading ${this.name} was stopped`))
    await this.#closed
  }

  kill(): void {
    const { pid, exitCode, signalCode } = this.#child
    if (pid === undefined || exitCode !== null || signalCode !== null) return
    try {
      process.kill(process.platform === 'win32' ? pid : -pid, 'SIGKILL')
    } catch {
      this.#child.kill('SIGKILL')
    }
  }

  /** An error about the file, with what ffmpeg complained about. */
  unreadable(found: string): ExpertError {
    const said = this.#complaints.length === 0 ? '' : ` (${this.#complaints.join('; ')})`
    const message = `${this.name} ${found}${said}, wanted a whole video or sound file`
    return new ExpertError('EXP_MEDIA_UNREADABLE', message)
  }

  async #timed(wait: () => Promise<unknown>): Promise<void> {
    const from = performance.now()
    const timer = setTimeout(() => this.#fail(this.#expired()), Math.max(1, this.#remainingMs))
    try {
      await wait()
    } catch (error) {
      throw this.#failure ?? error
    } finally {
      clearTimeout(timer)
      this.#remainingMs -= performance.now() - from
    }
    if (this.#failure !== null) throw this.#failure
  }

  #expired(): ExpertError {
    const message = `reading ${this.name} was not complete after ${this.#options.timeoutMs} ms`
    return new ExpertError('EXP_MEDIA_TIMEOUT', message)
  }

  readonly #cancel = () => {
    const cause = this.#options.signal?.reason
    const message = `reading ${this.name} was cancelled`
    this.#fail(new ExpertError('EXP_CANCELED', message, { cause }))
  }

  #fail(failure: ExpertError): void {
    if (this.#failure !== null) return
    this.#failure = failure
    this.kill()
    this.#child.stdout?.destroy()
    this.#child.stderr?.destroy()
  }

  #take(line: string): void {
    const complaint = /^(?:\[[^\]]* @ 0x[0-9a-f]+\] )*\[(?:error|fatal|panic)\] (.+)$/.exec(
      line
    )?.[1]
    if (complaint === undefined) {
      this.#options.onLine?.(line)
      return
    }
    this.#tooLarge ??= /size (\d+x\d+) exceeds specified max pixel/.exec(complaint)?.[1] ?? null
    if (this.#complaints.length < mostComplaints) {
      const { path } = this.#options
      const shown = complaint
        .replaceAll(`file://${path}`, this.name)
        .replaceAll(`file:${path}`, this.name)
        .replaceAll(path, this.name)
        .replace(/Format not on whitelist '.*/, 'its format is not taken')
      const text = shown.replace(/\p{Cc}/gu, ' ').slice(0, 200)
      if (!this.#complaints.includes(text)) this.#complaints.push(text)
    }
  }
}

/** Memory stays at one line, however long the program makes it. */
function readLines(stream: Readable, take: (line: string) => void): void {
  let begun = ''
  stream.setEncoding('utf8')
  stream.on('data', (text: string) => {
    const lines = (begun + text).split(/[\r\n]+/)
    begun = (lines.pop() as string).slice(0, longestLine)
    for (const line of lines) take(line.slice(0, longestLine))
  })
  stream.on('end', () => {
    if (begun !== '') take(begun)
  })
}

function killAll(): void {
  for (const run of running) run.kill()
}
