// npx tsx examples/certificates.ts certs && npx tsx examples/tls-proxy.ts
//
// Ends TLS in front of a server that knows none, and passes bytes on both ways. The target is on
// TARGET, a port; without it, a small server of our own. Try it:
// openssl s_client -quiet -connect localhost:7007 -CAfile certs/ca.crt

import { Cio, certs, lines, forward } from '../src/index.ts'

const plain = new Cio()
  .useConnection(lines())
  .useConnection((ctx) => ctx.messages.each((line) => ctx.messages.send(`you said ${line}`)))

const target = process.env.TARGET ?? (await plain.listen({ host: '127.0.0.1' })).port

const proxy = new Cio()
  .useServer(certs({ key: 'certs/server.key', cert: 'certs/server.crt' }))
  .useConnection(forward({ host: '127.0.0.1', port: Number(target) }))

proxy.on('error', (error) => console.error(error.message))

const server = await proxy.listen(process.env.PORT ?? 7007)
console.log(`in front of port ${target}, TLS on port ${server.port}`)
