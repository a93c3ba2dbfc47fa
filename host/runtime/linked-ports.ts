import type { Port } from './messages.ts'

/** One end of a pair in the same process. Heads are handed over as they are; bodies are JSON text. */
class LinkedPort<Out, In> implements Port<Out, In> {
  onMessage: (head: In, body: string) => void = () => {}
  onClose: (fault: Error | null) => void = () => {}
  peer: LinkedPort<In, Out> | null = null

  send(head: Out, body = ''): void {
    const peer = this.peer
    // Never within the sender's call: the two sides keep the order of turns they have as processes.
    if (peer !== null) queueMicrotask(() => peer.peer !== null && peer.onMessage(head, body))
  }

  flush(): void {}

  close(): void {
    const peer = this.peer
    if (peer === null) return
    this.peer = null
    peer.peer = null
    queueMicrotask(() => peer.onClose(null))
  }
}

/** Two ports, each the other's far end. */
export function linkPorts<A, B>(): [Port<A, B>, Port<B, A>] {
  const left = new LinkedPort<A, B>()
  const right = new LinkedPort<B, A>()
  left.peer = right
  right.peer = left
  return [left, right]
}
