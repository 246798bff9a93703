/** A bounded wait. */

/**
 * Fulfils when the work has, or after this time. It takes a timer of its own: to abort one of
 * `node:timers/promises` makes an error with a stack, and each device that comes back waits here.
 */
export async function atMost(milliseconds: number, work: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, milliseconds)))
  try {
    await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}
