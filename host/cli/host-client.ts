import { EXIT_FAILED } from './exit-codes.ts'

/** A host that said no, or none; the message is for whoever typed the command. */
export class Refusal extends Error {
  override readonly name = 'Refusal'
  readonly exitCode: number

  constructor(message: string, exitCode: number = EXIT_FAILED) {
    super(message)
    this.exitCode = exitCode
  }
}

/** Asks a running host; `NEBULA_ADMIN_KEY` is sent when it is set. */
export class HostClient {
  readonly #url: string

  /** @throws Refusal when the URL is none */
  constructor(url: string) {
    if (!URL.canParse(url) || !/^https?:/.test(url)) {
      throw new Refusal(`'${url}' is no URL of a host: wanted one like http://127.0.0.1:8000`)
    }
    this.#url = url
  }

  /** @throws Refusal with the host's reason, or because none answers */
  async ask<T>(method: 'GET' | 'POST', path: string, body?: unknown): Promise<T> {
    const key = process.env.NEBULA_ADMIN_KEY
    const response = await fetch(new URL(path, this.#url), {
      method,
      headers: {
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...(key !== undefined && { authorization: `Bearer ${key}` })
      },
      ...(body !== undefined && { body: JSON.stringify(body) })
    }).catch((error) => {
      const why = (error as { cause?: Error }).cause?.message ?? (error as Error).message
      throw new Refusal(`No host answers at ${this.#url} (${why}); name another with --url`)
    })
    const answer = (await response.json().catch(() => null)) as { detail?: unknown } | null
    if (answer === null) {
      const what = `${response.status} without JSON`
      throw new Refusal(`What answers at ${this.#url} is no Nebula Experts host: ${what}`)
    }
    if (!response.ok) throw new Refusal(detailOf(answer.detail))
    return answer as T
  }
}

/** What is wrong with a request, a line for each place of a document that does not fit. */
function detailOf(detail: unknown): string {
  if (!Array.isArray(detail)) return String(detail)
  return detail
    .map(({ loc, msg }: { loc: unknown[]; msg: string }) => {
      const place = loc.length > 1 ? loc.slice(1) : loc
      return `${place.join('.')}: ${msg}`
    })
    .join('\n')
}
