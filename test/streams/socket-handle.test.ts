import test from 'ava'
import { once } from 'node:events'
import { Socket } from 'node:net'
import { Cio } from '../../src/index.ts'
import {
  bytesAccepted,
  bytesHeld,
  descriptorOf,
  handleKind,
} from '../../src/streams/socket-handle.ts'
import { duplexPair } from '../support/duplex-pair.ts'
import { dial, serve } from '../support/serve.ts'
import { open } from '../support/transports.ts'

test('a socket has a kind and a descriptor while it is open', async (t) => {
  const client = await dial(t, await serve(t, new Cio()))
  t.is(handleKind(client), 'TCP')
  t.true(descriptorOf(client) > 2)
  t.is(handleKind(await open(t, new Cio(), 'unix')), 'Pipe')
  client.destroy()
  await once(client, 'close')
  for (const none of [client, new Socket(), duplexPair()[0]]) {
    t.is(handleKind(none), undefined)
    t.is(descriptorOf(none), -1)
    t.is(bytesHeld(none), 0)
    t.is(bytesAccepted(none), 0)
  }
})

test('bytes that the kernel does not accept are held', async (t) => {
  const app = new Cio().useConnection(async ({ signal }) => {
    await once(signal, 'abort')
  })
  const client = await dial(t, await serve(t, app))
  const size = 64 * 1024 * 1024
  await new Promise((written) => client.write('x', written))
  t.is(bytesAccepted(client), 1)
  t.is(bytesHeld(client), 0)
  client.write(Buffer.alloc(size))
  t.true(bytesHeld(client) > 0)
  t.is(bytesAccepted(client) + bytesHeld(client), size + 1)
})
