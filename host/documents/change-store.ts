import type { StoredDocument } from './stored-document.ts'

/**
 * The version counters of the older pipelines, in the collection `changes`: one document, an integer for
 * each step, and `movies`, which counts what there is to be seen. A driver passes
 * `host/test/change-store-contract.ts`. Errors are those of `MovieStore`.
 */
export interface ChangeStore {
  /** Every document of the collection, by key. */
  versions(): Promise<StoredDocument[]>
  /**
   * Raises the counter of a step to `version`, never lowers it; without `version`, by one. A document is made when there
   * is none; when there are several, each is changed.
   * @returns the counter as it is now, of the first document
   */
  advance(step: string, version?: number): Promise<number>
}
