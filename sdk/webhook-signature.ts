import { createHmac, timingSafeEqual } from 'node:crypto'
import { ExpertError } from './errors.ts'

/** Headers as Node's server, `fetch` or a framework gives them; names in any case. */
export type WebhookHeaders =
  | { get(name: string): string | null }
  | Record<string, string | string[] | undefined>

const ENCODED = 'whsec_'

/**
 * The `webhook-signature` header of a delivery: one HMAC-SHA256 for each secret, over `id.timestamp.body`.
 *
 * @param timestampS - seconds since 1970
 * @param secrets - each `whsec_` and base64, or any other text
 */
export function signWebhook(
  id: string,
  timestampS: number,
  body: string | Uint8Array,
  secrets: readonly string[]
): string {
  const signatures = secrets.map((secret) => digest(id, String(timestampS), body, secret))
  return signatures.map((bytes) => `v1,${bytes.toString('base64')}`).join(' ')
}

/**
 * Checks that a webhook comes from a host that knows the secret, and that it is recent; gives its payload.
 * A host may send the same one twice: its `webhook-id`, which is the payload's `id`, stays the same.
 *
 * @param body - the body as it came, byte for byte; not parsed and written again
 * @param secret - `NEBULA_WEBHOOK_SECRET` of the host: `whsec_` and base64, or any other text; of several, comma
 *   separated, one has to fit
 * @param options.toleranceS - how far its timestamp may be from now, seconds; default 300
 * @param options.now - epoch milliseconds; default: the clock
 * @returns the body as JSON
 * @throws ExpertError EXP_WEBHOOK_SIGNATURE, saying what is missing or wrong
 * @example
 * ```ts
 * import { buffer } from 'node:stream/consumers'
 *
 * createServer(async (request, response) => {
 *   const { event, job } = verifyWebhook(await buffer(request), request.headers, secret)
 *   response.writeHead(204).end()
 * })
 * ```
 */
export function verifyWebhook(
  body: string | Uint8Array,
  headers: WebhookHeaders,
  secret: string,
  options: { toleranceS?: number; now?: number } = {}
): unknown {
  const { toleranceS = 300, now = Date.now() } = options
  const secrets = webhookSecrets(secret)
  if (secrets.length === 0) throw refused('there is no secret to check it with')
  const id = headerOf(headers, 'webhook-id')
  const timestamp = headerOf(headers, 'webhook-timestamp')
  const signature = headerOf(headers, 'webhook-signature')
  if (!/^\d{1,12}$/.test(timestamp)) {
    throw refused('webhook-timestamp is not in seconds since 1970')
  }
  const ageS = now / 1000 - Number(timestamp)
  if (Math.abs(ageS) > toleranceS) {
    const how = ageS > 0 ? 'old' : 'ahead'
    throw refused(`it is ${Math.round(Math.abs(ageS))} s ${how}, wanted at most ${toleranceS} s`)
  }
  const wanted = secrets.map((one) => digest(id, timestamp, body, one))
  const given = signature.split(' ').filter((one) => one.startsWith('v1,'))
  if (given.length === 0) throw refused('webhook-signature has none of version v1')
  const fits = given.some((one) => {
    const bytes = Buffer.from(one.slice(3), 'base64')
    return wanted.some((own) => bytes.length === own.length && timingSafeEqual(bytes, own))
  })
  if (!fits) throw refused('no signature fits the secret and the body as it came')
  try {
    return JSON.parse(typeof body === 'string' ? body : Buffer.from(body).toString())
  } catch (cause) {
    throw new ExpertError('EXP_WEBHOOK_SIGNATURE', 'The signed body is not JSON', { cause })
  }
}

/**
 * Splits `NEBULA_WEBHOOK_SECRET`.
 * @throws ExpertError EXP_WEBHOOK_SIGNATURE for a `whsec_` that is not base64
 */
export function webhookSecrets(text: string): string[] {
  const secrets = text.split(',').flatMap((secret) => secret.trim() || [])
  for (const secret of secrets) keyOf(secret)
  return secrets
}

function digest(id: string, timestamp: string, body: string | Uint8Array, secret: string): Buffer {
  return createHmac('sha256', keyOf(secret)).update(`${id}.${timestamp}.`).update(body).digest()
}

function keyOf(secret: string): Buffer {
  if (!secret.startsWith(ENCODED)) return Buffer.from(secret)
  const encoded = secret.slice(ENCODED.length)
  // Node's decoder leaves out what is not base64, and the key would be another than the one meant.
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(encoded))
    throw refused('the secret after whsec_ is not base64')
  return Buffer.from(encoded, 'base64')
}

function headerOf(headers: WebhookHeaders, name: string): string {
  const found =
    typeof headers.get === 'function'
      ? (headers as { get(name: string): string | null }).get(name)
      : fieldOf(headers as Record<string, string | string[] | undefined>, name)
  if (typeof found !== 'string' || found === '') throw refused(`it has no header ${name}`)
  return found
}

function fieldOf(headers: Record<string, string | string[] | undefined>, name: string) {
  const key = Object.keys(headers).find((one) => one.toLowerCase() === name)
  return key === undefined ? undefined : headers[key]
}

function refused(why: string): ExpertError {
  return new ExpertError('EXP_WEBHOOK_SIGNATURE', `The webhook is refused: ${why}`)
}
