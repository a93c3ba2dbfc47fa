import t, { type Test } from 'tap'
import type { ChangeStore } from '../documents/change-store.ts'
import type { DocumentStores } from '../documents/document-stores.ts'
import { oddTexts } from './movie-store-contract.ts'

/**
 * What every driver of `ChangeStore` promises. `make` gives empty stores; `put` writes a document of counters as
 * another tool does.
 */
export function changeStoreContract(
  driver: string,
  make: () => Promise<{
    stores: DocumentStores
    put: (document: { _key: string; [field: string]: unknown }) => Promise<unknown>
  }>
): void {
  const prepare = async (t: Test) => {
    const { stores, put } = await make()
    t.teardown(() => stores.close())
    const counters = async () =>
      (await stores.changes.versions()).map(({ _id, _key, _rev, ...fields }) => fields)
    return { changes: stores.changes as ChangeStore, put, counters }
  }

  t.test(`${driver}: counters begin with the first that is raised`, async (t) => {
    const { changes, counters } = await prepare(t)
    t.strictSame(await changes.versions(), [])
    t.equal(await changes.advance('movies'), 1)
    t.equal(await changes.advance('movies'), 2)
    t.equal(await changes.advance('Actors', 2), 2)
    t.strictSame(await counters(), [{ movies: 2, Actors: 2 }], 'one document')
    const [document] = await changes.versions()
    t.equal(document?._id, `changes/${document?._key}`)
    t.type(document?._rev, 'string')
  })

  t.test(`${driver}: a counter is never lowered, and no other is touched`, async (t) => {
    const { changes, put, counters } = await prepare(t)
    const kept = { movies: 56, ClipScene: 56, note: { by: 'hand' }, list: [1] }
    await put({ _key: '93415756', ...kept, Actors: 55 })
    t.equal(await changes.advance('Actors', 54), 55)
    t.equal(await changes.advance('Actors', 55), 55)
    t.equal(await changes.advance('Actors', 56), 56)
    t.equal(await changes.advance('Finalizer', 0), 0, 'one that was not there')
    t.strictSame(await counters(), [{ ...kept, Actors: 56, Finalizer: 0 }])
    t.equal((await changes.versions())[0]?._key, '93415756')
  })

  t.test(`${driver}: of several documents each is changed, and the first tells`, async (t) => {
    const { changes, put, counters } = await prepare(t)
    await put({ _key: 'b', movies: 1, Actors: 9 })
    await put({ _key: 'a', movies: 5 })
    await put({ _key: 'c', Actors: 'nine' })
    t.equal(await changes.advance('Actors', 4), 4)
    t.equal(await changes.advance('movies'), 6)
    t.strictSame(await counters(), [
      { movies: 6, Actors: 4 },
      { movies: 2, Actors: 9 },
      { movies: 1, Actors: 4 }
    ])
  })

  t.test(`${driver}: names of steps are data`, async (t) => {
    const { changes, counters } = await prepare(t)
    const steps = [
      ...oddTexts.filter((text) => text !== ''),
      're_id-task',
      'a.b[0].c',
      'd', // What statements call a document.
      'constructor',
      '__proto__',
      'half \ud800'
    ]
    for (const step of steps) t.equal(await changes.advance(step, 3), 3, step)
    for (const step of steps) t.equal(await changes.advance(step), 4, step)
    const [found] = await counters()
    t.strictSame(Object.keys(found as object).sort(), steps.map(asUtf8).sort())
    for (const step of ['', '_id', '_key', '_rev']) {
      const invalid = { code: 'HOST_DOCUMENT_INVALID', message: /step/ }
      await t.rejects(changes.advance(step, 1), invalid, `'${step}'`)
    }
  })

  t.test(`${driver}: of 50 who raise at once, each counts`, async (t) => {
    const { changes, counters } = await prepare(t)
    const places = Array.from({ length: 50 }, (_, place) => place)
    const raised = await Promise.all(
      places.map((place) =>
        place % 2 === 0 ? changes.advance('movies') : changes.advance('Actors', place)
      )
    )
    const movies = raised.filter((_, place) => place % 2 === 0)
    t.strictSame(
      movies.sort((a, b) => a - b),
      movies.map((_, place) => place + 1)
    )
    t.strictSame(await counters(), [{ movies: 25, Actors: 49 }], 'and one document is made')
  })
}

function asUtf8(text: string): string {
  return Buffer.from(text).toString()
}
