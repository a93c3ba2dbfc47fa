/**
 * Pairs rows with columns so that the pairs cost the least in all (the Hungarian method). A row or column may stay
 * alone: that costs as much as a pair at `limit`, so that only pairs below it are made.
 *
 * @param costs - a row of costs for each row, all as long; no NaN
 * @returns [row, column] by row; none twice
 */
export function assign(
  costs: readonly (readonly number[])[],
  limit: number
): [row: number, column: number][] {
  const columns = costs[0]?.length ?? 0
  const isTall = costs.length > columns
  const [short, long] = isTall ? [columns, costs.length] : [costs.length, columns]
  const costOf = (i: number, j: number) => Math.min(limit, isTall ? costs[j]![i]! : costs[i]![j]!)
  const partners = match(short, long, costOf)
  return partners
    .map((i, j): [number, number] => (isTall ? [j, i] : [i, j]))
    .filter(([row, column]) => row !== -1 && column !== -1 && costs[row]![column]! < limit)
    .sort(([a], [b]) => a - b)
}

/** Of each of the `long` side its partner on the `short` one, or -1; all of the short side have one. */
function match(short: number, long: number, costOf: (i: number, j: number) => number): number[] {
  const partners = new Array<number>(long).fill(-1)
  const shortPrice = new Float64Array(short)
  const longPrice = new Float64Array(long)
  const slack = new Float64Array(long)
  const cameFrom = new Int32Array(long)
  const isDone = new Uint8Array(long)
  for (let added = 0; added < short; added += 1) {
    slack.fill(Infinity)
    cameFrom.fill(-1)
    isDone.fill(0)
    // Dijkstra over reduced costs, from what is added to the nearest that has no partner.
    let i = added
    let end = -1
    let before = -1
    while (true) {
      let step = Infinity
      for (let j = 0; j < long; j += 1) {
        if (isDone[j] === 1) continue
        const reduced = costOf(i, j) - shortPrice[i]! - longPrice[j]!
        if (reduced < slack[j]!) {
          slack[j] = reduced
          cameFrom[j] = before
        }
        if (slack[j]! < step) {
          step = slack[j]!
          end = j
        }
      }
      shortPrice[added]! += step
      for (let j = 0; j < long; j += 1) {
        if (isDone[j] === 1) {
          shortPrice[partners[j]!]! += step
          longPrice[j]! -= step
        } else slack[j]! -= step
      }
      if (partners[end] === -1) break
      isDone[end] = 1
      before = end
      i = partners[end]!
    }
    for (let j = end; j !== -1; j = cameFrom[j]!) {
      const from = cameFrom[j]!
      partners[j] = from === -1 ? added : partners[from]!
    }
  }
  return partners
}
