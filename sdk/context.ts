/** Writes one structured line to the host's log, with the expert's name and, inside a run, the job's id. */
export interface ExpertLog {
  debug(message: string, fields?: Record<string, unknown>): void
  info(message: string, fields?: Record<string, unknown>): void
  warn(message: string, fields?: Record<string, unknown>): void
  error(message: string, fields?: Record<string, unknown>): void
}

/** What every phase of an expert's life gets. */
export interface ExpertContext {
  /** Aborted when the work is cancelled or out of time; two seconds later the process is killed. */
  readonly signal: AbortSignal
  readonly log: ExpertLog
  /**
   * Says how far the work is.
   * @param fraction - 0 to 1
   * @param note - a few words, shown beside it
   */
  progress(fraction: number, note?: string): void
  /** A folder of this job's own, made at first use and removed when the job ends. */
  readonly tmp: string
  /** A folder of the expert that stays between starts: for what `init` downloads or converts. */
  readonly cache: string
}

/** Given to `init`. `progress` shows in `/experts`. */
export interface InitContext extends ExpertContext {}

/** Given to `predict`, `predictImage`, `predictImages` and the handlers of an expert's own routes. */
export interface RunContext extends ExpertContext {
  /** The id under which `/jobs/{id}` knows this run. */
  readonly jobId: string
}

/** Given to `runPipelineTask`. */
export interface PipelineContext extends RunContext {
  /** Key of the pipeline's document, from `PIPELINE_ID`; null when that is not set. */
  readonly pipelineId: string | null
}

/** Given to `processMovie`. */
export interface ItemContext<Extra = Record<string, unknown> | null> extends PipelineContext {
  /** Parameters of the task, checked against the expert's `static params`; null when neither is there. */
  readonly extraParams: Extra
  /** The task's key under `tasks` of the pipeline's document. */
  readonly task: string
}
