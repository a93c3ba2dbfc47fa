import { collectionNames } from '../stored-document.ts'

/** A collection that is made when it is missing, with the fields of each of its persistent indexes. */
export interface ArangoCollection {
  name: string
  indexes: readonly (readonly string[])[]
}

/** Every collection that the stores of this folder write to. */
export const arangoCollections: readonly ArangoCollection[] = [
  { name: collectionNames.movies, indexes: [['status'], ['File'], ['pipeline_id']] },
  { name: collectionNames.tokens, indexes: [['movie_id', 'scene_element']] },
  { name: collectionNames.imageTokens, indexes: [['id']] },
  { name: collectionNames.changes, indexes: [] },
  { name: collectionNames.pipelines, indexes: [['status']] },
  {
    name: collectionNames.pipelineItems,
    indexes: [
      ['pipeline', 'place'],
      ['pipeline', 'state', 'place'],
      ['pipeline', 'unfolded']
    ]
  }
]
