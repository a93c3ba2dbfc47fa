import { ExpertError } from '../errors.ts'

/** Bytes on their way, wherever they come from. */
export interface MediaSource {
  /** How messages name it. */
  name: string
  /** Media type as the sender gave it, or null. */
  type: string | null
  body: AsyncIterable<Uint8Array>
  /** Lets go of the connection or file, read to its end or not. */
  close(): Promise<void> | void
}

/** @throws ExpertError EXP_MEDIA_TOO_LARGE */
export function checkBytes(name: string, bytes: number, maxBytes: number): void {
  if (bytes <= maxBytes) return
  const message = `${name} has ${bytes} bytes, wanted at most ${maxBytes}`
  throw new ExpertError('EXP_MEDIA_TOO_LARGE', message)
}
