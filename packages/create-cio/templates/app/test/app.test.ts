import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { Cio, lines } from 'cio'
import { app } from '../src/app.ts'

after(() => app.close())

test('it greets everybody by name', async () => {
  const server = await app.listen({ port: 0, host: '127.0.0.1' })
  const client = await new Cio()
    .useClient(lines())
    .connect({ port: server.port, host: '127.0.0.1' })
  await client.messages.send('ann')
  assert.equal((await client.messages.next()).value, 'hello ann')
  await client.messages.send('bob')
  assert.equal((await client.messages.next()).value, 'hello bob')
  await client.close()
})
