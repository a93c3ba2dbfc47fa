import { type Ask, ExpertError } from '@nebula-experts/sdk/hosting'
import {
  MOST_QUESTIONS,
  type Port,
  type ToExpert,
  type ToHost,
  type WireError
} from './messages.ts'

interface Question {
  what: string
  body: string
  resolve: (answer: unknown) => void
  reject: (error: Error) => void
}

/** Questions of an expert to its host: the expert's side. */
export class Questions {
  readonly #port: Port<ToHost, ToExpert>
  readonly #asked = new Map<number, Question>()
  readonly #waiting: Question[] = []
  #nextId = 1

  constructor(port: Port<ToHost, ToExpert>) {
    this.#port = port
  }

  readonly ask: Ask = (what, ...args) =>
    new Promise((resolve, reject) => {
      // Thrown in here, an error rejects: arguments need not be JSON.
      this.#waiting.push({ what, body: JSON.stringify(args), resolve, reject })
      this.#send()
    })

  answer(id: number, body: string): void {
    this.#take(id)?.resolve(JSON.parse(body))
  }

  refuse(id: number, { code, message, statusCode }: WireError): void {
    this.#take(id)?.reject(new ExpertError(code, message, { statusCode }))
  }

  #send(): void {
    while (this.#asked.size < MOST_QUESTIONS && this.#waiting.length > 0) {
      const question = this.#waiting.shift() as Question
      const id = this.#nextId++
      this.#asked.set(id, question)
      this.#port.send(['ask', id, question.what], question.body)
    }
  }

  #take(id: number): Question | undefined {
    const question = this.#asked.get(id)
    this.#asked.delete(id)
    this.#send()
    return question
  }
}
