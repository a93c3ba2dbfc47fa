import { unlink } from 'node:fs/promises'
import { hostError } from '../errors.ts'
import type { Logger } from '../observe/log.ts'
import { failure, type JobEnd } from './job.ts'
import type { KeptFiles } from './kept-files.ts'
import { type OutputFileError, type OutputFiles, withError } from './output-files.ts'
import type { WorkOutcome } from './work.ts'

/** Makes of what a run answered what its caller is given and what is kept of it. */
export class JobResults {
  readonly #files: KeptFiles
  readonly #outputs: OutputFiles
  readonly #log: Logger

  /** @param files - where files stay that runs have answered */
  constructor(files: KeptFiles, outputs: OutputFiles, log: Logger) {
    this.#files = files
    this.#outputs = outputs
    this.#log = log
  }

  /** Writes the answer to the file that was asked for; what goes wrong with that stands in the answer. */
  async deliver(
    job: { id: string; isList?: boolean; outputFile?: string | null },
    outcome: WorkOutcome
  ): Promise<WorkOutcome> {
    const { outputFile = null } = job
    if (outputFile === null || !outcome.ok) return outcome
    const { text } = outcome
    try {
      const body = job.isList === true ? `{"results":${text},"jobId":"${job.id}"}` : text
      await this.#outputs.write(outputFile, body)
      return outcome
    } catch (error) {
      const { message } = error as OutputFileError
      this.#log.warn({ err: error }, message)
      return job.isList === true
        ? { ...outcome, fileError: message }
        : { ...outcome, text: withError(text, message) }
    }
  }

  /** What is kept of an outcome; a file that it answered is taken over. */
  async endOf(id: string, outcome: WorkOutcome): Promise<JobEnd> {
    const file = outcome.ok ? outcome.head?.file : null
    if (!outcome.ok || outcome.head === null || !file) return endOf(outcome)
    try {
      const path = await this.#files.keep(file.path, id, { copy: !file.owned })
      return endOf({ ...outcome, head: { ...outcome.head, file: { path, owned: false } } })
    } catch (error) {
      await dropFile(outcome)
      const { code, message } = error as NodeJS.ErrnoException
      return failure(hostError('HOST_RESULT_LOST', [code ?? message], { cause: error }))
    }
  }

  /** Removes the files of jobs that are not known any more. */
  sweep(isKnown: (jobId: string) => Promise<boolean>): Promise<void> {
    return this.#files.sweep(isKnown)
  }
}

/** The same without its file. */
export function endOf(outcome: WorkOutcome): JobEnd {
  if (!outcome.ok) {
    const { code, message, statusCode, exposed } = outcome.error
    return { ok: false, code, message, statusCode, exposed }
  }
  const { text, head, fileError } = outcome
  // An answer that is a file has no text.
  return { ok: true, text: text === '' ? 'null' : text, head, ...(fileError && { fileError }) }
}

/** A file that a run answered and nobody waits for. */
export async function dropFile(outcome: WorkOutcome): Promise<void> {
  if (outcome.ok && outcome.head?.file?.owned === true) {
    await unlink(outcome.head.file.path).catch(() => {})
  }
}
