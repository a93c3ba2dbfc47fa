// The statements of pipelines and their items.

import { isObject, merged } from './documents.js'
import { byPlace, hexOf, same } from './listing-statements.js'

const SHALLOW = { keepNull: true, mergeObjects: false }
const DEEP = { keepNull: true, mergeObjects: true }
const WRITING =
  'OPTIONS { waitForSync: true, keepNull: true, mergeObjects: false, ignoreRevs: false }'
const MERGING =
  'OPTIONS { waitForSync: true, keepNull: true, mergeObjects: true, ignoreRevs: false }'

/** By whole text: the names of the bind variables, and what a statement does in its transaction. */
export const PIPELINE_STATEMENTS = new Map()

function define(names, query, run) {
  PIPELINE_STATEMENTS.set(query, { names: names.split(' '), run })
}

// --- what AQL's functions give ---

function own(value, name) {
  return isObject(value) && Object.hasOwn(value, name) ? value[name] : null
}

function has(value, name) {
  return isObject(value) && Object.hasOwn(value, name)
}

function unset(document, name) {
  return Object.fromEntries(Object.entries(document).filter(([field]) => field !== name))
}

function merge(...objects) {
  return objects.reduce((all, object) => merged(all, object, SHALLOW), {})
}

/** Whether a value is at most a number: null and booleans come before all numbers, all else behind them. */
function atMost(value, number) {
  if (value === undefined || value === null || typeof value === 'boolean') return true
  return typeof value === 'number' && value <= number
}

function isUnclaimed(document, { task, now }) {
  if (!has(document.tasks, task)) return true
  const until = own(own(document.claims, task), 'until')
  return typeof until === 'number' && until <= now
}

function byKey(transaction, collection, keys) {
  const { documents } = transaction.read(collection)
  return keys.flatMap((key) => documents.get(key) ?? [])
}

/** Items of a pipeline and a state between two places, in their order, as far as they fit, `limit` at most. */
function first(transaction, bind, { state, after, to, limit = Number.POSITIVE_INFINITY, fits }) {
  const { placed } = transaction.read(bind['@items'])
  const { list, behind, end } = placed.between(bind.pipeline ?? bind.key, state, { after, to })
  const found = []
  for (let place = behind; place < end && found.length < limit; place++) {
    if (fits === undefined || fits(list[place])) found.push(list[place])
  }
  return found
}

function orders(transaction, bind) {
  const found = first(transaction, bind, { state: 'order' })
  return found.sort((a, b) => a.at - b.at)
}

function changeEach(transaction, bind, documents, patchOf) {
  const how = { ...SHALLOW, ignoreRevs: false }
  return documents.map((document) =>
    transaction.update(bind['@items'], document, patchOf(document), how)
  )
}

/** The documents that a list of `{ key }` names, each with what names it. */
function paired(transaction, bind, named) {
  const { documents } = transaction.read(bind['@items'])
  return named.flatMap((one) => {
    const document = documents.get(one.key)
    return document === undefined ? [] : [{ one, document }]
  })
}

// --- documents ---

define(
  '@pipelines @items document order',
  "INSERT @document INTO @@pipelines OPTIONS { waitForSync: true, overwriteMode: 'conflict' } " +
    'LET made = NEW ' +
    "INSERT @order INTO @@items OPTIONS { waitForSync: true, overwriteMode: 'replace' } " +
    "RETURN UNSET(made, 'movies')",
  (transaction, bind) => {
    const { document, order } = bind
    const made = transaction.insert(bind['@pipelines'], document, { overwriteMode: 'conflict' })
    transaction.insert(bind['@items'], order, { overwriteMode: 'replace' })
    return [unset(made, 'movies')]
  }
)

define(
  '@items key',
  'FOR o IN @@items FILTER o._key == @key RETURN o.created',
  (transaction, bind) =>
    byKey(transaction, bind['@items'], [bind.key]).map(({ created }) => created ?? null)
)

define(
  '@items order',
  "INSERT @order INTO @@items OPTIONS { waitForSync: true, overwriteMode: 'ignore' }",
  (transaction, bind) => {
    transaction.insert(bind['@items'], bind.order, { overwriteMode: 'ignore' })
    return []
  }
)

define(
  '@pipelines key',
  "FOR p IN @@pipelines FILTER p._key == @key RETURN UNSET(p, 'movies')",
  (transaction, bind) =>
    byKey(transaction, bind['@pipelines'], [bind.key]).map((p) => unset(p, 'movies'))
)

