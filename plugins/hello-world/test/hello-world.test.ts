import { testExpert } from '@nebula-experts/sdk/testing'
import t from 'tap'
import HelloWorldExpert from '../index.ts'

t.test('greets a movie with the configured word', async (t) => {
  const hello = await testExpert(t, HelloWorldExpert, { config: { HELLO_GREETING: 'Salut' } })
  const answer = await hello.predict({ movie_id: 'Movies/1', local: false })
  t.same(answer, { result: 'Salut, Movies/1!', error: null })
})

t.test('greets by name on its own route', async (t) => {
  const hello = await testExpert(t, HelloWorldExpert)
  const answer = await hello.request('POST', '/greet', { body: { name: 'Ada' } })
  t.same(answer, { status: 200, value: { result: 'Hello, Ada!', error: null } })
})

t.test('wants a name that is not empty', async (t) => {
  const hello = await testExpert(t, HelloWorldExpert)
  await t.rejects(hello.request('POST', '/greet', { body: { name: '' } }), {
    code: 'EXP_BAD_INPUT',
    message: /body\.name: .*at least 1 char/
  })
})
