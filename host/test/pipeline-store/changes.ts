import t from 'tap'
import type { StoredDocument } from '../../documents/stored-document.ts'
import {
  counts,
  ended,
  INVALID,
  type Movies,
  numbered,
  ODD_NAMES,
  ONE,
  type OpenStores,
  prepare
} from './prepare.ts'

export function changes(driver: string, open: OpenStores): void {
  t.test(`${driver}: a change touches only what it names`, async (t) => {
    const { pipelines } = await prepare(t, open)
    const created = await pipelines.create({
      _key: 'p',
      movies: {
        'Movies/1': { context: 'c', status: { a: 'fail', b: 'success' }, deep: { x: { y: 1 } } },
        'Movies/2': { status: { a: 'fail' } }
      },
      tasks: { a: 'fail', b: { success: false } },
      inputs: { e: { n: 1, m: 2 }, f: { n: 3 } },
      claims: { a: { until: 1 } },
      tag: 'kept'
    })
    const changed = await pipelines.update('pipelines/p', {
      fields: { status: 'running', none: null },
      claims: { b: { until: 2 } },
      tasks: { a: 'active', b: 'success', c: null },
      inputs: { e: { k: 4 } },
      movies: {
        'Movies/1': { status: { a: 'success', c: null }, deep: { x: { z: [2] } }, more: [1] },
        'Movies/3': { context: 'new' },
        b4: { status: { a: 'x' } }
      }
    })
    const { _rev, ...rest } = changed as StoredDocument
    t.not(_rev, created._rev)
    t.strictSame(rest, {
      ...{ _id: 'pipelines/p', _key: 'p', id: 'p', tag: 'kept', none: null, status: 'running' },
      tasks: { a: 'active', b: 'success', c: null },
      inputs: { e: { k: 4 }, f: { n: 3 } },
      claims: { a: { until: 1 }, b: { until: 2 } }
    })
    const { movies, ...whole } = (await pipelines.get('p')) as StoredDocument
    t.strictSame(whole, changed)
    t.strictSame(
      Object.keys(movies as object),
      ['Movies/1', 'Movies/2', 'Movies/3', 'Movies/b4'],
      'new ones come last'
    )
    const status = { a: 'success', b: 'success', c: null }
    const deep = { x: { y: 1, z: [2] } }
    t.strictSame((movies as Movies)['Movies/1'], {
      _key: '1',
      context: 'c',
      status,
      deep,
      more: [1]
    })
    t.strictSame((movies as Movies)['Movies/2'], { _key: '2', status: { a: 'fail' } })
    t.match(movies, {
      'Movies/3': { _key: '3', context: 'new' },
      'Movies/b4': { _key: 'b4', status: { a: 'x' } }
    })
    const before = await pipelines.get('p')
    const after = await pipelines.update('p', { inputs: {}, tasks: {}, fields: {}, movies: {} })
    t.strictSame({ ...before, _rev: 0 }, { ...after, movies, _rev: 0 }, 'empty changes nothing')
  })

  t.test(`${driver}: what a document is known by is not changed`, async (t) => {
    const { pipelines, moviesOf } = await prepare(t, open)
    await pipelines.create({ _key: 'p', movies: ['1'], tasks: { a: 'x' } })
    const names = { _id: 'pipelines/q', _key: 'q', _rev: '0', id: 'q' }
    const parts = { tasks: {}, movies: {}, inputs: null }
    t.match(await pipelines.update('p', { fields: { ...names, ...parts, n: 1 } }), {
      ...{ _id: 'pipelines/p', _key: 'p', id: 'p', n: 1 },
      ...{ tasks: { a: 'x' }, inputs: {} }
    })
    await pipelines.update('p', { movies: { 'Movies/1': { _key: '2', _id: 'Movies/2', n: 1 } } })
    t.match(await moviesOf(), { 'Movies/1': { _key: '1', n: 1 } })
    for (const id of ['Movies/a b', 'Movies/', 'é', '']) {
      await t.rejects(pipelines.update('p', { movies: { [id]: {} } }), INVALID, id)
    }
    const twice = { movies: { 1: { n: 2 }, 'Movies/1': { n: 3 } }, tasks: { a: 'y' } }
    await t.rejects(pipelines.update('p', twice), INVALID)
    const illegal = [
      { tasks: 'text' },
      { movies: ['1'] },
      { movies: { 1: 'text' } },
      { inputs: [] }
    ]
    for (const change of illegal) {
      await t.rejects(pipelines.update('p', change as object), INVALID, JSON.stringify(change))
    }
    t.match(await pipelines.get('p'), { tasks: { a: 'x' }, movies: { 'Movies/1': { n: 1 } } })
  })

  t.test(`${driver}: of 50 who change at once, none loses what another wrote`, async (t) => {
    const { pipelines, moviesOf } = await prepare(t, open)
    await pipelines.create({ _key: 'p', movies: ['shared', '0', '1'], tasks: { all: 'kept' } })
    const places = Array.from({ length: 50 }, (_, place) => place)
    const written = await Promise.all(
      places.map((place) => {
        const name = `task ${place}`
        return pipelines.update('p', {
          fields: { [`field ${place}`]: { place } },
          tasks: { [name]: place },
          inputs: { [name]: { place } },
          movies: {
            'Movies/shared': { status: { [name]: 'success' } },
            [`Movies/${place}`]: { status: { own: place } }
          }
        })
      })
    )
    for (const [place, document] of written.entries()) {
      const tasks = { all: 'kept', [`task ${place}`]: place }
      t.match(document, { tasks, [`field ${place}`]: { place } }, 'everyone is given what it wrote')
    }
    const whole = (await pipelines.get('p')) as StoredDocument
    const movies = await moviesOf()
    t.strictSame(new Set(Object.keys(movies)), new Set(['Movies/shared', ...numbered(50)]))
    for (const place of places) {
      const name = `task ${place}`
      t.match(whole, {
        [`field ${place}`]: { place },
        tasks: { all: 'kept', [name]: place },
        inputs: { [name]: { place } }
      })
      t.equal(movies['Movies/shared']?.status[name], 'success')
      t.equal(movies[`Movies/${place}`]?.status['own'], place)
      t.equal(movies[`Movies/${place}`]?.['_key'], `${place}`)
    }
  })

  t.test(`${driver}: of 20 who take a task, one has it`, async (t) => {
    const { pipelines } = await prepare(t, open)
    await pipelines.create({ _key: 'p', tasks: { other: 'active' } })
    const takers = Array.from({ length: 20 }, (_, place) => place)
    const take = (now: number) =>
      Promise.all(
        takers.map((owner) =>
          pipelines.update(
            'p',
            {
              claims: { a: { owner, until: now + 10 } },
              tasks: { a: 'active' },
              movies: { [`Movies/${now}-${owner}`]: {} }
            },
            { unclaimed: { task: 'a', now } }
          )
        )
      )
    const winnerAt = async (now: number) => {
      const taken = await take(now)
      const winners = takers.filter((place) => taken[place] !== null)
      t.equal(winners.length, 1)
      const [winner] = winners
      t.match(taken[winner as number], { claims: { a: { owner: winner } }, tasks: { a: 'active' } })
      const { claims, movies } = (await pipelines.get('p')) as StoredDocument
      t.strictSame(claims, { a: { owner: winner, until: now + 10 } })
      const own = Object.keys(movies as object).filter((id) => id.startsWith(`Movies/${now}-`))
      t.strictSame(own, [`Movies/${now}-${winner}`], 'nothing of the others is written')
    }
    await winnerAt(100)
    t.strictSame(new Set(await take(109)), new Set([null]), 'the claim is not over')
    await winnerAt(110)
    await winnerAt(1000)
  })

  t.test(`${driver}: a change is made only when its conditions hold`, async (t) => {
    const { pipelines } = await prepare(t, open)
    await pipelines.create({
      _key: 'p',
      tasks: {
        done: 'success',
        claimed: 'active',
        odd: 'active',
        ended: 'active',
        yes: 'active',
        null: null
      },
      claims: {
        claimed: { until: 100 },
        odd: { until: '1' },
        ended: 'text',
        yes: { until: true },
        free: { until: 1e9 },
        null: null
      }
    })
    const isFree = async (task: string, now = 50) => {
      const unclaimed = { task, now }
      const { documents } = await pipelines.list({ limit: 1, unclaimed })
      const changed = await pipelines.update('p', { fields: { n: 1 } }, { unclaimed })
      t.equal(documents.length === 1, changed !== null, 'listings agree')
      return changed !== null
    }
    t.ok(await isFree('free'), 'no such key of tasks, whatever the claims say')
    for (const task of ['done', 'claimed', 'odd', 'ended', 'yes', 'null'])
      t.notOk(await isFree(task), task)
    t.notOk(await isFree('claimed', 99))
    t.ok(await isFree('claimed', 100))
    t.ok(await isFree('claimed', 101))
    for (const name of ODD_NAMES) t.ok(await isFree(name), name)
    await pipelines.update('p', { tasks: Object.fromEntries(ODD_NAMES.map((name) => [name, 1])) })
    for (const name of ODD_NAMES) t.notOk(await isFree(name), name)

    const inStatus = async (...status: Array<string | null>) =>
      (await pipelines.update('p', {}, { status })) !== null
    t.ok(await inStatus(null))
    t.ok(await inStatus('running', null))
    t.notOk(await inStatus('running'))
    t.notOk(await inStatus())
    await pipelines.update('p', { fields: { status: 'running' } })
    t.ok(await inStatus('done', 'running'))
    t.notOk(await inStatus('done', null))
    const both = { unclaimed: { task: 'free', now: 50 }, status: ['done'] }
    t.equal(await pipelines.update('p', { fields: { n: 2 } }, both), null)
    const other = { unclaimed: { task: 'done', now: 50 }, status: ['running'] }
    t.equal(await pipelines.update('p', { fields: { n: 2 } }, other), null)
    t.match(await pipelines.get('p'), { n: 1 })
  })

  t.test(`${driver}: a document that is broken is read as far as it can be`, async (t) => {
    const { pipelines, moviesOf, claim } = await prepare(t, open)
    await pipelines.create({
      _key: 'p',
      movies: {
        'Movies/1': { status: 'text' },
        'Movies/2': { status: ['success'] },
        'Movies/3': {}
      },
      tasks: 'text',
      inputs: [1],
      claims: 7
    })
    t.match(await pipelines.update('p', { fields: { n: 1 }, tasks: {}, inputs: {} }), {
      tasks: 'text',
      inputs: [1]
    })
    t.match((await moviesOf())['Movies/1'], { status: 'text' }, 'what is not touched is as it was')
    const free = { task: 'length', now: 0 }
    t.match((await pipelines.list({ limit: 9, unclaimed: free })).documents, [{ _key: 'p' }])
    t.match(await pipelines.reconcile('p', ONE), { a: counts({ ready: 3 }) })
    const claims = await claim()
    t.strictSame(
      (await moviesOf())['Movies/1']?.status,
      { a: 'active' },
      'a status that is no object counts as empty'
    )
    await pipelines.record(
      claims.map((claim) => ended(claim)),
      ONE
    )
    for (const movie of numbered(4).slice(1)) {
      t.strictSame((await moviesOf())[movie]?.status, { a: 'success' }, movie)
    }
    t.match(
      await pipelines.update('p', { tasks: { a: 'x' }, inputs: { e: {} } }, { unclaimed: free }),
      {
        tasks: { a: 'x' },
        inputs: { e: {} }
      }
    )
  })
}