define(
  '@pipelines @items key',
  'FOR p IN @@pipelines FILTER p._key == @key ' +
    "LET orders = (FOR o IN @@items FILTER o.pipeline == @key FILTER o.state == 'order' " +
    'SORT o.at RETURN o.movies) ' +
    "LET running = (FOR d IN @@items FILTER d.pipeline == @key FILTER d.state == 'running' " +
    'RETURN [d.movie, d.task, d.state]) ' +
    'LET ended = (FOR d IN @@items FILTER d.pipeline == @key FILTER d.unfolded == true ' +
    'RETURN [d.movie, d.task, d.state]) ' +
    'RETURN { document: p, orders: orders, states: APPEND(running, ended) }',
  (transaction, bind) =>
    byKey(transaction, bind['@pipelines'], [bind.key]).map((p) => {
      const running = first(transaction, bind, { state: 'running' })
      const ended = transaction.read(bind['@items']).placed.flagged(bind.key)
      const states = [...running, ...ended].map((d) => [d.movie, d.task, d.state])
      return { document: p, orders: orders(transaction, bind).map((o) => o.movies), states }
    })
)

const UNCLAIMED =
  '!(IS_OBJECT(p.tasks) && HAS(p.tasks, @task)) || ' +
  '(IS_NUMBER(p.claims[@task].until) && p.claims[@task].until <= @now)'

for (const [hasStatus, hasTask] of [
  [false, false],
  [true, false],
  [false, true],
  [true, true]
]) {
  define(
    `@pipelines${hasStatus ? ' status' : ''}${hasTask ? ' task now' : ''} after count`,
    `FOR p IN @@pipelines ${hasStatus ? 'FILTER p.status == @status ' : ''}` +
      `${hasTask ? `FILTER ${UNCLAIMED} ` : ''}LET place = TO_HEX(p._key) FILTER place > @after ` +
      "SORT place LIMIT @count RETURN UNSET(p, 'movies')",
    (transaction, bind) =>
      [...transaction.read(bind['@pipelines']).documents.values()]
        .filter((p) => !hasStatus || same(p.status, bind.status))
        .filter((p) => !hasTask || isUnclaimed(p, bind))
        .filter((p) => hexOf(p._key) > bind.after)
        .sort(byPlace)
        .slice(0, bind.count)
        .map((p) => unset(p, 'movies'))
  )
}

const FOUND =
  'FOR p IN @@pipelines FILTER p._key == @key ' +
  'FILTER p.nebula_change == @call || ((@anyStatus || p.status IN @status) && ' +
  `(@anyTask || ${UNCLAIMED})) `
const CHANGED =
  'MERGE(@fields, ' +
  'LENGTH(@tasks) == 0 ? {} : { tasks: MERGE(IS_OBJECT(p.tasks) ? p.tasks : {}, @tasks) }, ' +
  'LENGTH(@claims) == 0 ? {} : { claims: MERGE(IS_OBJECT(p.claims) ? p.claims : {}, @claims) }, ' +
  'LENGTH(@inputs) == 0 ? {} : { inputs: MERGE(IS_OBJECT(p.inputs) ? p.inputs : {}, @inputs) }'
const THE_MOVIES = 'LET movies = IS_OBJECT(p.movies) ? p.movies : {} '
const PATCHES =
  'LET patches = (FOR m IN @movies RETURN { [m.id]: HAS(movies, m.id) ? m.patch : ' +
  'MERGE({ _key: m.key, status: {} }, m.patch) }) '
const CONDITION = 'key call anyStatus status anyTask task now fields tasks claims inputs'

function meantBy(transaction, bind) {
  const { call, anyStatus, status, anyTask } = bind
  return byKey(transaction, bind['@pipelines'], [bind.key]).filter((p) => {
    if (p.nebula_change === call) return true
    const fits = anyStatus || status.some((one) => same(p.status, one))
    return fits && (anyTask || isUnclaimed(p, bind))
  })
}

function changed(p, { fields, tasks, claims, inputs }) {
  const parts = { tasks, claims, inputs }
  const laid = Object.entries(parts)
    .filter(([, part]) => Object.keys(part).length > 0)
    .map(([name, part]) => ({ [name]: merge(isObject(p[name]) ? p[name] : {}, part) }))
  return merge(fields, ...laid)
}

function patchesOf(movies, patches) {
  return Object.fromEntries(
    patches.map(({ id, key, patch }) => [
      id,
      has(movies, id) ? patch : merge({ _key: key, status: {} }, patch)
    ])
  )
}

