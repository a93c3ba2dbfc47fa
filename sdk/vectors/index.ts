/**
 * Vectors of unit length that an expert saves with the host, and what is like them.
 *
 * @module
 */
export { checkIds } from './check-ids.ts'
export { type NewVector, SavedVectors, type VectorOwner } from './saved-vectors.ts'
export { roundedNumbers, unitLength } from './unit-length.ts'
export type { Neighbour, VectorEntry } from './vector-index.ts'
