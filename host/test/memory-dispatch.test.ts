import { MemoryDispatch } from '../jobs/memory-dispatch.ts'
import { dispatchContract } from './dispatch-contract.ts'

dispatchContract('memory', async (now) => ({
  dispatch: new MemoryDispatch(now),
  close: async () => {}
}))