define(
  `@pipelines ${CONDITION}`,
  `${FOUND}UPDATE p WITH ${CHANGED}) IN @@pipelines ${WRITING} ` +
    "RETURN { document: UNSET(NEW, 'movies'), before: OLD._rev }",
  (transaction, bind) =>
    meantBy(transaction, bind).map((p) => {
      const how = { ...SHALLOW, ignoreRevs: false }
      const after = transaction.update(bind['@pipelines'], p, changed(p, bind), how)
      return { document: unset(after, 'movies'), before: p._rev }
    })
)

define(
  `@pipelines ${CONDITION} @items movies replaced`,
  `${FOUND}FILTER !IS_ARRAY(p.movies) ${THE_MOVIES}${PATCHES}` +
    'LET added = (FOR m IN @movies FILTER p.nebula_change == @call || !HAS(movies, m.id) ' +
    'RETURN m.id) ' +
    `UPDATE p WITH ${CHANGED}, { movies: MERGE_RECURSIVE(movies, MERGE(patches)) }) ` +
    `IN @@pipelines ${WRITING} ` +
    'LET made = NEW ' +
    'LET removed = (FOR key IN @replaced FOR d IN @@items FILTER d._key == key ' +
    "FILTER d.state != 'running' " +
    'REMOVE d IN @@items OPTIONS { waitForSync: true, ignoreRevs: false } RETURN 1) ' +
    "RETURN { document: UNSET(made, 'movies'), added: added, removed: LENGTH(removed) }",
  (transaction, bind) =>
    meantBy(transaction, bind)
      .filter((p) => !Array.isArray(p.movies))
      .map((p) => {
        const before = isObject(p.movies) ? p.movies : {}
        const isRepeated = same(p.nebula_change, bind.call)
        const isAdded = ({ id }) => isRepeated || !has(before, id)
        const added = bind.movies.filter(isAdded).map(({ id }) => id)
        const movies = merged(before, patchesOf(before, bind.movies), DEEP)
        const patch = { ...changed(p, bind), movies }
        const how = { ...SHALLOW, ignoreRevs: false }
        const after = transaction.update(bind['@pipelines'], p, patch, how)
        const replaced = byKey(transaction, bind['@items'], bind.replaced)
        const removed = replaced.filter((d) => !same(d.state, 'running'))
        for (const d of removed) transaction.remove(bind['@items'], d, { ignoreRevs: false })
        return { document: unset(after, 'movies'), added, removed: removed.length }
      })
)

define(
  '@pipelines key',
  'FOR p IN @@pipelines FILTER p._key == @key ' +
    'RETURN { rev: p._rev, list: IS_ARRAY(p.movies) ? p.movies : null }',
  (transaction, bind) =>
    byKey(transaction, bind['@pipelines'], [bind.key]).map((p) => {
      return { rev: p._rev, list: Array.isArray(p.movies) ? p.movies : null }
    })
)

define(
  '@pipelines key movies',
  'FOR p IN @@pipelines FILTER p._key == @key FOR m IN @movies RETURN p.movies[m].status',
  (transaction, bind) =>
    byKey(transaction, bind['@pipelines'], [bind.key]).flatMap((p) =>
      bind.movies.map((m) => own(own(p.movies, m), 'status'))
    )
)

define(
  '@pipelines key rev movies',
  `FOR p IN @@pipelines FILTER p._key == @key FILTER p._rev == @rev ${THE_MOVIES}${PATCHES}` +
    `UPDATE p WITH { movies: MERGE(patches) } IN @@pipelines ${MERGING} RETURN NEW._rev`,
  (transaction, bind) =>
    byKey(transaction, bind['@pipelines'], [bind.key])
      .filter((p) => same(p._rev, bind.rev))
      .map((p) => {
        const movies = patchesOf(p.movies, bind.movies)
        const how = { ...DEEP, ignoreRevs: false }
        return transaction.update(bind['@pipelines'], p, { movies }, how)._rev
      })
)

define(
  '@pipelines @items key seen',
  'FOR p IN @@pipelines FILTER p._key == @key ' +
    "LET orders = (FOR o IN @@items FILTER o.pipeline == @key FILTER o.state == 'order' " +
    'FILTER p._rev != @seen SORT o.at RETURN { at: o.at, movies: o.movies }) ' +
    'LET flagged = (FOR d IN @@items FILTER d.pipeline == @key FILTER d.unfolded == true ' +
    'RETURN { key: d._key, rev: d._rev, task: d.task, movie: d.movie, state: d.state }) ' +
    'RETURN { rev: p._rev, isList: IS_ARRAY(p.movies), ' +
    'document: p._rev == @seen ? null : p, orders: orders, flagged: flagged }',
  (transaction, bind) =>
    byKey(transaction, bind['@pipelines'], [bind.key]).map((p) => {
      const isSeen = same(p._rev, bind.seen)
      const flagged = transaction.read(bind['@items']).placed.flagged(bind.key)
      return {
        rev: p._rev,
        isList: Array.isArray(p.movies),
        document: isSeen ? null : p,
        orders: isSeen ? [] : orders(transaction, bind).map(({ at, movies }) => ({ at, movies })),
        flagged: flagged.map(named)
      }
    })
)

