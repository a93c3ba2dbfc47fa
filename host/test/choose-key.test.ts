import t from 'tap'
import { chooseKey } from '../documents/choose-key.ts'
import type { DocumentFields } from '../documents/stored-document.ts'

const fields = { expert: 'b' }
const planned = {
  keys: ['car', 'car:b', 'car.hash'],
  owns: (stored: DocumentFields) => stored['expert'] === 'b',
  fields
}

function choose(stored: Record<string, DocumentFields>) {
  return chooseKey(planned, (key) => stored[key])
}

t.test('the first free key is taken', async (t) => {
  t.strictSame(choose({}), { key: 'car', own: undefined })
  t.strictSame(choose({ car: { expert: 'a' } }), { key: 'car:b', own: undefined })
})

t.test(
  'who stepped aside once finds its own again, also when a better key is free by then',
  async (t) => {
    const own = { expert: 'b', n: 1 }
    t.strictSame(choose({ car: { expert: 'a' }, 'car:b': own }), { key: 'car:b', own })
    t.strictSame(choose({ 'car:b': own }), { key: 'car:b', own })
    t.strictSame(choose({ 'car.hash': own }), { key: 'car.hash', own })
  }
)

t.test('when others have all of its keys, nothing of theirs is written over', async (t) => {
  const others = { car: {}, 'car:b': {}, 'car.hash': {} }
  t.throws(() => choose(others), { code: 'HOST_DOCUMENT_EXISTS', message: /car\.hash/ })
})
