/** A text of AQL and its bind variables; a value is only ever among these. */
export interface ArangoStatement {
  query: string
  bindVars: Record<string, unknown>
}

/** The conditions that a listing may have, in this order, by the name of their bind variable. */
const CONDITIONS = {
  status: 'd.status == @status',
  file: 'd.File == @file',
  pipeline_id: 'd.pipeline_id == @pipeline_id',
  movie_id: 'd.movie_id == @movie_id',
  scene_element: 'd.scene_element == @scene_element',
  image_id: 'd.id == @image_id',
  imagePrefix: 'STARTS_WITH(d.id, @imagePrefix)',
  expert: 'd.expert == @expert',
  label: 'd.label == @label'
} as const

/** What a listing asks of its documents; undefined is not asked about. */
export type ArangoFilter = Partial<Record<keyof typeof CONDITIONS, unknown>>

/**
 * A page of a collection by key, behind the key `after`.
 *
 * In order of the key's bytes in hex, since the server compares texts by the rules of its language and an
 * index perhaps byte by byte: of those two orders, a page could end in one and the next begin in the other.
 */
export function listing(
  collection: string,
  filter: ArangoFilter,
  { after, count, only }: { after: string; count: number; only?: 'ids' }
): ArangoStatement {
  const asked = Object.entries(CONDITIONS).filter(([name]) => isAsked(filter, name))
  const conditions = asked.map(([, condition]) => ` FILTER ${condition}`).join('')
  const values = asked.map(([name]) => [name, filter[name as keyof ArangoFilter]])
  return {
    query:
      `FOR d IN @@collection${conditions} LET place = TO_HEX(d._key) FILTER place > @after ` +
      `SORT place LIMIT @count RETURN ${only === 'ids' ? 'd._id' : 'd'}`,
    bindVars: {
      '@collection': collection,
      ...Object.fromEntries(values),
      after: Buffer.from(after).toString('hex'),
      count
    }
  }
}

/** What a collection knows of one scene element of a movie, by key. */
export function sceneDocuments(
  collection: string,
  movieId: string,
  sceneElement: number,
  count: number
): ArangoStatement {
  return {
    query:
      'FOR d IN @@collection FILTER d.movie_id == @movie_id ' +
      'FILTER d.scene_element == @scene_element SORT TO_HEX(d._key) LIMIT @count RETURN d',
    bindVars: {
      '@collection': collection,
      movie_id: movieId,
      scene_element: sceneElement,
      count
    }
  }
}

function isAsked(filter: ArangoFilter, name: string): boolean {
  return filter[name as keyof ArangoFilter] !== undefined
}
