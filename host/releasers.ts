/** Undo steps, run last in first out: whoever opens a thing pushes its closing on the next line. */
export class Releasers {
  #steps: Array<() => unknown> = []

  push(step: () => unknown): void {
    this.#steps.push(step)
  }

  /** Runs every step, even after one failed; throws the first failure at the end. */
  async release(): Promise<void> {
    const failures: unknown[] = []
    for (let step = this.#steps.pop(); step !== undefined; step = this.#steps.pop()) {
      try {
        await step()
      } catch (error) {
        failures.push(error)
      }
    }
    if (failures.length > 0) throw failures[0]
  }
}
