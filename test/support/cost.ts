/** What work costs in processor time, and what it holds in memory. */

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

const runs = 5

/**
 * How many times as much processor time work takes at `factor` times its size. Linear work gives
 * about `factor`, work that grows with the square `factor` squared. It takes the best of several
 * runs, since what else the machine does can only add.
 */
export async function growth(
  work: (size: number) => unknown,
  size: number,
  factor: number,
): Promise<number> {
  const best = { small: Infinity, large: Infinity }
  for (let run = 0; run < runs; run++) {
    best.small = Math.min(best.small, await cost(() => work(size)))
    best.large = Math.min(best.large, await cost(() => work(size * factor)))
  }
  return best.large / best.small
}

async function cost(work: () => unknown): Promise<number> {
  const before = process.cpuUsage()
  await work()
  const { user, system } = process.cpuUsage(before)
  return user + system
}

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

/** Bytes that what is made holds, within the heap and outside it. */
export function held(make: () => unknown): number {
  const before = inUse()
  const made = make()
  const after = inUse()
  // It lives until here.
  return made === undefined ? 0 : after - before
}

/** Bytes in use, after those that are not were collected. */
export function inUse(): number {
  collect()
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return heapUsed + arrayBuffers
}
