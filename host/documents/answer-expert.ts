import { hostError } from '../errors.ts'
import { answeredRecords } from '../runtime/answered-records.ts'
import type { DocumentStores } from './document-stores.ts'
import { pipelineQuestions } from './pipeline-questions.ts'
import { listOf, objectOf, pageOf, type Question, textOf } from './question-arguments.ts'
import { saveRecords } from './save-records.ts'

/** What experts may ask of the stores, by the names that the SDK uses. */
export function documentQuestions(stores: DocumentStores): Record<string, Question> {
  const { movies, tokens } = stores
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
    'tokens.saveAnswer': async (expert, [answer]) => {
      const records = answeredRecords(answer)
      return records === null ? null : saveRecords(stores, expert, records)
    },
    'tokens.list': (_expert, [query]) => tokens.list({ collection: 'Tokens', ...pageOf(query) }),
    'tokens.revision': (_expert, [collection]) =>
      tokens.revision(collection === 'ImageTokens' ? collection : 'Tokens'),
    ...pipelineQuestions(stores)
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
  const owned = listOf(records, 'records')
  return owned.map((record) => ({ ...record, expert: record.expert ?? expert })) as T[]
}
