import test from 'ava'
import { Cio, CioError, json } from 'cio'
import { type MailboxOptions, cluster, mailbox, registry } from '../src/index.ts'
import { Gate } from '../src/mailbox/gate.ts'
import { Reader } from '../src/mailbox/reader.ts'
import { mailboxContract } from './contracts/mailbox.ts'
import { memoryEngines } from './support/engines.ts'

mailboxContract({ test, over: 'in memory', engines: memoryEngines })

test('a mailbox refuses options that are unknown or out of their range', (t) => {
  const here = cluster()
  const deliver = async (): Promise<void> => {}
  for (const options of [
    {},
    { deliver: 'x' },
    { deliver, maxLetters: 0 },
    { deliver, maxBytes: Infinity },
    { deliver, maxAge: 10 },
    { deliver, maxAge: Infinity },
    { deliver, retryDelay: -1 },
    { deliver, checkInterval: 1 },
    { deliver, name: 'a.b' },
    { deliver, unknown: 1 },
  ]) {
    const make = (): unknown => mailbox(here, options as unknown as MailboxOptions<unknown>)
    t.throws(make, { code: 'ERR_CIO_OPTION' }, JSON.stringify(options))
  }
})

test('a mailbox needs a registry before it', async (t) => {
  const here = cluster()
  const letters = mailbox(here, { deliver: async () => {} })
  // @ts-expect-error: without a registry there is no registration
  const app = new Cio().useServer(here).useConnection(json()).useConnection(letters)
  await t.throwsAsync(app.listen({ bind: false }), { message: /registry/ })
  const devices = registry(here, { key: () => 'x' })
  const whole = new Cio().useServer(here).useConnection(json()).useConnection(devices)
  const server = await whole.useConnection(letters).listen({ bind: false })
  await t.throwsAsync(letters.send('x'.repeat(1_001), ''), { code: 'ERR_CIO_NAME_LENGTH' })
  await t.throwsAsync(
    letters.send('x', () => {}),
    { code: 'ERR_CIO_ENCODE' },
  )
  await server.close()
  await t.throwsAsync(letters.send('x', ''), { code: 'ERR_CIO_CLUSTER_DOWN' })
})

// AVA fails a file in whose process a rejection is unhandled.
test('letters go on by themselves after a broker that hung for less than an outage', async (t) => {
  let asked = 0
  const letters = {
    append: () => t.fail(),
    next: async (_: string, after: number) => {
      if (++asked === 1) throw new CioError('ERR_CIO_CLUSTER_DOWN', 'no answer')
      return after === 0 ? { seq: 1, payload: Buffer.of(0) } : undefined
    },
    remove: async () => {},
  }
  const post = { letters: () => letters as never, gate: new Gate(1), checkInterval: 600_000 }
  const reader: Reader = new Reader(
    post,
    {
      code: 'sensor-7',
      isHolder: () => true,
      open: () => async () => reader.end(),
      failed: () => t.fail(),
    },
    { delay: 1, maxDelay: 1 },
  )
  const alive = setInterval(() => {}, 1_000)
  await reader.run()
  clearInterval(alive)
  t.is(asked, 2)
})

test('a letter that nothing awaits ends no process, whether its box is full or the broker is away', async (t) => {
  const { make, down } = await memoryEngines()
  const engine = make()
  const here = cluster({ engine })
  const letters = mailbox(here, { deliver: async () => {}, maxLetters: 1 })
  void letters.send('sensor-7', 'before the cluster is open')
  await here.open()
  t.teardown(() => here.close())
  await letters.send('sensor-7', 1)
  void letters.send('sensor-7', 2)
  await t.throwsAsync(letters.send('sensor-7', 3), { code: 'ERR_CIO_MAILBOX_FULL' })
  await down()
  void letters.send('sensor-7', 4)
  await t.throwsAsync(letters.send('sensor-7', 5), { code: 'ERR_CIO_CLUSTER_DOWN' })
})
