import t from 'tap'
import { signWebhook, webhookSecrets } from '../hosting.ts'
import { verifyWebhook } from '../index.ts'

// The example of the Standard Webhooks specification.
const SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'
const ID = 'msg_p5jXN8AQM9LWM0D4loKWxJek'
const TIMESTAMP = 1614265330
const BODY = '{"test": 2432232314}'
const SIGNATURE = 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='

const headers = (more: Record<string, string> = {}) => ({
  'webhook-id': ID,
  'webhook-timestamp': String(TIMESTAMP),
  'webhook-signature': SIGNATURE,
  ...more
})
const now = TIMESTAMP * 1000

t.test('the known signature of the specification is made and accepted', async (t) => {
  t.equal(signWebhook(ID, TIMESTAMP, BODY, [SECRET]), SIGNATURE)
  t.equal(signWebhook(ID, TIMESTAMP, Buffer.from(BODY), [SECRET]), SIGNATURE)
  const payload = { test: 2432232314 }
  t.strictSame(verifyWebhook(BODY, headers(), SECRET, { now }), payload)
  t.strictSame(verifyWebhook(new TextEncoder().encode(BODY), headers(), SECRET, { now }), payload)
  t.strictSame(verifyWebhook(BODY, new Headers(headers()), SECRET, { now }), payload)
  const upper = Object.fromEntries(
    Object.entries(headers()).map(([name, value]) => [name.toUpperCase(), value])
  )
  t.strictSame(verifyWebhook(BODY, upper, SECRET, { now }), payload, 'names in any case')
})

t.test('any text is a secret; of several each signs and one is enough', async (t) => {
  const signature = signWebhook(ID, TIMESTAMP, BODY, ['größer als', SECRET])
  t.match(signature, /^v1,\S{44} v1,\S{44}$/)
  const given = headers({ 'webhook-signature': signature })
  for (const secret of ['größer als', SECRET, `other, ${SECRET}`, 'größer als,other']) {
    t.doesNotThrow(() => verifyWebhook(BODY, given, secret, { now }), secret)
  }
  t.throws(() => verifyWebhook(BODY, given, 'other', { now }))
  t.strictSame(webhookSecrets(' a , ,b,'), ['a', 'b'])
  t.equal(signWebhook(ID, TIMESTAMP, BODY, []), '')
})

t.test('what is not the sender’s, or not of now, is refused with the reason', async (t) => {
  const refusals: Array<[RegExp, () => unknown]> = [
    [/no signature fits/, () => verifyWebhook(`${BODY} `, headers(), SECRET, { now })],
    [
      /no signature fits/,
      () => verifyWebhook(BODY, headers(), `${SECRET.slice(0, -4)}AAAA`, { now })
    ],
    [
      /no signature fits/,
      () => verifyWebhook(BODY, headers({ 'webhook-id': 'msg_2' }), SECRET, { now })
    ],
    [
      /no signature fits/,
      () => verifyWebhook(BODY, headers({ 'webhook-timestamp': '1614265331' }), SECRET, { now })
    ],
    [
      /no signature fits/,
      () => verifyWebhook(BODY, headers({ 'webhook-signature': 'v1,AAAA' }), SECRET, { now })
    ],
    [
      /none of version v1/,
      () =>
        verifyWebhook(BODY, headers({ 'webhook-signature': `v1a,${SIGNATURE.slice(3)}` }), SECRET, {
          now
        })
    ],
    [
      /no header webhook-id/,
      () => verifyWebhook(BODY, { ...headers(), 'webhook-id': undefined }, SECRET, { now })
    ],
    [
      /no header webhook-signature/,
      () => verifyWebhook(BODY, headers({ 'webhook-signature': '' }), SECRET, { now })
    ],
    [
      /not in seconds/,
      () => verifyWebhook(BODY, headers({ 'webhook-timestamp': '1e9' }), SECRET, { now })
    ],
    [
      /301 s old, wanted at most 300 s/,
      () => verifyWebhook(BODY, headers(), SECRET, { now: now + 301_000 })
    ],
    [/301 s ahead/, () => verifyWebhook(BODY, headers(), SECRET, { now: now - 301_000 })],
    [/old/, () => verifyWebhook(BODY, headers(), SECRET)],
    [/there is no secret/, () => verifyWebhook(BODY, headers(), ' ', { now })],
    [/not base64/, () => verifyWebhook(BODY, headers(), 'whsec_a-b_c', { now })]
  ]
  for (const [message, verify] of refusals) {
    t.throws(verify, { code: 'EXP_WEBHOOK_SIGNATURE', statusCode: 401, message }, String(message))
  }
  t.doesNotThrow(() => verifyWebhook(BODY, headers(), SECRET, { now: now + 299_000 }))
  t.doesNotThrow(() => verifyWebhook(BODY, headers(), SECRET, { now: now + 9e6, toleranceS: 9001 }))
})
