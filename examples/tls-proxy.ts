// npx tsx examples/certificates.ts certs && npx tsx examples/tls-proxy.ts
//
// TLS termination: accepts TLS, and forwards the bytes to a plaintext server and back. TARGET is the
// port of that server; without it, the example starts a small one. Try it:
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
