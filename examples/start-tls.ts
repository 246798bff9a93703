// npx tsx examples/certificates.ts certs alice mallory && npx tsx examples/start-tls.ts
//
// STARTTLS: the connection begins in plaintext and changes to TLS on the same port, as in SMTP.
// `denyList` then reads the client's certificate. Try `socat - TCP:localhost:7012`, and type STARTTLS.

import { Cio, certs, denyList, lines, startTls } from '../src/index.ts'

const app = new Cio()
  .useServer(certs({ key: 'certs/server.key', cert: 'certs/server.crt', ca: 'certs/ca.crt' }))
  .useConnection(startTls())
  .useConnection(lines())
  .useConnection(async function begin(ctx, next) {
    for await (const line of ctx.messages) {
      if (line !== 'STARTTLS') await ctx.messages.send('say STARTTLS')
      else {
        await ctx.startTls(() => ctx.messages.send('go ahead'))
        return next()
      }
    }
  })
  .useConnection(denyList(['mallory']))
  .useConnection(async function greet({ messages, peer }) {
    await messages.send(`hello ${peer?.name}`)
  })

app.on('reject', (error) => console.log(error.message))
app.on('remoteError', (error) => console.info(error.message))

const server = await app.listen(process.env.PORT ?? 7012)
console.log(`STARTTLS on port ${server.port}`)
