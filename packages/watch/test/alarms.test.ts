import test from 'ava'
import { type Cio, limit } from 'cio'
import { AlarmState } from '../src/alarms/alarm-state.ts'
import { rules } from '../src/alarms/rules.ts'
import { RefusalRate } from '../src/alarms/refusal-rate.ts'
import { type Alarm, alarms, watch } from '../src/index.ts'
import { closeAfter, dial, echoApp, exchange, valueOf } from './support.ts'

const rule = { ...rules.connections, raise: 0.9, clear: 0.8, duration: 0 }

test('an alarm is cleared below the value that raises it', (t) => {
  const state = new AlarmState(rule, 0)
  const changes = [0.5, 0.9, 0.85, 0.95, 0.81, 0.8, 0.85].map((value, at) => state.take(value, at))
  t.deepEqual(changes, [false, true, false, false, false, true, false])
  t.false(state.active)
})

test('a value must last for the duration of the alarm', (t) => {
  const state = new AlarmState({ ...rule, duration: 10 }, 0)
  t.false(state.take(1, 0))
  t.false(state.take(1, 9))
  t.false(state.take(0, 9.5), 'a dip begins it again')
  t.false(state.take(1, 10))
  t.false(state.take(1, 19))
  t.true(state.take(1, 20))
  t.false(state.take(0, 25))
  t.true(state.take(0, 35))
})

test('an alarm rests for the cool-down after a change', (t) => {
  const state = new AlarmState(rule, 100)
  t.true(state.take(1, 0))
  t.false(state.take(0, 50))
  t.true(state.take(0, 100))
})

test('an alarm of what is too small, such as the life of a certificate, is the other way round', (t) => {
  const state = new AlarmState({ ...rules.certificates, raise: 14, clear: 15 }, 0)
  t.false(state.take(15, 0))
  t.true(state.take(14, 1))
  t.false(state.take(14.5, 2))
  t.true(state.take(15, 3))
})

test('an alarm is cleared where there is nothing to measure any more', (t) => {
  const state = new AlarmState(rule, 0)
  t.true(state.take(1, 0))
  t.true(state.take(undefined, 1))
  t.false(state.take(undefined, 2))
})

test('a steady flood of refusals is one alarm, also from one minute to the next', (t) => {
  const rate = new RefusalRate(0)
  const state = new AlarmState(rules.refusals, 5_000)
  const changes: boolean[] = []
  let refused = 0
  const pass = (seconds: number, each: number): void => {
    for (let second = 0; second < seconds; second++) {
      refused += each
      now += 1_000
      if (state.take(rate.take(refused, now), now)) changes.push(state.active)
    }
  }
  let now = 0
  pass(3_600, 0.1)
  pass(600, 5)
  t.deepEqual(changes, [true])
  pass(180, 0)
  t.deepEqual(changes, [true, false])
})

test('no alarm of refusals is raised by few of them, or without a minute to compare with', (t) => {
  const few = new RefusalRate(1_000)
  for (let second = 1; second <= 300; second++)
    t.is(few.take(1_000 + second * 0.5, second * 1_000), 0)
  const young = new RefusalRate(0)
  for (let second = 1; second < 60; second++) t.is(young.take(second * 100, second * 1_000), 0)
})

/** The next alarm. Not by `once` of `node:events`, which rejects where the app emits `error`. */
function alarm(app: Cio): Promise<Alarm> {
  return new Promise((resolve) => void app.once('alarm', resolve))
}

test('the event alarm, the snapshot and the metrics say what is raised, and what is not any more', async (t) => {
  const bounds = limit({ connections: 2 })
  const app = echoApp().useConnection(bounds)
  const watching = watch(app, { limit: bounds })
  closeAfter(t, app, watching)
  const alarming = alarms(watching, {
    cooldown: 0,
    connections: { raise: 0.5, clear: 0.1 },
    descriptors: false,
    eventLoop: false,
  })
  t.teardown(() => alarming[Symbol.dispose]())
  const isActive = (): number =>
    valueOf(watching.metrics(), 'cio_alarm_active', { cio_alarm_name: 'connections' })
  const server = await app.listen({ host: '127.0.0.1', port: 0 })
  t.is(isActive(), 0)
  const raised = alarm(app)
  const socket = await dial(t, server)
  await exchange(socket, 'x')
  const { name, active, value, advice } = await raised
  t.deepEqual([name, active, value], ['connections', true, 0.5])
  t.regex(advice, /limit/)
  t.is(isActive(), 1)
  t.deepEqual(
    watching.snapshot().alarms.map((one) => one.name),
    ['connections'],
  )
  t.false(alarming.list.some((one) => one.name === 'descriptors'))
  const cleared = alarm(app)
  socket.end()
  t.false((await cleared).active)
  t.is(isActive(), 0)
  alarming[Symbol.dispose]()
  t.true(Number.isNaN(isActive()), 'after its end there is no such metric')
})

test('a fault of the application raises an alarm', async (t) => {
  const app = echoApp()
  app.on('error', () => {})
  app.useConnection(
    () => {
      throw new TypeError('broken')
    },
    { before: 'echo', name: 'broken' },
  )
  const watching = watch(app)
  closeAfter(t, app, watching)
  const alarming = alarms(watching, { eventLoop: false, descriptors: false })
  t.teardown(() => alarming[Symbol.dispose]())
  const raised = alarm(app)
  await dial(t, await app.listen({ host: '127.0.0.1', port: 0 }))
  t.is((await raised).name, 'localFaults')
})

test('wrong options are refused', (t) => {
  const app = echoApp()
  const watching = watch(app)
  closeAfter(t, app, watching)
  for (const options of [
    { connection: false },
    { cooldown: -1 },
    { connections: { raise: 0.5, clear: 0.6 } },
    // A value of just that would raise and clear it in turn.
    { handshakes: { raise: 250, clear: 250 } },
    { certificates: { raise: 2, clear: 2 } },
    { certificates: { raise: 2, clear: 1 } },
    { connections: { for: 1 } },
    { stuck: { raise: Number.NaN } },
  ]) {
    t.throws(() => alarms(watching, options as never), { code: 'ERR_CIO_OPTION' })
  }
  t.throws(() => alarms({} as never), { code: 'ERR_CIO_OPTION' })
})
