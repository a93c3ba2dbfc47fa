import { MemoryDispatch } from '../jobs/memory-dispatch.ts'
import { dispatchContract } from './dispatch-contract.ts'

dispatchContract('memory', async () => ({
  dispatch: new MemoryDispatch(),
  close: async () => {}
}))
