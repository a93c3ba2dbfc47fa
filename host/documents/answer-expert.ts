import { hostError } from '../errors.ts'
import type { DocumentStores } from './document-stores.ts'
import { type DocumentFields, isObject } from './stored-document.ts'

const DEFAULT_LIMIT = 100
const MOST = 1000

type Question = (expert: string, args: unknown[]) => Promise<unknown>

/** What experts may ask of the stores, by the names that the SDK uses. */
export function documentQuestions({ movies, tokens }: DocumentStores): Record<string, Question> {
  return {
    'movies.get': (_expert, [id]) => movies.get(textOf(id, 'id')),
    'movies.create': (_expert, [movie]) => movies.create(objectOf(movie, 'movie')),
    'movies.save': (_expert, [movie]) => movies.save(objectOf(movie, 'movie')),
    'movies.update': (_expert, [id, patch]) =>
      movies.update(textOf(id, 'id'), objectOf(patch, 'patch')),
    'movies.list': (_expert, [query]) => movies.list(pageOf(query)),
    'movies.scene': (_expert, [collection, movieId, sceneElement]) =>
      movies.scene(
        textOf(collection, 'collection'),
        textOf(movieId, 'movieId'),
        Number(sceneElement)
      ),
    'tokens.save': (expert, [records]) => tokens.save(ownedBy(expert, records)),
    'tokens.saveImages': (expert, [records]) => tokens.saveImages(ownedBy(expert, records)),
    'tokens.list': (_expert, [query]) => tokens.list({ collection: 'Tokens', ...pageOf(query) })
  }
}

/** Answers an expert's question. @throws HostError HOST_QUESTION_UNKNOWN, HOST_DOCUMENT_INVALID and the stores' own */
export async function answerExpert(
  questions: Record<string, Question>,
  expert: string,
  what: string,
  args: string
): Promise<string> {
  const question = Object.hasOwn(questions, what) ? questions[what] : undefined
  if (question === undefined) throw hostError('HOST_QUESTION_UNKNOWN', [what])
  const given: unknown = JSON.parse(args)
  const answer = await question(expert, Array.isArray(given) ? given : [])
  return JSON.stringify(answer ?? null)
}

/** Records of an expert that does not say whose they are. */
function ownedBy<T>(expert: string, records: unknown): T[] {
  if (!Array.isArray(records) || !records.every(isObject)) {
    throw hostError('HOST_DOCUMENT_INVALID', ['records are not objects'])
  }
  return records.map((record) => ({ ...record, expert: record.expert ?? expert })) as T[]
}

function pageOf(query: unknown): DocumentFields & { limit: number } {
  const asked = query === undefined || query === null ? {} : objectOf(query, 'query')
  const limit = asked.limit ?? DEFAULT_LIMIT
  if (!Number.isInteger(limit) || (limit as number) < 1 || (limit as number) > MOST) {
    throw hostError('HOST_DOCUMENT_INVALID', [`limit is ${limit}, not 1 to ${MOST}`])
  }
  return { ...asked, limit: limit as number }
}

function textOf(value: unknown, name: string): string {
  if (typeof value === 'string') return value
  throw hostError('HOST_DOCUMENT_INVALID', [`${name} is no string`])
}

function objectOf(value: unknown, name: string): DocumentFields {
  if (isObject(value)) return value
  throw hostError('HOST_DOCUMENT_INVALID', [`${name} is no object`])
}
