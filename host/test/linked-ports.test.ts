import t from 'tap'
import { linkPorts } from '../runtime/linked-ports.ts'

const turn = () => new Promise((resolve) => setImmediate(resolve))

t.test('messages arrive in order, never within the call that sends them', async (t) => {
  const [left, right] = linkPorts<string[], number[]>()
  const got: unknown[] = []
  right.onMessage = (head, body) => {
    got.push([head, body])
    if (head[0] === 'ask') left.send(['again'])
    right.send([got.length])
  }
  const back: unknown[] = []
  left.onMessage = (head) => back.push(head)
  left.send(['ask'], '{"a":1}')
  left.send(['tell'])
  t.strictSame(got, [], 'not yet')
  await turn()
  t.strictSame(got, [
    [['ask'], '{"a":1}'],
    [['tell'], ''],
    [['again'], '']
  ])
  t.strictSame(back, [[1], [2], [3]])
})

t.test('the other end hears of a close once, and nothing after it', async (t) => {
  const [left, right] = linkPorts<string[], string[]>()
  const heard: unknown[] = []
  right.onMessage = (head) => heard.push(head)
  right.onClose = (fault) => heard.push(fault)
  left.onClose = () => heard.push('the closer is told too')
  left.send(['never delivered'])
  left.close()
  left.close()
  right.close()
  left.send(['too late'])
  right.send(['too late'])
  await turn()
  t.strictSame(heard, [null])
})
