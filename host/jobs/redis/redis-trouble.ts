/** What a failed command says of the server: no field of it knows the credentials. */
export interface RedisTrouble {
  why: string
  kind: /** No memory is left for what is new. */
    | 'full'
    /** The user or the password is not accepted, or may not what is needed. */
    | 'refused'
    /** Nothing else will work either, until it passes. */
    | 'outage'
    /** A mistake in our code. */
    | 'fault'
}

/** What the driver can only say of a call: why it was lost is told by an event, if by anything. */
export const LOST = 'the connection was lost'

const REFUSED = /^(WRONGPASS|NOAUTH|NOPERM|ERR invalid password|ERR DB index)/
const OUTAGE = /^(LOADING|MISCONF|READONLY|MASTERDOWN|NOREPLICAS|CLUSTERDOWN|BUSY)/

/** What an error of the driver means. */
export function troubleOf(error: unknown): RedisTrouble {
  const { name, message, code } = error as NodeJS.ErrnoException
  if (message.startsWith('OOM')) return { kind: 'full', why: message }
  if (REFUSED.test(message)) return { kind: 'refused', why: withoutCommand(message) }
  if (OUTAGE.test(message)) return { kind: 'outage', why: withoutCommand(message) }
  if (message.startsWith('Socket timeout')) return { kind: 'outage', why: 'it does not answer' }
  if (name === 'ReplyError') return { kind: 'fault', why: withoutCommand(message) }
  // What the driver says of its own doings helps nobody: which tries it has made, say.
  const isAboutTries = name === 'MaxRetriesPerRequestError' || /isn't writeable/.test(message)
  const why = isAboutTries ? LOST : message || code || 'no connection'
  return { kind: 'outage', why }
}

/** Some replies repeat what was sent. */
function withoutCommand(message: string): string {
  return message.split(', with args')[0] as string
}
