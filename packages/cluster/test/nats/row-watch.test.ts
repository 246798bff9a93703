import { type JetStreamClient, jetstream } from '@nats-io/jetstream'
import { Kvm } from '@nats-io/kv'
import { connect } from '@nats-io/transport-node'
import { setTimeout as delay } from 'node:timers/promises'
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
  const watch = new RowWatch(paused, 'rows', (row) => rows.push(row), t.fail)
  await watch.begin(true)
  await watch.check()
  t.is(await Promise.race([watch.whole.then(() => 'whole'), delay(20_000, 'late')]), 'whole')
  t.deepEqual(rows, [])

  await bucket.put('new', 'y')
  await until(() => rows.length === 1)
  t.is(rows[0]?.key, 'new')
  watch.end(true)
})
