import type { ExpertRuntime } from './expert-runtime.ts'
import { inlineRuntime } from './inline-runtime.ts'
import { processRuntime } from './process-runtime.ts'

/** The table of runtimes; `runtime` of an expert's settings is one of its keys. */
export const runtimes: Record<'process' | 'inline', ExpertRuntime> = {
  process: processRuntime,
  inline: inlineRuntime
}
