/** Power of two choices: draws two connections at random, and takes the one with less to do. */

/** A connection that may be chosen. */
export interface Candidate {
  /** Uses that have not settled. */
  readonly pending: number
  /** Its share of the uses, relative to the others; above 0. */
  readonly weight: number
}

/** Tries for each connection before one of any weight is taken. */
const most = 8

/**
 * Chooses one. Both are drawn by weight, and the second is taken if it has less to do for its weight.
 * So shares follow the weights while nothing is pending, and the load while much is.
 */
export function choose<C extends Candidate>(
  candidates: readonly C[],
  maxWeight: number,
  random: () => number,
): C | undefined {
  if (candidates.length < 2) return candidates[0]
  const one = draw(candidates, maxWeight, random)
  const other = draw(candidates, maxWeight, random)
  return other.pending / other.weight < one.pending / one.weight ? other : one
}

/** Draws by weight, without adding up all weights. */
function draw<C extends Candidate>(
  candidates: readonly C[],
  maxWeight: number,
  random: () => number,
): C {
  let drawn = candidates[0]!
  for (let tries = 0; tries < most * candidates.length; tries++) {
    drawn = candidates[Math.floor(random() * candidates.length)]!
    if (random() * maxWeight <= drawn.weight) break
  }
  return drawn
}
