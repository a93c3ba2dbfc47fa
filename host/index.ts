export type { HostConfig } from './config/host-config.ts'
export { ConfigError, loadConfig } from './config/load-config.ts'
export { createHost, type Host } from './host.ts'
export { createLog, createSilentLog } from './observe/log.ts'
