import { readFile } from 'node:fs/promises'
import { type Mailbox, mailbox } from '../../src/index.ts'
import { nats } from '../../src/nats.ts'
import { Instance } from '../support/fleet.ts'
import { until } from '../support/heard.ts'
import { NatsServer } from '../support/nats-server.ts'
import { natsTest } from '../support/with-nats.ts'

const guide = new URL('../../../../docs/guide/many-machines.md', import.meta.url)

natsTest('the permissions of the guide are enough for all parts, and no more', async (t) => {
  const [, block = ''] = /```text\n(accounts \{[^]*?)```/.exec(await readFile(guide, 'utf8')) ?? []
  const server = await NatsServer.start(t, block.replace('$INSTANCE_PASSWORD', 'secret'))
  const connect = { servers: server.address, user: 'instance', pass: 'secret' }
  const delivered: unknown[] = []
  const deliver = async (_: unknown, { message }: { readonly message: unknown }): Promise<void> => {
    delivered.push(message)
  }
  let letters!: Mailbox<unknown>
  const start = (): Promise<Instance> =>
    Instance.start(t, {
      cluster: { engine: nats({ connect }) },
      inside: (here) => (letters = mailbox(here, { deliver })),
    })
  const [one, other] = [await start(), await start()]
  const first = await one.connect('sensor-7')
  const second = await other.connect('sensor-7')
  t.is(await first.ended, 'ERR_CIO_TAKEN_OVER')
  await one.devices.send('sensor-7', 'hello')
  t.is((await second.client.messages.next()).value, 'hello')
  await letters.send('sensor-7', 'letter')
  await until(() => delivered.length === 1)
  const shared = await one.engine.table('shared', { ttl: Infinity })
  t.true((await shared.put('denied', Buffer.from('v'))) > 0)
  await second.client.close()
  await until(async () => (await one.devices.find('sensor-7')) === undefined)

  const stranger = nats({ connect, prefix: 'others', timeout: 500 })
  t.teardown(() => stranger.close())
  await stranger.open(new AbortController().signal)
  const table = await stranger.table('rows', { ttl: 60_000 }).catch(() => undefined)
  await t.throwsAsync(async () => table!.put('k', Buffer.from('v')))
})
