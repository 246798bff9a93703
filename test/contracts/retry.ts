/** What every middleware that tries again keeps to. */

import test, { type ExecutionContext } from 'ava'
import { Cio, CioError } from '../../src/index.ts'
import { type BackoffOptions } from '../../src/kit.ts'

/** One retry, as it is told by its event. */
export interface Retry {
  readonly retry: number
  readonly delay: number
  readonly error: Error | undefined
}

/** A middleware that tries again. */
export interface Retrying {
  readonly name: string
  /** An error that it does try again after. */
  readonly heals: () => Error
  /** Adds it to an app, with an attempt inside it, which runs each time and may throw. */
  readonly register: (app: Cio, options: BackoffOptions, attempt: () => void) => void
  /** Tells of each of its retries. */
  readonly listen: (app: Cio, listener: (retry: Retry) => void) => void
  /** Starts a run; resolves when an attempt went well, rejects when it gave up. */
  readonly run: (t: ExecutionContext, app: Cio, signal?: AbortSignal) => Promise<unknown>
}

/** A delay that the test would time out on: it has to be cut short. */
const forever = { retries: Infinity, delay: 2 ** 30, maxDelay: Infinity, jitter: 0 }

export function retryContract(subject: Retrying): void {
  const { name } = subject

  /** Attempts that all fail by this error, up to the last of so many. */
  const failing = (
    options: BackoffOptions,
    error: () => Error = subject.heals,
    successAfter = Infinity,
  ): { app: Cio; attempts: number[]; errors: Error[]; told: Retry[] } => {
    const app = new Cio()
    const [attempts, errors, told]: [number[], Error[], Retry[]] = [[], [], []]
    subject.register(app, options, () => {
      attempts.push(performance.now())
      if (attempts.length > successAfter) return
      errors.push(error())
      throw errors.at(-1)!
    })
    subject.listen(app, (retry) => told.push(retry))
    return { app, attempts, errors, told }
  }

  for (const retries of [0, 1, 5]) {
    test(`${name}: ${retries} retries are ${retries + 1} attempts, and the last error is thrown`, async (t) => {
      const { app, attempts, errors, told } = failing({ retries, delay: 1 })
      t.is(await t.throwsAsync(subject.run(t, app)), errors.at(-1)!)
      t.is(attempts.length, retries + 1)
      t.deepEqual(
        told.map(({ retry }) => retry),
        Array.from({ length: retries }, (_, index) => index + 1),
      )
      t.deepEqual(
        told.map(({ error }) => error),
        errors.slice(0, -1),
      )
    })
  }

  test(`${name}: the first attempt that goes well is the last`, async (t) => {
    const { app, attempts } = failing({ retries: 9, delay: 1 }, subject.heals, 3)
    await subject.run(t, app)
    t.is(attempts.length, 4)
  })

  test(`${name}: delays grow by the factor, up to the longest, and are waited for`, async (t) => {
    const options = { retries: 5, delay: 4, factor: 2, maxDelay: 20, jitter: 0 }
    const { app, attempts, told } = failing(options)
    await t.throwsAsync(subject.run(t, app))
    t.deepEqual(
      told.map(({ delay }) => delay),
      [4, 8, 16, 20, 20],
    )
    for (const [index, { delay }] of told.entries()) {
      // Node's timers count whole milliseconds.
      t.true(attempts[index + 1]! - attempts[index]! >= delay - 1, `delay ${index + 1}`)
    }
  })

  test(`${name}: with full jitter each delay is anywhere from nothing to the whole`, async (t) => {
    const options = { retries: 60, delay: 4, factor: 1, jitter: 1 }
    const { app, told } = failing(options)
    await t.throwsAsync(subject.run(t, app))
    for (const { delay } of told) t.true(delay >= 0 && delay <= 4, String(delay))
    // The chance that one of these fails is less than one in 10 ** 7.
    t.true(told.some(({ delay }) => delay < 1))
    t.true(told.some(({ delay }) => delay > 3))
  })

  for (const error of [
    () => new CioError('ERR_CIO_CERTIFICATE', 'no such file'),
    () => new TypeError('a mistake'),
    () => Object.assign(new Error('another program’s'), { code: 'ERR_OTHER', syscall: 'open' }),
  ]) {
    test(`${name}: ${error().name} of the application is not tried again (${error().message})`, async (t) => {
      const { app, attempts, errors } = failing(forever, error)
      t.is(await t.throwsAsync(subject.run(t, app)), errors[0]!)
      t.is(attempts.length, 1)
    })
  }

  test(`${name}: a signal that aborts while it waits ends it at once`, async (t) => {
    const { app, attempts } = failing(forever)
    const controller = new AbortController()
    const reason = new Error('enough')
    // Once its timer runs.
    subject.listen(app, () => setImmediate(() => controller.abort(reason)))
    t.is(await t.throwsAsync(subject.run(t, app, controller.signal)), reason)
    t.is(attempts.length, 1)
  })

  test(`${name}: close() while it waits ends it at once`, async (t) => {
    const { app, attempts } = failing(forever)
    const closing = new Promise((resolve) => {
      subject.listen(app, () => setImmediate(() => resolve(app.close())))
    })
    await t.throwsAsync(subject.run(t, app), { code: 'ERR_CIO_CLOSED' })
    t.deepEqual(await closing, { forced: 0 })
    t.is(attempts.length, 1)
  })

  test(`${name}: a listener that closes or throws does not disturb it`, async (t) => {
    const { app, attempts } = failing(forever)
    app.on('error', () => {})
    let closing: Promise<unknown> | undefined
    subject.listen(app, () => {
      closing = app.close()
      throw new Error('a listener')
    })
    await t.throwsAsync(subject.run(t, app), { code: 'ERR_CIO_CLOSED' })
    await closing
    t.is(attempts.length, 1)
  })

  for (const options of [
    { retries: -1 },
    { retries: 1.5 },
    { delay: -1 },
    { delay: 2 ** 31 },
    { maxDelay: Number.NaN },
    { factor: 0.5 },
    { jitter: 1.1 },
    { retires: 5 },
  ] as BackoffOptions[]) {
    const [[option, value]] = Object.entries(options) as [[string, number]]
    test(`${name}: ${option} of ${value} is refused when it is made`, (t) => {
      t.throws(() => subject.register(new Cio(), options, () => {}), { code: 'ERR_CIO_OPTION' })
    })
  }
}
