import test from 'ava'
import { SteppedDeadline } from '../../src/streams/stepped-deadline.ts'

/** Keeps the event loop from running. */
function stall(duration: number): void {
  const until = performance.now() + duration
  while (performance.now() < until);
}

test('a stall of the event loop does not use up the time', async (t) => {
  const began = performance.now()
  const expired = new Promise<number>((resolve) => {
    void new SteppedDeadline(400, () => resolve(performance.now() - began))
  })
  stall(600)
  // One step of a hundred has passed by then.
  t.true((await expired) >= 600 + 300)
})

test('without a stall it takes its whole time, and no more turns than its steps', async (t) => {
  const began = performance.now()
  await new Promise<void>((resolve) => void new SteppedDeadline(40, resolve))
  t.true(performance.now() - began >= 40)
})

test('it is called off at any step, and Infinity never expires', async (t) => {
  const fail = (): void => t.fail('it was called off')
  const first = new SteppedDeadline(40, fail)
  first.stop()
  first.stop()
  const later = new SteppedDeadline(80, fail)
  const never = new SteppedDeadline(Infinity, fail)
  await new Promise<void>((resolve) => void new SteppedDeadline(40, resolve))
  later.stop()
  await new Promise<void>((resolve) => void new SteppedDeadline(120, resolve))
  never.stop()
  t.pass()
})
