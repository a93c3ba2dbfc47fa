import { collectionNames } from '../stored-document.ts'
import type { ArangoStatement } from './arango-statements.ts'

const ITEMS = { '@items': collectionNames.pipelineItems }

/** Refused with a conflict when the item is not the one any more that the statement read. */
const WRITING =
  'OPTIONS { waitForSync: true, keepNull: true, mergeObjects: false, ignoreRevs: false }'

/** Where every item of a pipeline stands. */
export function itemRows(pipeline: string): ArangoStatement {
  return {
    query:
      "FOR d IN @@items FILTER d.pipeline == @pipeline FILTER d.place > '' " +
      'RETURN [d.movie, d.task, d.state, d.place]',
    bindVars: { ...ITEMS, pipeline }
  }
}

/** The same of some items. */
export function itemsOfKeys(keys: readonly string[]): ArangoStatement {
  return {
    query:
      'FOR key IN @keys FOR d IN @@items FILTER d._key == key ' +
      'RETURN [d.movie, d.task, d.state, d.place]',
    bindVars: { ...ITEMS, keys }
  }
}

/** Adds items; one that is there stays as it is. */
export function addItems(pipeline: string, items: readonly object[]): ArangoStatement {
  return {
    query:
      'FOR item IN @added ' +
      'INSERT MERGE(item, { pipeline: @pipeline, attempts: 0, not_before: 0, unfolded: false }) ' +
      "INTO @@items OPTIONS { waitForSync: true, overwriteMode: 'ignore' }",
    bindVars: { ...ITEMS, pipeline, added: items }
  }
}

/** Ends waiting items that are done elsewhere; a flag stays, until those have heard of it that wait for them. */
export function takeDone(keys: readonly string[]): ArangoStatement {
  return {
    query:
      'FOR key IN @keys FOR d IN @@items FILTER d._key == key ' +
      "FILTER d.state IN ['blocked', 'ready'] " +
      `UPDATE d WITH { state: 'success' } IN @@items ${WRITING}`,
    bindVars: { ...ITEMS, keys }
  }
}

/** Changes items that are still blocked. Gives those that ended with it. */
export function openItems(changes: ReadonlyArray<{ key: string; patch: object }>): ArangoStatement {
  return {
    query:
      'FOR c IN @changes FOR d IN @@items FILTER d._key == c.key ' +
      "FILTER d.state == 'blocked' " +
      `UPDATE d WITH c.patch IN @@items ${WRITING} LET made = NEW FILTER made.unfolded == true ` +
      'RETURN { key: made._key, rev: made._rev, task: made.task, movie: made.movie, ' +
      'state: made.state }',
    bindVars: { ...ITEMS, changes }
  }
}

/** The document shows these now, unless they have changed since. */
export function clearFlags(items: ReadonlyArray<{ key: string; rev: string }>): ArangoStatement {
  return {
    query:
      'FOR c IN @folded FOR d IN @@items FILTER d._key == c.key FILTER d._rev == c.rev ' +
      `UPDATE d WITH { unfolded: false } IN @@items ${WRITING}`,
    bindVars: { ...ITEMS, folded: items }
  }
}

/** Failed and skipped items wait again as if they had never been begun. Gives what was changed. */
export function resetItems(
  pipeline: string,
  task: { from: string; to: string },
  limit: number
): ArangoStatement {
  return {
    query:
      "FOR state IN ['fail', 'skipped'] " +
      'FOR d IN @@items FILTER d.pipeline == @pipeline FILTER d.state == state ' +
      'FILTER d.place > @from FILTER d.place < @to LIMIT @limit ' +
      "UPDATE d WITH { state: 'blocked', unfolded: true, attempts: 0, not_before: 0, " +
      'error: null, started_at: null, finished_at: null, token: null, recorded: null, ' +
      'owner: null, expert: null, expert_version: null, model_sha256: null, ' +
      `extra_params: null } IN @@items ${WRITING} RETURN 1`,
    bindVars: { ...ITEMS, pipeline, ...task, limit }
  }
}

/** How many items each task has in each state. */
export function counting(
  pipeline: string,
  tasks: ReadonlyArray<{ task: string; from: string; to: string }>,
  states: readonly string[]
): ArangoStatement {
  return {
    query:
      'FOR t IN @tasks FOR state IN @states ' +
      'LET found = LENGTH(FOR d IN @@items FILTER d.pipeline == @pipeline ' +
      'FILTER d.state == state FILTER d.place > t.from FILTER d.place < t.to RETURN 1) ' +
      'RETURN [t.task, state, found]',
    bindVars: { ...ITEMS, pipeline, tasks, states }
  }
}

/** Takes items; those that this very call took already, when its answer was lost. */
export function claiming(claim: {
  pipeline: string
  from: string
  to: string
  call: string
  owner: string
  limit: number
  now: number
  until: number
}): ArangoStatement {
  const inTask =
    'FOR d IN @@items FILTER d.pipeline == @pipeline FILTER d.state == %s ' +
    'FILTER d.place > @from FILTER d.place < @to '
  const first = "SORT d.place LIMIT @limit RETURN KEEP(d, '_key', '_rev', 'place', 'attempts')"
  const running = inTask.replace('%s', "'running'")
  const ready = inTask.replace('%s', "'ready'")
  return {
    query:
      `LET mine = (${running}FILTER d.call == @call ${first}) ` +
      `LET lost = (${running}FILTER d.lease_until <= @now ${first}) ` +
      `LET due = (${ready}FILTER d.not_before <= @now ${first}) ` +
      'FOR d IN (LENGTH(mine) > 0 ? mine : APPEND(lost, due)) SORT d.place LIMIT @limit ' +
      "UPDATE d WITH { state: 'running', call: @call, token: CONCAT(@call, ':', d._key), " +
      'owner: @owner, lease_until: @until, ' +
      `attempts: LENGTH(mine) > 0 ? d.attempts : d.attempts + 1 } IN @@items ${WRITING} ` +
      'RETURN [NEW.movie, NEW.token, NEW.attempts]',
    bindVars: { ...ITEMS, ...claim }
  }
}

/** Changes items under their claims, each at most once however often this is repeated. Gives which. */
export function recording(
  changes: ReadonlyArray<{ at: number; key: string; token: string; call: string; patch: object }>
): ArangoStatement {
  return {
    query:
      'FOR c IN @changes FOR d IN @@items FILTER d._key == c.key ' +
      "FILTER d.recorded == c.call || (d.state == 'running' && d.token == c.token) " +
      `UPDATE d WITH (d.recorded == c.call ? {} : c.patch) IN @@items ${WRITING} RETURN c.at`,
    bindVars: { ...ITEMS, changes }
  }
}

/** A page of items by place. */
export function itemListing(
  pipeline: string,
  state: string | undefined,
  page: { after: string; to: string; count: number }
): ArangoStatement {
  return {
    query:
      'FOR d IN @@items FILTER d.pipeline == @pipeline ' +
      `${state === undefined ? '' : 'FILTER d.state == @state '}` +
      'FILTER d.place > @after FILTER d.place < @to SORT d.place LIMIT @count RETURN d',
    bindVars: { ...ITEMS, pipeline, ...(state === undefined ? {} : { state }), ...page }
  }
}