// --- items ---

function named({ _key: key, _rev: rev, task, movie, state }) {
  return { key, rev, task, movie, state }
}

function row({ movie, task, state, place }) {
  return [movie, task, state, place]
}

define(
  '@items pipeline',
  "FOR d IN @@items FILTER d.pipeline == @pipeline FILTER d.place > '' " +
    'RETURN [d.movie, d.task, d.state, d.place]',
  (transaction, bind) => first(transaction, bind, { after: '' }).map(row)
)

define(
  '@items keys',
  'FOR key IN @keys FOR d IN @@items FILTER d._key == key ' +
    'RETURN [d.movie, d.task, d.state, d.place]',
  (transaction, bind) => byKey(transaction, bind['@items'], bind.keys).map(row)
)

define(
  '@items pipeline added',
  'FOR item IN @added ' +
    'INSERT MERGE(item, { pipeline: @pipeline, attempts: 0, not_before: 0, unfolded: false }) ' +
    "INTO @@items OPTIONS { waitForSync: true, overwriteMode: 'ignore' }",
  (transaction, bind) => {
    const { pipeline, added } = bind
    for (const item of added) {
      const document = merge(item, { pipeline, attempts: 0, not_before: 0, unfolded: false })
      transaction.insert(bind['@items'], document, { overwriteMode: 'ignore' })
    }
    return []
  }
)

define(
  '@items keys',
  'FOR key IN @keys FOR d IN @@items FILTER d._key == key ' +
    "FILTER d.state IN ['blocked', 'ready'] " +
    `UPDATE d WITH { state: 'success' } IN @@items ${WRITING}`,
  (transaction, bind) => {
    const waiting = byKey(transaction, bind['@items'], bind.keys).filter(({ state }) =>
      ['blocked', 'ready'].includes(state)
    )
    changeEach(transaction, bind, waiting, () => ({ state: 'success' }))
    return []
  }
)

define(
  '@items changes',
  "FOR c IN @changes FOR d IN @@items FILTER d._key == c.key FILTER d.state == 'blocked' " +
    `UPDATE d WITH c.patch IN @@items ${WRITING} LET made = NEW FILTER made.unfolded == true ` +
    'RETURN { key: made._key, rev: made._rev, task: made.task, movie: made.movie, ' +
    'state: made.state }',
  (transaction, bind) => {
    const pairs = paired(transaction, bind, bind.changes).filter(({ document }) =>
      same(document.state, 'blocked')
    )
    const how = { ...SHALLOW, ignoreRevs: false }
    return pairs
      .map(({ one, document }) => transaction.update(bind['@items'], document, one.patch, how))
      .filter(({ unfolded }) => unfolded === true)
      .map(named)
  }
)

define(
  '@items folded',
  'FOR c IN @folded FOR d IN @@items FILTER d._key == c.key FILTER d._rev == c.rev ' +
    `UPDATE d WITH { unfolded: false } IN @@items ${WRITING}`,
  (transaction, bind) => {
    const pairs = paired(transaction, bind, bind.folded).filter(({ one, document }) =>
      same(document._rev, one.rev)
    )
    const documents = pairs.map(({ document }) => document)
    changeEach(transaction, bind, documents, () => ({ unfolded: false }))
    return []
  }
)

define(
  '@items pipeline from to limit',
  "FOR state IN ['fail', 'skipped'] " +
    'FOR d IN @@items FILTER d.pipeline == @pipeline FILTER d.state == state ' +
    'FILTER d.place > @from FILTER d.place < @to LIMIT @limit ' +
    "UPDATE d WITH { state: 'blocked', unfolded: true, attempts: 0, not_before: 0, " +
    'error: null, started_at: null, finished_at: null, token: null, recorded: null, ' +
    'owner: null, expert: null, expert_version: null, model_sha256: null, ' +
    `extra_params: null } IN @@items ${WRITING} RETURN 1`,
  (transaction, bind) => {
    const { from: after, to, limit } = bind
    const found = ['fail', 'skipped'].flatMap((state) =>
      first(transaction, bind, { state, after, to })
    )
    return changeEach(transaction, bind, found.slice(0, limit), () => ({
      ...{ state: 'blocked', unfolded: true, attempts: 0, not_before: 0 },
      ...{ error: null, started_at: null, finished_at: null, token: null, recorded: null },
      ...{ owner: null, expert: null, expert_version: null, model_sha256: null },
      extra_params: null
    })).map(() => 1)
  }
)

