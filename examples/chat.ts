// npx tsx examples/chat.ts
//
// A chat: the first line is your name, every other line goes to all other members. Join it with
// `socat - TCP:localhost:7001`, or with examples/chat-client.ts, which reconnects.

import { Cio, type Messages, lines } from '../src/index.ts'

const members = new Map<string, Messages<string>>()

function sendToOthers(sender: string, line: string): void {
  for (const [name, messages] of members) {
    // Not awaited: a member that does not read must not block the others. `maxQueueSize` bounds it.
    if (name !== sender) void messages.send(line)
  }
}

const app = new Cio()
  .useConnection(lines({ maxLength: 1_000, maxQueueSize: 100_000 }))
  .useConnection(async function chat({ messages, remote }) {
    await messages.send('who are you?')
    const { value: name = '' } = await messages.next()
    if (name === '' || members.has(name)) return messages.send('not with that name')
    members.set(name, messages)
    try {
      await messages.send(`welcome, ${name}`)
      sendToOthers(name, `* ${name} came from ${remote}`)
      for await (const line of messages) sendToOthers(name, `${name}: ${line}`)
    } finally {
      members.delete(name)
      sendToOthers(name, `* ${name} left`)
    }
  })

const server = await app.listen(process.env.PORT ?? 7001)
console.log(`a chat on port ${server.port}`)
