import { hostError } from '../errors.ts'
import type { DocumentFields, StoredDocument } from './stored-document.ts'

/** The key of the document of counters that is made when there is none: of two who make it at once, one does. */
export const COUNTERS_KEY = 'versions'

/** What the store itself keeps of a document. */
const OWN_FIELDS = ['_id', '_key', '_rev']

/**
 * The field that counts a step.
 *
 * @throws HostError HOST_DOCUMENT_INVALID for one that no document can have
 */
export function counterName(step: string): string {
  if (step === '' || OWN_FIELDS.includes(step)) {
    throw hostError('HOST_DOCUMENT_INVALID', [`step is '${step}', which no counter can be called`])
  }
  // Databases keep text as UTF-8, which half a surrogate pair is not.
  return Buffer.from(step).toString()
}

/** What a counter is after it was raised: to `version`, and never lowered; without one, by one. */
export function raised(
  fields: StoredDocument | DocumentFields,
  name: string,
  version: number | undefined
): number {
  const counter = counterIn(fields, name)
  return version === undefined ? counter + 1 : Math.max(counter, version)
}

/** A counter that is absent, or no number, is 0. */
function counterIn(fields: DocumentFields, name: string): number {
  const counter = Object.hasOwn(fields, name) ? fields[name] : 0
  return typeof counter === 'number' ? counter : 0
}