define(
  '@items pipeline tasks states',
  'FOR t IN @tasks FOR state IN @states ' +
    'LET found = LENGTH(FOR d IN @@items FILTER d.pipeline == @pipeline ' +
    'FILTER d.state == state FILTER d.place > t.from FILTER d.place < t.to RETURN 1) ' +
    'RETURN [t.task, state, found]',
  (transaction, bind) => {
    const { placed } = transaction.read(bind['@items'])
    return bind.tasks.flatMap(({ task, from: after, to }) =>
      bind.states.map((state) => {
        const { behind, end } = placed.between(bind.pipeline, state, { after, to })
        return [task, state, end - behind]
      })
    )
  }
)

const IN_TASK = (state) =>
  `FOR d IN @@items FILTER d.pipeline == @pipeline FILTER d.state == '${state}' ` +
  'FILTER d.place > @from FILTER d.place < @to '
const FIRST = "SORT d.place LIMIT @limit RETURN KEEP(d, '_key', '_rev', 'place', 'attempts')"

define(
  '@items pipeline from to call owner limit now until',
  `LET mine = (${IN_TASK('running')}FILTER d.call == @call ${FIRST}) ` +
    `LET lost = (${IN_TASK('running')}FILTER d.lease_until <= @now ${FIRST}) ` +
    `LET due = (${IN_TASK('ready')}FILTER d.not_before <= @now ${FIRST}) ` +
    'FOR d IN (LENGTH(mine) > 0 ? mine : APPEND(lost, due)) SORT d.place LIMIT @limit ' +
    "UPDATE d WITH { state: 'running', call: @call, token: CONCAT(@call, ':', d._key), " +
    'owner: @owner, lease_until: @until, ' +
    `attempts: LENGTH(mine) > 0 ? d.attempts : d.attempts + 1 } IN @@items ${WRITING} ` +
    'RETURN [NEW.movie, NEW.token, NEW.attempts]',
  (transaction, bind) => {
    const { from: after, to, call, owner, limit, now, until } = bind
    const ofState = (state, fits) => first(transaction, bind, { state, after, to, limit, fits })
    const mine = ofState('running', (d) => same(d.call, call))
    const lost = ofState('running', (d) => atMost(d.lease_until, now))
    const due = ofState('ready', (d) => atMost(d.not_before, now))
    const more = mine.length > 0 ? 0 : 1
    const chosen = (more === 0 ? mine : [...lost, ...due])
      .sort((a, b) => (a.place < b.place ? -1 : 1))
      .slice(0, limit)
    return changeEach(transaction, bind, chosen, ({ _key, attempts }) => ({
      ...{ state: 'running', call, token: `${call}:${_key}`, owner, lease_until: until },
      attempts: attempts + more
    })).map(({ movie, token, attempts }) => [movie, token, attempts])
  }
)

define(
  '@items changes',
  'FOR c IN @changes FOR d IN @@items FILTER d._key == c.key ' +
    "FILTER d.recorded == c.call || (d.state == 'running' && d.token == c.token) " +
    `UPDATE d WITH (d.recorded == c.call ? {} : c.patch) IN @@items ${WRITING} RETURN c.at`,
  (transaction, bind) => {
    const isMade = ({ one, document }) => same(document.recorded, one.call)
    const pairs = paired(transaction, bind, bind.changes).filter((pair) => {
      const { one, document } = pair
      return isMade(pair) || (document.state === 'running' && same(document.token, one.token))
    })
    const how = { ...SHALLOW, ignoreRevs: false }
    return pairs.map((pair) => {
      const patch = isMade(pair) ? {} : pair.one.patch
      transaction.update(bind['@items'], pair.document, patch, how)
      return pair.one.at
    })
  }
)

for (const hasState of [false, true]) {
  define(
    `@items pipeline${hasState ? ' state' : ''} after to count`,
    'FOR d IN @@items FILTER d.pipeline == @pipeline ' +
      `${hasState ? 'FILTER d.state == @state ' : ''}` +
      'FILTER d.place > @after FILTER d.place < @to SORT d.place LIMIT @count RETURN d',
    (transaction, bind) => {
      const { state, after, to, count } = bind
      return first(transaction, bind, { state, after, to, limit: count })
    }
  )
}
