/** Events of an app, awaited in the order in which they come. */

import { EventEmitter, once } from 'node:events'
import type { AppEvents, Cio } from 'cio'

type AnyApp = Pick<Cio, 'on' | 'off'>

/** Fulfils with the arguments of the next event of this name. */
export async function heard<Event extends keyof AppEvents>(
  app: AnyApp,
  event: Event,
): Promise<AppEvents[Event]> {
  // The timers of a cluster do not keep a process alive.
  const alive = setInterval(() => {}, 60_000)
  try {
    return (await once(app as unknown as EventEmitter, event)) as AppEvents[Event]
  } finally {
    clearInterval(alive)
  }
}

/** Waits until a claim is true, looking again in each turn of the event loop. */
export async function until(claim: () => unknown): Promise<void> {
  while (!(await claim())) await new Promise((resolve) => setTimeout(resolve, 2))
}
