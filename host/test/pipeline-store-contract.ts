import { changes } from './pipeline-store/changes.ts'
import { claiming } from './pipeline-store/claiming.ts'
import { documents } from './pipeline-store/documents.ts'
import { listing } from './pipeline-store/listing.ts'
import type { OpenStores } from './pipeline-store/prepare.ts'
import { reconciling } from './pipeline-store/reconciling.ts'
import { recording } from './pipeline-store/recording.ts'

/** What every driver of `PipelineStore` promises. */
export function pipelineStoreContract(driver: string, open: OpenStores): void {
  documents(driver, open)
  changes(driver, open)
  reconciling(driver, open)
  claiming(driver, open)
  recording(driver, open)
  listing(driver, open)
}
