import { unlink } from 'node:fs/promises'
import { hostError } from '../errors.ts'
import type { Logger } from '../observe/log.ts'
import { answeredRecords } from '../runtime/answered-records.ts'
import { failure, type Job, type JobEnd, type JobOutput } from './job.ts'
import type { KeptFiles } from './kept-files.ts'
import { type OutputFileError, type OutputFiles, withError } from './output-files.ts'
import { parseAnswer } from './parse-answer.ts'
import type { WorkOutcome } from './work.ts'

/** Saves what an expert saw in movies or pictures. @returns the ids of the documents */
export type SaveRecords = (expert: string, records: Record<string, unknown>[]) => Promise<string[]>

/** What of a job decides where its answer goes. */
export type DeliveredJob = Pick<Job, 'id' | 'expert'> & {
  isList?: boolean | undefined
  output?: JobOutput | null | undefined
}

/** Makes of what a run answered what its caller is given and what is kept of it. */
export class JobResults {
  readonly #files: KeptFiles
  readonly #outputs: OutputFiles
  readonly #save: SaveRecords
  readonly #log: Logger
  /** Jobs that have a file. */
  readonly #kept = new Set<string>()

  constructor(options: {
    /** Where files stay that runs have answered. */
    files: KeptFiles
    outputs: OutputFiles
    save: SaveRecords
    log: Logger
  }) {
    this.#files = options.files
    this.#outputs = options.outputs
    this.#save = options.save
    this.#log = options.log
  }

  /** Takes an answer where it shall go too; what goes wrong with that stands in the answer. */
  async deliver(job: DeliveredJob, outcome: WorkOutcome): Promise<WorkOutcome> {
    if (job.output == null || !outcome.ok) return outcome
    return job.output.to === 'file'
      ? this.#writeFile(job, job.output.file, outcome)
      : this.#saveAnswers(job, job.output.keepsRecords, outcome)
  }

  /** What is kept of an outcome; a file that it answered is taken over. */
  async endOf(id: string, outcome: WorkOutcome): Promise<JobEnd> {
    const file = outcome.ok ? outcome.head?.file : null
    if (!outcome.ok || outcome.head === null || !file) return endOf(outcome)
    try {
      const path = await this.#files.keep(file.path, id, { copy: !file.owned })
      this.#kept.add(id)
      return endOf({ ...outcome, head: { ...outcome.head, file: { path, owned: false } } })
    } catch (error) {
      await dropFile(outcome)
      const { code, message } = error as NodeJS.ErrnoException
      return failure(hostError('HOST_RESULT_LOST', [code ?? message], { cause: error }))
    }
  }

  async #writeFile(
    job: DeliveredJob,
    file: string | null,
    outcome: WorkOutcome & { ok: true }
  ): Promise<WorkOutcome> {
    const { text } = outcome
    try {
      const body = job.isList === true ? `{"results":${text},"jobId":"${job.id}"}` : text
      await this.#outputs.write(file, body)
      return outcome
    } catch (error) {
      const { message } = error as OutputFileError
      this.#log.warn({ err: error, job_id: job.id }, `an answer was not written: ${message}`)
      return job.isList === true
        ? { ...outcome, fileError: message }
        : { ...outcome, text: withError(text, message) }
    }
  }

  async #saveAnswers(
    job: DeliveredJob,
    keepsRecords: boolean,
    outcome: WorkOutcome & { ok: true }
  ): Promise<WorkOutcome> {
    const value = parseAnswer(outcome.text)
    if (value === undefined) return outcome
    const saved =
      job.isList === true && Array.isArray(value)
        ? await Promise.all(value.map((answer) => this.#saveAnswer(job, keepsRecords, answer)))
        : await this.#saveAnswer(job, keepsRecords, value)
    return { ...outcome, text: JSON.stringify(saved) }
  }

  /** An answer whose `result` is no list of records saves nothing, and that is no error. */
  async #saveAnswer(job: DeliveredJob, keepsRecords: boolean, answer: unknown): Promise<unknown> {
    const records = answeredRecords(answer)
    if (records === null) return answer
    try {
      const ids = await this.#save(job.expert, records)
      return keepsRecords ? answer : { ...(answer as object), result: ids }
    } catch (error) {
      const { message } = error as Error
      this.#log.warn({ err: error, job_id: job.id }, `records were not saved: ${message}`)
      const result = keepsRecords ? {} : { result: null }
      return { ...(answer as object), ...result, error: message }
    }
  }

  /** The jobs whose files a host before left. */
  left(): Promise<string[]> {
    return this.#files.names()
  }

  /** Looks at files that a host before left, and removes those of jobs that are not known any more. */
  resume(left: string[], isKnown: (jobId: string) => Promise<boolean>): Promise<void> {
    return this.#files.sweep(left, async (id) => {
      const known = await isKnown(id)
      if (known) this.#kept.add(id)
      return known
    })
  }

  /** The job is forgotten, and its file with it. */
  forget(id: string): void {
    if (!this.#kept.delete(id)) return
    this.#files.remove(id).catch((err) => {
      this.#log.warn({ job_id: id, err }, 'the file that a job answered could not be removed')
    })
  }
}

/** What is kept of an outcome whose file, if it has one, is in its place. */
function endOf(outcome: WorkOutcome): JobEnd {
  if (!outcome.ok) {
    const { code, message, statusCode, exposed } = outcome.error
    return { ok: false, code, message, statusCode, exposed }
  }
  const { text, head, fileError } = outcome
  // An answer that is a file has no text.
  return { ok: true, text: text === '' ? 'null' : text, head, ...(fileError && { fileError }) }
}

/** A file that a run answered and nobody waits for. */
async function dropFile(outcome: WorkOutcome): Promise<void> {
  if (outcome.ok && outcome.head?.file?.owned === true) {
    await unlink(outcome.head.file.path).catch(() => {})
  }
}
