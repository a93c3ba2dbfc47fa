import { writeSync } from 'node:fs'
import type { Socket } from 'node:net'
import { MAX_MESSAGE_BYTES, type Port } from './messages.ts'

const NEWLINE = 10

/**
 * Messages over a socket, one a line: the head as JSON, and after a tab the body. JSON has neither raw
 * tabs nor raw line ends, so nothing is escaped and a body passes through as it is.
 *
 * All that is sent in one turn of the event loop leaves in one write.
 */
export class FramedPort<Out, In> implements Port<Out, In> {
  onMessage: (head: In, body: string) => void = () => {}
  onClose: (fault: Error | null) => void = () => {}
  readonly #socket: Socket
  #outgoing = ''
  #flushing = false
  #partial: Buffer[] = []
  #partialBytes = 0
  #closed = false

  constructor(socket: Socket) {
    this.#socket = socket
    socket.on('data', (chunk: Buffer) => this.#receive(chunk))
    socket.on('error', (error) => this.#end(error))
    socket.on('end', () => this.#end(null))
    socket.on('close', () => this.#end(null))
  }

  send(head: Out, body?: string): void {
    if (this.#closed) return
    const text = JSON.stringify(head)
    this.#outgoing += body === undefined ? `${text}\n` : `${text}\t${body}\n`
    if (this.#flushing) return
    this.#flushing = true
    setImmediate(this.#flushLater)
  }

  flush(): void {
    if (this.#closed || this.#outgoing === '') return
    const text = this.#outgoing
    this.#outgoing = ''
    this.#socket.write(text)
  }

  /** Writes what is pending before the process ends, when the event loop will not turn again. */
  flushSync(fd: number): void {
    // Bytes that the socket still holds would come after these: better nothing than half a line.
    if (this.#closed || this.#outgoing === '' || this.#socket.writableLength > 0) return
    let rest = Buffer.from(this.#outgoing)
    this.#outgoing = ''
    for (let tries = 0; rest.length > 0 && tries < 100; tries++) {
      try {
        rest = rest.subarray(writeSync(fd, rest))
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') return
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2)
      }
    }
  }

  close(): void {
    this.#closed = true
    this.#socket.destroy()
  }

  #flushLater = (): void => {
    this.#flushing = false
    this.flush()
  }

  #receive(chunk: Buffer): void {
    const last = chunk.lastIndexOf(NEWLINE)
    if (last === -1) {
      this.#hold(chunk)
      return
    }
    let complete = last + 1 === chunk.length ? chunk : chunk.subarray(0, last + 1)
    if (this.#partial.length > 0) {
      this.#partial.push(complete)
      complete = Buffer.concat(this.#partial)
      this.#partial = []
      this.#partialBytes = 0
    }
    if (last + 1 < chunk.length) this.#hold(chunk.subarray(last + 1))
    const text = complete.toString('utf8')
    let from = 0
    for (let end = text.indexOf('\n'); end !== -1; end = text.indexOf('\n', from)) {
      const line = text.slice(from, end)
      from = end + 1
      if (!this.#deliver(line)) return
    }
  }

  #deliver(line: string): boolean {
    const tab = line.indexOf('\t')
    let head: In
    try {
      head = JSON.parse(tab === -1 ? line : line.slice(0, tab)) as In
      if (!Array.isArray(head)) throw new SyntaxError('not an array')
    } catch {
      this.#end(new Error(`wrote what is no message: ${JSON.stringify(line.slice(0, 80))}`))
      return false
    }
    this.onMessage(head, tab === -1 ? '' : line.slice(tab + 1))
    return !this.#closed
  }

  #hold(chunk: Buffer): void {
    this.#partial.push(chunk)
    this.#partialBytes += chunk.length
    if (this.#partialBytes > MAX_MESSAGE_BYTES) {
      this.#end(new Error(`sent a message of more than ${MAX_MESSAGE_BYTES} bytes`))
    }
  }

  #end(fault: Error | null): void {
    if (this.#closed) return
    this.#closed = true
    this.#partial = []
    this.#socket.destroy()
    this.onClose(fault)
  }
}
