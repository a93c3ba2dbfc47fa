import { createServer } from 'node:http'
import { buffer } from 'node:stream/consumers'
import { verifyWebhook } from '@nebula-experts/sdk'

/**
 * A receiver of webhooks on a free port of this machine: it notes what it is sent, before `answer` answers it.
 *
 * @param {{
 *   secret?: string,
 *   answer?: (got: object, response: import('node:http').ServerResponse) => unknown
 * }} [options] - with a secret each signature is checked; default answer: 204
 */
export async function startReceiver(options = {}) {
  const { secret, answer = (_got, response) => response.writeHead(204).end() } = options
  const got = []
  const wrong = []
  let flying = 0
  let mostFlying = 0
  const server = createServer(async (request, response) => {
    flying += 1
    mostFlying = Math.max(mostFlying, flying)
    response.once('close', () => {
      flying -= 1
    })
    // A host that is killed cuts it off.
    const body = await buffer(request).catch(() => null)
    if (body === null) return
    const { headers, url, method } = request
    try {
      const payload = secret === undefined ? JSON.parse(body) : verifyWebhook(body, headers, secret)
      const one = { at: Date.now(), method, path: url, headers, payload, id: headers['webhook-id'] }
      got.push(one)
      await answer(one, response)
    } catch (error) {
      wrong.push(`${error.message}: ${body.toString().slice(0, 200)}`)
      response.writeHead(401).end()
    }
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address()
  return {
    port,
    url: `http://127.0.0.1:${port}/told`,
    /** Everything that came, in order. */
    got,
    /** What did not fit its signature. */
    wrong,
    get mostFlying() {
      return mostFlying
    },
    close: () =>
      new Promise((resolve) => {
        server.close(resolve)
        server.closeAllConnections()
      })
  }
}
