import test from 'ava'
import { spawnSync } from 'node:child_process'
import { type Deadline, startDeadline } from '../src/deadline.ts'

/** Sets a deadline, and fulfils with how late it was. */
const lateness = (duration: number): Promise<number> => {
  const due = performance.now() + duration
  return new Promise((resolve) => {
    startDeadline(duration, () => resolve(performance.now() - due))
  })
}

test('a deadline is never early, whatever others of its duration do', async (t) => {
  const late: Promise<number>[] = []
  for (let count = 0; count < 200; count++) {
    late.push(lateness(20 + (count % 3)))
    startDeadline(20, () => t.fail('it was called off'))?.stop()
    if (count % 20 === 0) await new Promise(setImmediate)
  }
  for (const ms of await Promise.all(late)) t.true(ms >= 0, `${-ms} ms early`)
})

test('deadlines of one duration pass in the order in which they were set', async (t) => {
  const order: number[] = []
  await new Promise<void>((resolve) => {
    for (let count = 0; count < 10; count++) startDeadline(5, () => order.push(count))
    startDeadline(5, resolve)
  })
  t.deepEqual(order, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
})

test('a deadline that was called off does not pass: the first, the last, one in between, or all', async (t) => {
  for (const stopped of [[0], [4], [2], [0, 1, 2, 3, 4], [4, 3, 2, 1, 0]]) {
    const passed: number[] = []
    const set: (Deadline | undefined)[] = []
    for (let count = 0; count < 5; count++) {
      set.push(startDeadline(7, () => passed.push(count)))
    }
    for (const index of stopped) {
      set[index]!.stop()
      // Again is nothing.
      set[index]!.stop()
    }
    await lateness(7)
    t.deepEqual(
      passed,
      [0, 1, 2, 3, 4].filter((index) => !stopped.includes(index)),
    )
  }
})

test('a deadline may set another of its duration, and call others off', async (t) => {
  const order: string[] = []
  await new Promise<void>((resolve) => {
    startDeadline(4, () => {
      order.push('first')
      second?.stop()
      startDeadline(4, () => {
        order.push('third')
        resolve()
      })
    })
    const second = startDeadline(4, () => order.push('second'))
  })
  t.deepEqual(order, ['first', 'third'])
})

test('Infinity sets none, and 0 passes soon', async (t) => {
  t.is(
    startDeadline(Infinity, () => {}),
    undefined,
  )
  t.true((await lateness(0)) >= 0)
})

test('one timer serves all deadlines of a duration, and none is left when they are gone', async (t) => {
  const timers = (): number =>
    process.getActiveResourcesInfo().filter((type) => type === 'Timeout').length
  const before = timers()
  const set = Array.from({ length: 100 }, () => startDeadline(60_123, () => {}))
  t.is(timers(), before + 1)
  for (const deadline of set) deadline!.stop()
  // It keeps no process alive.
  t.is(timers(), before)
})

test('deadlines that are set and called off in turn share a timer, and a late one is not early', async (t) => {
  startDeadline(40, () => t.fail('it was called off'))!.stop()
  await new Promise((resolve) => setTimeout(resolve, 20))
  // The timer of the first one passes in 20 ms.
  t.true((await lateness(40)) >= 0)
})

test('many durations, each set and called off, leave no list and no timer', async (t) => {
  const before = process.getActiveResourcesInfo().filter((type) => type === 'Timeout').length
  for (let count = 0; count < 1_000; count++) {
    startDeadline(100_000 + count, () => t.fail('it was called off'))!.stop()
  }
  const after = process.getActiveResourcesInfo().filter((type) => type === 'Timeout').length
  t.is(after, before)
})

test('a deadline that was called off does not keep the process, and the next one of its duration does', (t) => {
  const program = `
    import { startDeadline } from ${JSON.stringify(new URL('../src/deadline.ts', import.meta.url).href)}
    startDeadline(60_000, () => {}).stop()
    startDeadline(100, () => {}).stop()
    startDeadline(100, () => console.log('passed'))
  `
  const began = performance.now()
  const { stdout, stderr } = spawnSync(
    process.execPath,
    ['--import', 'tsx', '--input-type=module', '-e', program],
    { encoding: 'utf8' },
  )
  t.is(stdout, 'passed\n', stderr)
  t.true(performance.now() - began < 50_000)
})
