import type { WriteStream } from 'node:tty'

const WIDTH = 30

/** A bar in the last line of a terminal; nothing where the output is no terminal. */
export class ProgressLine {
  readonly #stream: WriteStream

  constructor(stream: WriteStream) {
    this.#stream = stream
  }

  /** @returns false when there is no terminal to show it on */
  show(fraction: number, note: string): boolean {
    if (!this.#stream.isTTY) return false
    const full = Math.round(Math.min(1, Math.max(0, fraction)) * WIDTH)
    const percent = `${Math.floor(fraction * 100)} %`.padStart(5)
    const line = `${'█'.repeat(full)}${'░'.repeat(WIDTH - full)} ${percent} ${note}`
    this.#stream.write(`\r\u001b[K${line.slice(0, (this.#stream.columns || 80) - 1)}`)
    return true
  }

  /** Leaves the line empty for what is written next. */
  clear(): void {
    if (this.#stream.isTTY) this.#stream.write('\r\u001b[K')
  }
}
