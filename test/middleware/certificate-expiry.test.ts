import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ConnectionOptions } from 'node:tls'
import { type CertificateExpiryOptions, Cio, certificateExpiry } from '../../src/index.ts'
import { identity, loaded, path } from '../support/certificates.ts'
import { forgeUntil } from '../support/forge.ts'
import { connectWith } from '../support/live-files.ts'
import { readAll, serve } from '../support/serve.ts'
import { writeGreeting, recordEvents, openSession, connectTls } from '../support/tls.ts'
import { nextEvent } from '../support/transports.ts'

const mutual = { ...identity('server'), ca: path('root.crt'), requestCert: true }
const second = 1_000
const hour = 60 * 60 * second

/** A client certificate that is valid until a time, in whole seconds. */
function until(t: ExecutionContext, time: number): ConnectionOptions {
  const directory = mkdtempSync(join(tmpdir(), 'cio-expire-'))
  t.teardown(() => rmSync(directory, { recursive: true }))
  copyFileSync(path('root.key'), join(directory, 'root.key'))
  forgeUntil(directory, 'brief', time)
  return {
    key: readFileSync(join(directory, 'brief.key')),
    cert: readFileSync(join(directory, 'brief.crt')),
  }
}

/** An hour from now, at the end of a second. */
const inAnHour = (): number => Math.ceil((Date.now() + hour) / second) * second

/**
 * Sets the clock of this process to a time, until the test ends. OpenSSL has its own: a handshake may take
 * as long as a busy machine takes, and the certificate is still valid for it.
 */
function setClock(t: ExecutionContext, time: number): void {
  const { now } = Date
  const ahead = time - now()
  t.teardown(() => Object.assign(Date, { now }))
  Object.assign(Date, { now: () => now() + ahead })
}

async function open(t: ExecutionContext, options: CertificateExpiryOptions = {}) {
  const app = new Cio().useConnection(certificateExpiry(options)).useConnection(async (ctx) => {
    writeGreeting(ctx)
    if (ctx.isDraining) return
    await Promise.race([once(ctx.draining, 'abort'), once(ctx.signal, 'abort')])
  })
  return { app, told: recordEvents(app), server: await serve(t, app, mutual) }
}

test.serial(
  'a connection is asked to finish when the certificate of its peer expires',
  async (t) => {
    const { app, told, server } = await open(t)
    const end = inAnHour()
    const over = nextEvent(app, 'close')
    const late = (_: unknown, next: () => Promise<void>): Promise<void> => {
      setClock(t, end - 300)
      return next()
    }
    app.useConnection(late, { before: 'certificateExpiry' })
    t.is(await readAll(await connectWith(t, server, until(t, end))), 'hello alice')
    const [ctx, { reason, by }] = await over
    t.deepEqual({ reason, by }, { reason: 'expired', by: 'local' })
    t.true(Date.now() >= end)
    t.true(ctx.isDraining)
    t.like(told.remoteError, [{ code: 'ERR_CIO_EXPIRED', fault: 'remote' }])
    t.regex(told.remoteError[0]!.message, /\("alice"\) is valid until \d{4}-/)
    t.is(told.remoteError.length, 1)
  },
)

test('a connection may be closed before the expiry, and at once', async (t) => {
  const { app, told, server } = await open(t, { margin: 2 * hour, revoked: 'destroy' })
  const over = nextEvent(app, 'close')
  await connectWith(t, server, until(t, inAnHour()))
  await over
  t.like(told.remoteError, [{ code: 'ERR_CIO_EXPIRED' }])
})

test('a certificate that is valid for a long time leaves its connection alone', async (t) => {
  // 2^31 ms are less than 25 days; Node fires a longer timer after 1 ms.
  const { app, told, server } = await open(t)
  const day = 24 * 60 * 60 * second
  const socket = await connectWith(t, server, until(t, inAnHour() + 100 * day))
  await once(socket, 'data')
  await new Promise((resolve) => setTimeout(resolve, 50))
  t.is(server.connections.size, 1)
  const over = nextEvent(app, 'close')
  server.connections.forEach((ctx) => ctx.destroy())
  await over
  t.false(told.remoteError.some((error) => (error as { code?: string }).code === 'ERR_CIO_EXPIRED'))
})

test.serial('a session does not outlive its certificate', async (t) => {
  const { app, told, server } = await open(t)
  const end = inAnHour()
  const as = until(t, end)
  const session = await openSession(t, server, as)
  setClock(t, end + 1)
  const over = nextEvent(app, 'close')
  t.like(await connectTls(t, server, { ...as, session }), { said: '', resumed: true })
  await over
  t.like(told.reject, [{ code: 'ERR_CIO_REJECTED' }])
  t.regex(told.reject[0]!.message, /CERT_HAS_EXPIRED/)
})

test.serial('a clock that is set forward is noticed within an hour', async (t) => {
  const { setTimeout: wait } = globalThis
  t.teardown(() => Object.assign(globalThis, { setTimeout: wait }))
  const { app, told, server } = await open(t)
  // A timer longer than a test is kept, to be called by hand.
  const set: [call: () => void, delay: number][] = []
  const keep = (call: () => void, delay: number): unknown => {
    if (delay > 10 * 60 * second) set.push([call, delay])
    return wait(call, delay)
  }
  Object.assign(globalThis, { setTimeout: keep })
  const socket = await connectWith(t, server, until(t, inAnHour() + 100 * 24 * hour))
  await once(socket, 'data')
  const over = nextEvent(app, 'close')
  t.true(set.length > 0)
  for (const [, delay] of set) t.true(delay <= hour)
  setClock(t, Date.now() + 101 * 24 * hour)
  for (const [call] of set) call()
  await over
  t.like(told.remoteError, [{ code: 'ERR_CIO_EXPIRED' }])
})

test('a connection without a verified identity is left alone', async (t) => {
  const app = new Cio().useConnection(certificateExpiry()).useConnection(writeGreeting)
  const server = await serve(t, app, { ...mutual, rejectUnauthorized: false })
  t.is((await connectTls(t, server)).said, 'hello nobody')
  t.is((await connectTls(t, server, loaded('expired'))).said, 'hello nobody')
})

test.serial('a closed connection leaves no timer', async (t) => {
  const { app, server } = await open(t)
  const timers = (): number =>
    process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length
  const before = timers()
  const socket = await connectWith(t, server, loaded('alice'))
  await once(socket, 'data')
  const over = nextEvent(app, 'close')
  server.connections.forEach((ctx) => ctx.destroy())
  await over
  t.true(timers() <= before)
})

test('options out of their range are rejected when it is created', (t) => {
  for (const options of [{ margin: -1 }, { revoked: 'stop' }, { drainTimeout: NaN }, { late: 1 }]) {
    t.throws(() => certificateExpiry(options as CertificateExpiryOptions), {
      code: 'ERR_CIO_OPTION',
    })
  }
})
