import {
  BaseExpert,
  type ExpertApi,
  type ExpertParam,
  type RunContext,
  Type
} from '@nebula-experts/sdk'

const Config = Type.Object({
  HELLO_GREETING: Type.String({ default: 'Hello', description: 'The word before the name' })
})

const GreetBody = Type.Object({
  name: Type.String({ minLength: 1, description: 'Who is greeted', examples: ['Ada'] })
})
const Greeting = Type.Object({
  result: Type.String(),
  error: Type.Union([Type.String(), Type.Null()])
})

/** The template: the smallest expert that shows configuration, a prediction and a route of its own. */
export default class HelloWorldExpert extends BaseExpert<typeof Config> {
  static override config = Config

  override addExpertApis(api: ExpertApi): void {
    api.post(
      '/greet',
      { body: GreetBody, response: Greeting, summary: 'Greets by name' },
      (request) => ({ result: this.greet(request.body.name), error: null })
    )
  }

  override async predict(params: ExpertParam, context: RunContext): Promise<unknown> {
    context.log.debug('greeting a movie', { movie_id: params.movie_id })
    return { result: this.greet(params.movie_id), error: null }
  }

  private greet(name: string): string {
    return `${this.config.HELLO_GREETING}, ${name}!`
  }
}
