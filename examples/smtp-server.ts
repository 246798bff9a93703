// npx tsx examples/certificates.ts certs && npx tsx examples/smtp-server.ts
//
// Receives mail by SMTP, over TLS only: `startTls` upgrades the connection when the client says
// STARTTLS. Try it with `swaks --server localhost:7023 --tls --to bob@example.test`.

import { Cio, certs, frames, limit, startTls, timeout } from '../src/index.ts'

const maxSize = 10_000_000
const maxRecipients = 100

interface Envelope {
  from?: string | undefined
  to: string[]
}

/** The answer to a command within TLS; `DATA` and `QUIT` are handled where they are read. */
function answer(command: string, envelope: Envelope): string | string[] {
  const [, verb = '', address] = /^(\w+)(?: (?:from|to):<([^<>]*)>)?/i.exec(command) ?? []
  switch (verb.toUpperCase()) {
    case 'EHLO':
      return ['250-localhost', '250-8BITMIME', `250 SIZE ${maxSize}`]
    case 'MAIL':
      if (address === undefined) return '501 expected MAIL FROM:<address>'
      Object.assign(envelope, { from: address, to: [] })
      return '250 ok'
    case 'RCPT':
      if (envelope.from === undefined) return '503 MAIL first'
      if (!address) return '501 expected RCPT TO:<address>'
      if (envelope.to.length >= maxRecipients) return '452 too many recipients'
      envelope.to.push(address)
      return '250 ok'
    case 'RSET':
      Object.assign(envelope, { from: undefined, to: [] })
      return '250 ok'
    case 'NOOP':
      return '250 ok'
    default:
      return '500 unknown command'
  }
}

const app = new Cio()
  .useServer(certs({ key: 'certs/server.key', cert: 'certs/server.crt' }))
  .useConnection(limit({ connections: 1_000 }))
  .useConnection(timeout({ idle: 5 * 60_000 }))
  .useConnection(startTls())
  // Not `lines`: a line that ends without \r must not end a mail (SMTP smuggling).
  .useConnection(frames({ delimiter: '\r\n', maxLength: 2_000 }))
  .useConnection(async function plaintext(ctx, next) {
    const { messages } = ctx
    await messages.send('220 localhost ESMTP')
    for await (const line of messages) {
      const command = line.toString('latin1').toUpperCase()
      if (command === 'STARTTLS') {
        await ctx.startTls(() => messages.send('220 go ahead'))
        return next()
      }
      if (command === 'QUIT') return messages.send('221 bye')
      if (command.startsWith('EHLO ')) await messages.sendMany(['250-localhost', '250 STARTTLS'])
      else await messages.send('530 STARTTLS first')
    }
  })
  .useConnection(async function session({ messages }) {
    const envelope: Envelope = { to: [] }
    for await (const line of messages) {
      const command = line.toString('latin1')
      if (/^quit$/i.test(command)) return messages.send('221 bye')
      if (!/^data$/i.test(command)) await messages.sendMany([answer(command, envelope)].flat())
      else if (envelope.to.length === 0) await messages.send('503 RCPT first')
      else {
        await messages.send('354 go on, and end with a line with a dot')
        let size = 0
        for await (const text of messages) {
          if (text.length === 1 && text.toString() === '.') break
          size += text.length
        }
        if (size <= maxSize) {
          console.log(`mail from ${envelope.from} to ${envelope.to.join(', ')}: ${size} bytes`)
        }
        await messages.send(size > maxSize ? '552 too long' : '250 thank you')
        Object.assign(envelope, { from: undefined, to: [] })
      }
    }
  })
app.on('remoteError', (error) => console.info(error.message))

const server = await app.listen(process.env.PORT ?? 7023)
console.log(`SMTP on port ${server.port}`)
