/** Alone in its process, since it changes the clock. */

import test from 'ava'
import { Instance } from './support/fleet.ts'

test('the newer of two connections stays, also if the process stalls while they are compared', async (t) => {
  const now = performance.now.bind(performance)
  let time = now()
  let step = 0.001
  performance.now = () => (time += step)
  t.teardown(() => (performance.now = now))
  let arrived = 0
  const instance = await Instance.start(t, {
    takeovers: { count: Infinity, per: 1_000 },
    about: () => {
      // From the moment after the second one has arrived, each look at the clock takes long.
      if (++arrived === 2) queueMicrotask(() => (step = 10))
    },
  })
  const first = await instance.connect('sensor-7')
  const { ctx } = await instance.connect('sensor-7')
  t.true(ctx.registration.revision > first.ctx.registration.revision)
})
