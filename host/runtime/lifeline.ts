import { Socket } from 'node:net'
import { workerData } from 'node:worker_threads'

// Asynchronous on purpose: a blocking read here would hang process.exit() of the main thread.
const socket = new Socket({ fd: workerData as number, readable: true, writable: false })
const die = () => process.kill(process.pid, 'SIGKILL')
socket.on('error', die)
socket.on('close', die)
socket.resume()
