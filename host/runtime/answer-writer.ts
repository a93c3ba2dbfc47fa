import { mkdirSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type ExpertReply, encodeAnswer } from '@nebula-experts/sdk/hosting'
import type { CallKind, LoadRequest, Port, ToExpert, ToHost } from './messages.ts'
import { isPredictKind, toWireError } from './messages.ts'

/** Sends what a run gave: JSON, bytes, a file or an error. */
export class AnswerWriter {
  readonly #port: Port<ToHost, ToExpert>
  readonly #load: LoadRequest

  constructor(port: Port<ToHost, ToExpert>, load: LoadRequest) {
    this.#port = port
    this.#load = load
  }

  answer(id: number, answer: unknown): void {
    try {
      if ((answer as ExpertReply | null)?.isExpertReply === true) {
        this.#reply(id, answer as ExpertReply)
      } else {
        this.#port.send(['result', id], this.#encode(answer))
      }
    } catch (error) {
      this.#port.send(['error', id, toWireError(error)])
    }
  }

  fail(id: number, kind: CallKind, error: unknown): void {
    const wire = toWireError(error)
    // The seed's routes answer 200 with an error for a picture that cannot be had or read.
    if (isPredictKind(kind) && wire.exposed && wire.code.startsWith('EXP_MEDIA_')) {
      this.#port.send(['result', id], JSON.stringify({ result: null, error: wire.message }))
    } else {
      this.#port.send(['error', id, wire])
    }
  }

  #reply(id: number, reply: ExpertReply): void {
    const { status } = reply
    if (!Number.isInteger(status) || status < 200 || status > 599) {
      throw new RangeError(`api.reply() wants a status of 200 to 599, got ${status}`)
    }
    const type = reply.type ?? null
    const value = reply.value as { path?: unknown } | Uint8Array | null
    if (value instanceof Uint8Array) {
      const file = { path: this.#writeBytes(id, value), owned: true }
      this.#port.send(['reply', id, { status, type: type ?? 'application/octet-stream', file }])
    } else if (typeof value?.path === 'string' && Object.keys(value).length === 1) {
      const file = this.#keep(id, value.path)
      this.#port.send(['reply', id, { status, type: type ?? 'application/octet-stream', file }])
    } else {
      this.#port.send(['reply', id, { status, type, file: null }], this.#encode(value))
    }
  }

  #encode(value: unknown): string {
    if (typeof value === 'function' || typeof value === 'symbol') {
      throw new TypeError(`The answer is a ${typeof value}, which is no JSON`)
    }
    const text = encodeAnswer(value)
    const most = this.#load.maxAnswerBytes
    // A character has at most three bytes: for nearly all answers the length alone decides.
    const bytes = text.length * 3 > most ? Buffer.byteLength(text) : 0
    if (bytes > most) {
      throw new RangeError(`The answer has ${bytes} bytes of JSON; at most ${most} can be sent`)
    }
    return text
  }

  /** A file in the job's folder, which goes when the run ends, is moved to where the host finds it. */
  #keep(id: number, path: string): { path: string; owned: boolean } {
    if (!path.startsWith(`${this.#load.tmpDir}/`)) return { path, owned: false }
    const folder = join(this.#load.tmpDir, 'replies')
    mkdirSync(folder, { recursive: true })
    const kept = join(folder, String(id))
    renameSync(path, kept)
    return { path: kept, owned: true }
  }

  #writeBytes(id: number, bytes: Uint8Array): string {
    const folder = join(this.#load.tmpDir, 'replies')
    mkdirSync(folder, { recursive: true })
    const path = join(folder, String(id))
    writeFileSync(path, bytes)
    return path
  }
}
