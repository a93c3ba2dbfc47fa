import { randomUUID } from 'node:crypto'
import { hostError } from '../errors.ts'
import type { DocumentStores } from './document-stores.ts'
import { PipelineClaims } from './pipeline-claims.ts'
import type { ItemChange, ItemClaim, ItemRun, PlannedTask } from './pipeline-store.ts'
import {
  countOf,
  listOf,
  objectOf,
  objectOrNone,
  pageOf,
  type Question,
  textOf
} from './question-arguments.ts'
import { type DocumentFields, isObject } from './stored-document.ts'

/** Movies that are looked at in one question; most may have been delivered before. */
const PAGE = 500
/** Items that one worker may have at once. */
const MOST_CLAIMED = 100

/**
 * What experts may ask of pipelines and of the counters of changes, by the names that the SDK uses. An expert handles a task
 * by itself, so it stands alone here: what it depends on is the expert's own business.
 *
 * @param options.hostId - which host claims; no other has it
 */
export function pipelineQuestions(
  { movies, pipelines, changes }: DocumentStores,
  options: { hostId?: string; now?: () => number } = {}
): Record<string, Question> {
  const { hostId = randomUUID(), now = Date.now } = options
  const claims = new PipelineClaims(pipelines, now)
  const ownerOf = (expert: string) => `${hostId}/${expert}`
  return {
    'pipelines.create': (_expert, [document]) => pipelines.create(objectOf(document, 'document')),
    'pipelines.get': (_expert, [id, asked]) => {
      const { movies: withMovies } = objectOrNone(asked, 'options') ?? {}
      return pipelines.get(textOf(id, 'id'), { movies: withMovies !== false })
    },
    'pipelines.update': (_expert, [id, change]) =>
      pipelines.update(textOf(id, 'id'), changeOf(objectOf(change, 'change'))),
    'pipelines.claimFirst': (expert, [task]) =>
      claims.claimFirst(ownerOf(expert), textOf(task, 'task')),
    'pipelines.begin': (expert, [id, task]) =>
      claims.begin(ownerOf(expert), textOf(id, 'id'), textOf(task, 'task')),
    'pipelines.release': (_expert, [id, task]) =>
      claims.release(textOf(id, 'id'), textOf(task, 'task')),
    'pipelines.end': (_expert, [id, task, status]) =>
      claims.end(textOf(id, 'id'), textOf(task, 'task'), endOf(status)),
    'pipelines.reconcile': (_expert, [id, task, asked]) => {
      const { again } = objectOrNone(asked, 'options') ?? {}
      return countsOf(textOf(id, 'id'), textOf(task, 'task'), again === true)
    },
    'pipelines.claim': (expert, [id, task, limit]) =>
      pipelines.claim(textOf(id, 'id'), textOf(task, 'task'), {
        owner: ownerOf(expert),
        limit: Math.min(countOf(limit, 'limit', 1), MOST_CLAIMED)
      }),
    'pipelines.record': (expert, [task, asked]) => {
      const made = listOf(asked, 'changes').map((change) => itemChangeOf(expert, change))
      return pipelines.record(made, [alone(textOf(task, 'task'))])
    },
    'pipelines.isRunning': async (_expert, [id, task]) => {
      const query = { pipeline: textOf(id, 'id'), task: textOf(task, 'task') }
      const { items } = await pipelines.items({ ...query, state: 'running', limit: 1 })
      return items.length > 0
    },
    'changes.versions': () => changes.versions(),
    'changes.advance': (_expert, [step, version]) =>
      changes.advance(
        textOf(step, 'step'),
        version === undefined || version === null ? undefined : countOf(version, 'version', 0)
      ),
    'changes.created': async (_expert, [step, cursor]) => {
      const name = textOf(step, 'step')
      const after = cursor === undefined || cursor === null ? undefined : textOf(cursor, 'cursor')
      const query = { ...pageOf({ limit: PAGE }), status: 'created', cursor: after }
      const { documents, next } = await movies.list(query)
      const isNew = ({ delivered_to: given }: DocumentFields) =>
        !isObject(given) || !Object.hasOwn(given, name)
      return { ids: documents.filter(isNew).map(({ _id }) => _id), next }
    }
  }

  async function countsOf(id: string, task: string, again: boolean): Promise<unknown> {
    const counts = await pipelines.reconcile(id, [alone(task)], { again })
    // Other tasks may be named like what every object has.
    return counts === undefined ? null : Object.entries(counts).find(([name]) => name === task)?.[1]
  }
}

function alone(task: string): PlannedTask {
  return { task, dependsOn: [] }
}

/** What an expert may write of a document; the rest of it is the host's or other tools'. */
function changeOf({ tasks, inputs, movies }: DocumentFields) {
  return {
    tasks: objectOrNone(tasks, 'tasks'),
    inputs: objectOrNone(inputs, 'inputs'),
    movies: moviesOf(objectOrNone(movies, 'movies'))
  }
}

function moviesOf(movies: DocumentFields | undefined): Record<string, DocumentFields> | undefined {
  for (const [id, movie] of Object.entries(movies ?? {})) objectOf(movie, `movies.${id}`)
  return movies as Record<string, DocumentFields> | undefined
}

function endOf(status: unknown): string {
  if (status === 'success' || status === 'fail') return status
  throw hostError('HOST_DOCUMENT_INVALID', ['status is neither success nor fail'])
}

function itemChangeOf(expert: string, change: DocumentFields): ItemChange {
  const claim = claimOf(objectOf(change['claim'], 'claim'))
  switch (change['state']) {
    case 'running':
      return { claim, state: 'running' }
    case 'ready': {
      const { notBefore, attempts } = change
      const due =
        notBefore === undefined || notBefore === null ? null : countOf(notBefore, 'notBefore', 0)
      return { claim, state: 'ready', notBefore: due, attempts: countOf(attempts, 'attempts', 0) }
    }
    case 'success':
    case 'fail':
      return {
        claim,
        state: change['state'],
        error: textOrNull(change['error'], 'error'),
        startedAt: countOf(change['startedAt'], 'startedAt', 0),
        finishedAt: countOf(change['finishedAt'], 'finishedAt', 0),
        ran: runOf(expert, objectOf(change['ran'], 'ran'))
      }
    default:
      throw hostError('HOST_DOCUMENT_INVALID', ['state is none that an item can be given'])
  }
}

function claimOf({ pipeline, task, movie, token, attempts }: DocumentFields): ItemClaim {
  return {
    pipeline: textOf(pipeline, 'claim.pipeline'),
    task: textOf(task, 'claim.task'),
    movie: textOf(movie, 'claim.movie'),
    token: textOf(token, 'claim.token'),
    attempts: countOf(attempts, 'claim.attempts', 0)
  }
}

function runOf(expert: string, ran: DocumentFields): ItemRun {
  return {
    expert,
    expert_version: textOrNull(ran['expert_version'], 'ran.expert_version'),
    model_sha256: textOrNull(ran['model_sha256'], 'ran.model_sha256'),
    extra_params: ran['extra_params'] ?? null
  }
}

function textOrNull(value: unknown, name: string): string | null {
  return value === undefined || value === null ? null : textOf(value, name)
}
