/** How things stand when they are asked for; null for what cannot be told now. */
export interface HostReadings {
  isReady: boolean
  /** Whether each store works, by what it keeps. */
  stores: Record<string, boolean>
  /** Those that are served or should be. */
  experts: ExpertReading[]
  /** Accepted jobs by expert. */
  jobs: {
    /** In the whole line, whichever host will run them. */
    waiting: Map<string, number> | null
    /** Taken out of it by this host. */
    running: Map<string, number>
  }
  pipelines: PipelineReading
  webhooks: { count: number; bytes: number } | null
}

export interface ExpertReading {
  name: string
  version: string | null
  state: string
  /** Processes that take calls. */
  instances: number
  /** Runs at once. */
  slots: number
  running: number
  waiting: number
  /** How many may wait. */
  maxQueueSize: number
  /** All its processes but the host's own, those that start or stand by among them. */
  processes: ProcessReading[]
}

export interface ProcessReading {
  /** No other process of this host ever has the same. */
  id: string
  memoryBytes: number | null
  /** CPU time since its start. */
  cpuSeconds: number | null
}

/** The pipelines on which this host works. */
export interface PipelineReading {
  count: number
  /** Items by expert: those that could run, at any host, and those that run here. */
  items: Map<string, { waiting: number; running: number }>
}
