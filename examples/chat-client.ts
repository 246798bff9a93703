// npx tsx examples/chat-client.ts ann
//
// A client of examples/chat.ts that reconnects: stop the chat, start it again, and go on typing.
// Lines typed while there is no connection wait, and are sent on the next one.

import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { Cio, isCioError, lines, reconnect } from '../src/index.ts'

const [name = `guest-${process.pid}`] = process.argv.slice(2)

const app = new Cio()
  .useClient(reconnect({ delay: 200, maxDelay: 5_000 }))
  .useClient(lines())
  .useClient(async function enter({ messages }, next) {
    // On every connection, because a restarted chat does not know any names.
    await messages.next() // who are you?
    await messages.send(name)
    await Promise.all([messages.each((line) => console.log(line)), next()])
  })

app.on('reconnect', ({ retry, delay }) => {
  console.log(`(away, retry ${retry} in ${Math.round(delay)} ms)`)
})

const client = await app.connect({ host: 'localhost', port: Number(process.env.PORT ?? 7001) })

async function say(line: string): Promise<void> {
  // During `enter` there is a connection already, and the chat would treat a line as the name.
  if (!client.connected) await Promise.race([once(app, 'connect'), client.closed])
  await client.messages.send(line)
}

for await (const line of createInterface(process.stdin)) {
  say(line).catch((error: unknown) => {
    if (!isCioError(error)) throw error
    console.log(`(not sent: ${line})`)
  })
}
await client.close()
