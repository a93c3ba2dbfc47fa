import t from 'tap'
import { checkPlan, type PlanExperts, readPlan } from '../pipelines/plan.ts'

const experts: PlanExperts = {
  nameOf: (name) => ['ocr', 'places', 'video'].find((known) => known === name.toLowerCase()),
  dependencyOf: (name) => (name === 'ocr' ? 'video' : null),
  problemsWith: () => []
}
const names = (document: Record<string, unknown>) =>
  readPlan(document, experts).tasks.map(({ task }) => task)

t.test('tasks come behind what they depend on', async (t) => {
  const plan = [
    { task: 'd', expert: 'ocr', depends_on: ['b', 'c'] },
    { task: 'c', expert: 'ocr', depends_on: ['a'] },
    { task: 'b', expert: 'places', depends_on: ['a'] },
    { task: 'a', expert: 'video' }
  ]
  t.strictSame(names({ plan }), ['a', 'c', 'b', 'd'])
  t.strictSame(checkPlan(plan, experts), [])
})

t.test('a task is named like its expert, and has defaults', async (t) => {
  const { tasks } = readPlan({ plan: [{ expert: 'ocr' }] }, experts)
  t.strictSame(tasks, [
    { task: 'ocr', expert: 'ocr', dependsOn: [], extraParams: null, attempts: 3, timeoutMs: null }
  ])
})

t.test('each fault of a plan is named with its place', async (t) => {
  const plan = [
    { task: 'a', expert: 'nobody' },
    { task: 'a', expert: 'ocr' },
    { task: 'b', expert: 'ocr', depends_on: ['a', 'x'] },
    { task: 'c', expert: 'ocr', depends_on: ['c'] }
  ]
  t.strictSame(
    checkPlan(plan, experts).map(({ loc }) => loc.join('.')),
    ['plan.0.expert', 'plan.1.task', 'plan.2.depends_on.1', 'plan.3.depends_on.0']
  )
})

t.test('a circle is refused, and shown', async (t) => {
  const plan = [
    { task: 'start', expert: 'ocr' },
    { task: 'a', expert: 'ocr', depends_on: ['start', 'c'] },
    { task: 'b', expert: 'ocr', depends_on: ['a'] },
    { task: 'c', expert: 'ocr', depends_on: ['b'] }
  ]
  const [problem] = checkPlan(plan, experts)
  t.match(problem, { loc: ['plan', 1, 'depends_on'], why: /a → c → b → a/ })
})

t.test('where there is no plan, the experts of this host that inputs name', async (t) => {
  const inputs = {
    OCR: { is_async: 'true', output: 'db', movies: [{ url: 'x' }], min_score: 1 },
    fusion: {},
    places: null
  }
  const { tasks } = readPlan({ inputs, tasks: { video: 'success' } }, experts)
  t.match(tasks, [
    { task: 'OCR', expert: 'ocr', dependsOn: ['video'], extraParams: { min_score: 1 } },
    { task: 'places', expert: 'places', dependsOn: [], extraParams: null }
  ])
  t.strictSame(readPlan({ inputs: { OCR: {} } }, experts).tasks[0]?.dependsOn, [])
})

t.test('what other tools broke is told, and the rest is read', async (t) => {
  const plan = [5, { expert: 7 }, { expert: 'ocr', depends_on: 'a' }, { expert: 'ocr', task: 't' }]
  const { tasks, problems } = readPlan({ plan }, experts)
  t.strictSame(
    tasks.map(({ task }) => task),
    ['t']
  )
  t.strictSame(
    problems.map(({ loc }) => loc.join('.')),
    ['plan.0', 'plan.1', 'plan.2']
  )
  for (const inputs of [undefined, null, [], 'x', { ocr: [] }]) {
    t.doesNotThrow(() => readPlan({ inputs, tasks: [] }, experts))
  }
})
