import type { PlannedDocument } from './token-documents.ts'

const MAX_DOCUMENTS = 500
const MAX_LENGTH = 4_000_000

/** Cuts what is to be written into groups of a bounded length as JSON, so that none is held twice as a whole. */
export function* inGroups(planned: readonly PlannedDocument[]): Generator<PlannedDocument[]> {
  let group: PlannedDocument[] = []
  let length = 0
  for (const document of planned) {
    const more = JSON.stringify(document.fields).length
    if (group.length > 0 && (group.length === MAX_DOCUMENTS || length + more > MAX_LENGTH)) {
      yield group
      group = []
      length = 0
    }
    group.push(document)
    length += more
  }
  if (group.length > 0) yield group
}
