// The baseline: Fastify alone, with the body and answer of /predict as its schemas.
import fastify from 'fastify'

const app = fastify()
app.post('/predict', {
  schema: {
    body: {
      type: 'object',
      required: ['movie_id', 'local'],
      properties: {
        movie_id: { type: 'string' },
        scene_element: { anyOf: [{ type: 'integer' }, { type: 'null' }], default: null },
        local: { type: 'boolean' },
        extra_params: { anyOf: [{ type: 'object' }, { type: 'null' }], default: null },
        output: { type: 'string', default: 'json' }
      }
    },
    response: {
      200: {
        type: 'object',
        properties: { result: { type: 'string' }, error: { type: ['string', 'null'] } }
      }
    }
  },
  handler: async (request) => ({ result: request.body.movie_id, error: null })
})
console.log(JSON.stringify({ url: await app.listen({ port: 0, host: '127.0.0.1' }), active: [] }))
