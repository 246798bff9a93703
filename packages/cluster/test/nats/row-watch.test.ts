import { type JetStreamClient, jetstream, jetstreamManager } from '@nats-io/jetstream'
import { Kvm } from '@nats-io/kv'
import { connect } from '@nats-io/transport-node'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { typescript } from '../../../../test/support/typescript.ts'
import type { Row } from '../../src/engine.ts'
import { RowWatch } from '../../src/nats/row-watch.ts'
import { until } from '../support/heard.ts'
import { NatsServer } from '../support/nats-server.ts'
import { natsTest } from '../support/with-nats.ts'

natsTest('a snapshot whose rows expire before the broker sends them is whole', async (t) => {
  const server = await NatsServer.start(t)
  const connection = await connect({ servers: server.address })
  t.teardown(() => connection.close())
  const bucket = await new Kvm(connection).create('rows', { ttl: 1_000 })
  await bucket.put('old', 'x')
  const client = jetstream(connection)
  // As if this process stood still between both steps.
  const paused = {
    consumers: {
      async getPushConsumer(...given: Parameters<typeof client.consumers.getPushConsumer>) {
        const consumer = await client.consumers.getPushConsumer(...given)
        const consume = consumer.consume.bind(consumer)
        consumer.consume = async (options) => {
          await until(async () => (await bucket.get('old')) === null)
          return consume(options)
        }
        return consumer
      },
    },
  } as JetStreamClient
  const rows: Row[] = []
  const watched = { client: paused, bucket: 'rows', isUp: () => true, lost: () => t.fail() }
  const watch = new RowWatch(watched, (row) => rows.push(row))
  await watch.begin(true)
  await watch.check()
  t.is(
    await Promise.race([watch.whole.then(() => 'whole'), delay(20_000, 'late', { ref: false })]),
    'whole',
  )
  t.deepEqual(rows, [])

  await bucket.put('new', 'y')
  await until(() => rows.length === 1)
  t.is(rows[0]?.key, 'new')
  watch.end()
})

natsTest(
  'a watch that ends while it begins starts nothing, and its consumer is dropped',
  async (t) => {
    const server = await NatsServer.start(t)
    const connection = await connect({ servers: server.address })
    t.teardown(() => connection.close())
    await new Kvm(connection).create('rows')
    const client = jetstream(connection)
    const watched = { client, bucket: 'rows', isUp: () => true, lost: () => t.fail() }
    const watch = new RowWatch(watched, () => t.fail())
    const begun = watch.begin(false)
    watch.end()
    await begun
    const { consumers } = await jetstreamManager(connection)
    await until(async () => (await consumers.list('KV_rows').next()).length === 0)

    const closed = new RowWatch({ ...watched, isUp: () => false }, () => t.fail())
    await t.throwsAsync(closed.begin(false), { message: 'the connection was closed' })
  },
)

natsTest('a process ends when its engines are closed, at whatever step of a watch', async (t) => {
  const server = await NatsServer.start(t)
  const script = fileURLToPath(new URL('closing-process.ts', import.meta.url))
  const child = fork(script, [server.address], { execArgv: ['--import', typescript] })
  t.teardown(() => child.kill('SIGKILL'))
  const exit = once(child, 'exit')
  // It says how many watches had begun when their engine was closed.
  const [[begun, all]] = (await once(child, 'message')) as [[number, number]]
  t.log(`${begun} of ${all} had begun`)
  t.true(begun < all)
  t.deepEqual(await Promise.race([exit, delay(40_000, 'it has not ended', { ref: false })]), [
    0,
    null,
  ])
})
